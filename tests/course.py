"""The course's page, conf/experiment/README.md, and its pictures.

`make readme` writes what the page says of each experiment anew, from the headers of the YAML files;
the text between is written by hand. `make pictures` types the commands and keeps their figures:

    python -m tests.course                                  # all that have their data at hand
    python -m tests.course saturation momentum              # these
    python -m tests.course finetune --root cifar10          # with data.root=cifar10, too
"""

import argparse
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dlrun
from dlrun.recipe.catalogue import Catalogue, Option, load
from dlrun.report import chart

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "conf" / "experiment" / "README.md"
PICTURES = ROOT / ".github" / "course"
BEGIN, END = "<!-- experiments: {} -->\n", "<!-- end of experiments -->\n"
_LARGEST = 60_000
"""Bytes of a picture that is kept."""
_ROOT = "data.root="


def experiments() -> dict[str, Option]:
    """All experiments that come with dlrun, by name."""
    return Catalogue().options("experiment")


def with_experiments(text: str) -> str:
    """The page with the experiments of today, each below its subject.

    Those that the section's text links to come in the order in which it does.
    """

    def block(found: re.Match[str]) -> str:
        before, subject = text[: found.start()].rpartition("\n## ")[2], found[1]
        known = [each for each in experiments().values() if each.subject == subject]
        named = [each for each in known if f"(#{each.name})" in before]
        named.sort(key=lambda each: before.index(f"(#{each.name})"))
        ordered = named + [each for each in known if each not in named]
        return f"{BEGIN.format(subject)}\n{''.join(map(_entry, ordered))}{END}"

    return re.sub(BEGIN.format("([a-z ]+)") + ".*?" + END, block, text, flags=re.DOTALL)


def _entry(option: Option) -> str:
    """What an experiment's header says, with its picture, and what it expects."""
    said, *more = [list(each) for each in _paragraphs(option.header[1:])] or [[]]
    parts = [f"### {option.name}", f"**{_escaped(option.summary)}.**", "\n".join(said)]
    if (PICTURES / f"{option.name}.svg").exists():
        parts.append(f"![{option.summary}](../../.github/course/{option.name}.svg)")
    parts += ["\n".join(each) for each in more]
    parts.append(_expected(load(option.file).get("expect") or {}))
    return "\n\n".join(filter(None, parts)) + "\n\n"


def _paragraphs(header: Sequence[str]) -> Iterator[list[str]]:
    """The paragraphs of a header in Markdown: what is indented is typed or computed."""
    kept: list[str] = []
    typed = False
    for line in [*header, ""]:
        indented = line.startswith("  ")
        if kept and (indented is not typed or not line):
            yield kept
            kept = []
        typed = indented
        if line and not line.startswith("subject: "):
            kept.append(f"  {line}" if indented else _escaped(line))


def _escaped(line: str) -> str:
    """A line of text whose signs mean nothing in Markdown, but for what stands in backticks."""
    parts = line.split("`")
    return "`".join(
        part if place % 2 else re.sub(r"[*<|\[\]]|\b_\B|\B_\b", r"\\\g<0>", part)
        for place, part in enumerate(parts)
    )


def _expected(expect: dict[str, Any]) -> str:
    """Names with their values and tolerances, to fold out."""
    if not expect:
        return ""
    pairs = {
        name: asked if isinstance(asked, list) else [asked, 0] for name, asked in expect.items()
    }
    rows = [
        f"| {name} | {value:g}" + f" ± {tolerance:g}" * bool(tolerance) + " |"
        for name, (value, tolerance) in pairs.items()
    ]
    head = ["<details><summary>expected</summary>\n", "| name | value |", "| --- | --- |"]
    return "\n".join([*head, *rows, "\n</details>"])


def commands(option: Option) -> list[str]:
    """The commands of an experiment's header."""
    lines = (line.strip() for line in option.header if line.startswith("  "))
    return [line for line in lines if line.startswith("dlrun ")]


def picture(option: Option, words: Sequence[str]) -> str:
    """Type an experiment and keep its figure; what became of it, in a line."""
    with tempfile.TemporaryDirectory() as outputs:
        where = (f"outputs={outputs}", "tracking=none")
        found = dlrun.run(f"+experiment={option.name}", *words, *where)
        panels = chart.of(found.directory)
    if not panels:
        return "has no figure of its own"
    text = shortened(chart.svg(panels))
    if len(text.encode()) > _LARGEST:
        return f"its picture is left out: {len(text.encode()):,} bytes"
    PICTURES.mkdir(exist_ok=True)
    (PICTURES / f"{option.name}.svg").write_text(text, encoding="utf-8")
    return "drawn"


def shortened(svg: str) -> str:
    """A picture without what nobody sees: digits beyond hundredths, names of fonts, spaces."""
    for pattern, by in (
        (r"<metadata>.*?</metadata>|<!--.*?-->", ""),
        (r"font-family: [^;\"]*sans-serif", "font-family: sans-serif"),
        (r' transform="rotate\(-0 [^)]*\)"', ""),
        (r"(\d+\.\d\d)\d+", r"\1"),
        (r"\s+", " "),
        (r"> <", ">\n<"),
    ):
        svg = re.sub(pattern, by, svg, flags=re.DOTALL)
    return svg.strip() + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the pictures, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="of experiments; none: all of them")
    parser.add_argument("--root", help="the folder of CIFAR-10's photographs")
    asked = parser.parse_args(arguments)
    known = experiments()
    for name in asked.names or known:
        photographs = any(_ROOT in command for command in commands(known[name]))
        if photographs and not asked.root:
            print(f"{name}: left out: it takes photographs, --root says where", flush=True)
            continue
        words = [f"{_ROOT}{asked.root}"] if photographs else []
        try:
            print(f"{name}: {picture(known[name], words)}", flush=True)
        except (dlrun.Failure, dlrun.Mistake) as error:
            print(f"{name}: {error}", flush=True)
    write()


def write() -> None:
    """Write the page anew."""
    PAGE.write_text(with_experiments(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()

"""`make readme`: the table of groups in README.md, from the first lines of the YAML files.

And what the course's page says of each experiment, see `tests.course`.
"""

from pathlib import Path

from dlrun.recipe.catalogue import Catalogue
from dlrun.recipe.schema import GROUPS, SEVERAL
from tests import course

README = Path(__file__).parents[1] / "README.md"
BEGIN = "<!-- groups: written by `make readme` from the first lines of conf/ -->\n"
END = "<!-- end of groups -->\n"


def table() -> str:
    """Every group with its options and their one-line descriptions, in Markdown."""
    catalogue = Catalogue()
    lines = []
    for group in GROUPS:
        several = " (several)" if group in SEVERAL else ""
        lines += [f"\n**{group}**{several}\n", "| option | what it is |", "| --- | --- |"]
        for name, option in catalogue.options(group).items():
            mark = " *" if option.usual else ""
            what = option.summary.replace("|", "\\|")
            lines.append(f"| `{name}`{mark} | {what} |")
    return "\n".join(lines) + "\n\n"


def with_table(text: str) -> str:
    """The README with the table of today."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + table() + END + after


if __name__ == "__main__":
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
    course.write()

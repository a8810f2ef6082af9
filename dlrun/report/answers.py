"""What a run says of validation samples, as figures: predictions, mistakes, confusion, reliability.

They are drawn from `validation.npz` of a record, which `dlrun/engine/answers.py` describes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dlrun import record, shell
from dlrun.report.curves import BLUE, GREY, ORANGE, logarithmic, new_figure, number, save, tidy
from dlrun.report.plots import short, shortened
from dlrun.report.sheet import WIDE, Caption, grid, picture, sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Arrays = Mapping[str, NDArray[Any]]

_BY_ROWS = 16  # classes whose mistakes have a row each, at most
_NUMBERED = 20  # classes whose confusion is written out, at most
_LABELLED = 34  # labels on an axis, at most
_PAIRS = 12  # of classes that are confused most
_TARGETS = 6  # that are drawn, at most
_DOTS = 4000  # of a scatter plot, at most
_ROWS = 12  # of a table, at most
_HEAD = 20  # letters of the name of a column, at most


@dataclass(frozen=True)
class Said:
    """What a run says of the samples of a split. split: as a title names it.

    target: the name of the number that is predicted; "value" where it has none.
    """

    arrays: Arrays
    classes: tuple[str, ...]
    target: str = "value"
    split: str = "validation"

    def __getitem__(self, key: str) -> NDArray[Any]:
        return self.arrays[key]

    def __contains__(self, key: str) -> bool:
        return key in self.arrays

    @property
    def count(self) -> str:
        """Of its samples."""
        return shell.counted(len(self["row"]), f"{self.split} sample")

    def name(self, label: int, most: int = 14) -> str:
        """Of a class, so many letters at most."""
        return shortened(self.classes, most)[label]

    def sure(self, value: float) -> str:
        """How sure the run is: a probability, or a score."""
        return f"{value:.0%}" if self["probabilities"] else f"{value:.3g}"

    def at(self, place: int) -> int:
        """Where the input of a sample is among those that are kept."""
        return int(np.searchsorted(self["place"], place))


def draw(directory: Path, whole: bool = False) -> list[Path]:
    """Draw what the record has of it into `figures/`; the files that were written.

    whole: with reliability, which takes as long as the others and need not be there at once.
    """
    arrays = record.read_arrays(directory / record.VALIDATION)
    if not arrays:
        return []
    data = record.read_json(directory / "run.json").get("data") or {}
    target = (data.get("reading") or {}).get("target")
    name = target if isinstance(target, str) else "value"
    said = Said(arrays, tuple(map(str, data.get("classes") or ())), short(name, 40))
    made: dict[str, Figure | None] = {}
    if "error" in said:
        made["predictions"] = _reconstructed(said, "shown", "some")
        made["mistakes"] = _reconstructed(said, "worst", "the worst")
    elif "truth" in said:
        made["predictions"] = _examples(said)
        made["mistakes"] = _mistakes(said)
        made["confusion"] = _confusion(said) if "confusion" in said else None
    elif "bins" not in said:
        made["predictions"] = _scattered(said)
        made["mistakes"] = _far_off(said)
    if whole and "bins" in said and said["probabilities"]:
        made["reliability"] = _reliability(said)
    folder = directory / "figures"
    drawn = {folder / f"{name}.png": each for name, each in made.items() if each is not None}
    for path, figure in drawn.items():
        save(figure, path)
    return [*drawn]


def _examples(said: Said) -> "Figure | None":
    """Samples drawn at random, with what is said of them; the wrong ones stand out."""
    right = np.mean(said["y"] == said["predicted"])
    every = len(said["shown"]) == len(said["row"])
    some = said.count if every else f"{len(said['shown'])} of {said.count}, drawn at random"
    title = f"{some}; {right:.1%} {'' if every else 'of all '}are right"
    places = said["shown"]
    if "image" in said:
        return grid(_images(said, places), [_caption(said, p) for p in places], title, across=6)
    return _table(said, places, title)


def _mistakes(said: Said) -> "Figure | None":
    """The worst mistakes of each class: those whose true class has the least probability."""
    places, y = said["worst"], said["y"]
    wrong = np.unique(y[said["predicted"] != y])
    never = [said.name(label) for label in np.unique(y) if label not in wrong]
    less = "probability" if said["probabilities"] else "score"
    title = f"the worst mistakes of each class among {said.count}"
    note = f"the {less} is that of the class that was said"
    if never and len(never) <= _BY_ROWS:
        note += f"; no mistake of {', '.join(never)}"
    if not len(places):
        return _nothing(f"no mistakes among {said.count}")
    if "image" not in said:
        return _table(said, places, title, most=3 * _ROWS)
    images = _images(said, places)
    if len(wrong) > _BY_ROWS or len(places) < 3 * len(wrong):
        shown = len(np.unique(y[places]))
        left = f", of the {shown} with most of {len(wrong)}" if shown < len(wrong) else ""
        narrow = len(wrong) > _BY_ROWS
        captions = [_caption(said, place, narrow=narrow) for place in places]
        return grid(images, captions, title + left, across=8 if narrow else 6, note=note)
    rows = [[n for n, place in enumerate(places) if y[place] == label] for label in wrong]
    across = max(map(len, rows))
    cells = [row[k] if k < len(row) else None for row in rows for k in range(across)]
    of = [_caption(said, place, true=False) for place in places]
    return grid(
        [None if n is None else images[n] for n in cells],
        [None if n is None else of[n] for n in cells],
        title,
        across=across,
        note=note,
        rows=[f"is {said.name(label)}" for label in wrong],
    )


def _caption(said: Said, place: int, true: bool = True, narrow: bool = False) -> Caption:
    """What is said of a sample, and what it is where that is something else and not said above.

    narrow: on three lines.
    """
    label, guess = int(said["y"][place]), int(said["predicted"][place])
    sure = said.sure(float(said["confidence"][place]))
    if narrow:
        return f"{said.name(guess, 13)}\n{sure}, is\n{said.name(label, 13)}", ORANGE
    text = f"{said.name(guess, 10)} · {sure}"
    if label == guess:
        return text, BLUE
    return (f"{text}\nis {said.name(label, 13)}" if true else text), ORANGE


def _images(said: Said, places: Sequence[int] | NDArray[Any]) -> list[NDArray[Any]]:
    images = said["image"]
    return [picture(images[said.at(int(place))]) for place in places]


def _table(
    said: Said, places: Sequence[int] | NDArray[Any], title: str, most: int = 2 * _ROWS
) -> "Figure":
    """Samples of a table: the truth, the prediction, and some of their columns."""
    head = ["row", "is", "said", "probability" if said["probabilities"] else "score"]
    lines, colours = [], []
    for place in places[:most]:
        label, guess = int(said["y"][place]), int(said["predicted"][place])
        sure = said.sure(float(said["confidence"][place]))
        lines.append([str(said["row"][place]), said.name(label), said.name(guess), sure])
        colours.append(BLUE if label == guess else ORANGE)
    return _written(said, places[:most], title, head, lines, colours)


def _written(
    said: Said,
    places: Sequence[int] | NDArray[Any],
    title: str,
    head: list[str],
    lines: list[list[str]],
    colours: Sequence[str],
) -> "Figure":
    """A table as a figure, with as many columns of the input as there is room for.

    The title says how many are left out.
    """
    left = 0
    if "input" in said:
        left = int(said["features"] if "features" in said else len(said["columns"]))
        names = shortened(tuple(map(str, said["columns"])), _HEAD)
        for column, name in enumerate(names):
            cells = [_cell(said["input"][said.at(int(p)), column]) for p in places]
            room = sum(_width(column) for column in zip(head, *lines, strict=True))
            if room + _width([name, *cells]) > 92:
                break
            head = [*head, name]
            lines = [[*line, cell] for line, cell in zip(lines, cells, strict=True)]
            left -= 1
    if left:
        title += f"; {shell.counted(left, 'more column')} not shown"
    height = 0.75 + 0.2 * len(lines)
    figure = sheet(height, title)
    at = 0.15
    for column, entries in enumerate(zip(head, *lines, strict=True)):
        at += 0.066 * _width(entries)
        for line, cell in enumerate(entries):
            colour = GREY if not line else colours[line - 1] if column < 4 else "black"
            y = 1 - (0.45 + 0.2 * line) / height
            style: Any = {"fontsize": 8, "va": "top", "ha": "right", "color": colour}
            figure.text((at - 0.1) / WIDE, y, cell, **style)
    return figure


def _cell(value: Any) -> str:
    """A text that the file has, or a number."""
    return short(value, _HEAD) if isinstance(value, str) else number(float(value))


def _width(cells: Sequence[str]) -> int:
    return 2 + max(map(len, cells))


def _nothing(text: str) -> "Figure":
    figure = new_figure(WIDE, 0.6)
    figure.text(0.15 / WIDE, 0.5, text, fontsize=9, va="center", weight="bold")
    return figure


def _confusion(said: Said) -> "Figure":
    """How often which class is taken for which, as a share of the true one."""
    from matplotlib.colors import PowerNorm

    counts = said["confusion"]
    many = len(counts)
    names = [said.name(label, 12) for label in range(many)]
    pairs = _pairs(said) if many > _NUMBERED else []
    margin = 0.45 + 0.07 * max(map(len, names))
    side = WIDE - margin - 0.9
    below = margin + (0.75 + 0.2 * len(pairs) if pairs else 0.0)
    height = side + below + 0.4
    figure = sheet(height, f"{said.count}, as shares of each true class")
    axes = figure.add_axes((margin / WIDE, below / height, side / WIDE, side / height))
    totals = counts.sum(1, keepdims=True)
    shares = np.where(totals > 0, counts / np.maximum(totals, 1), np.nan)
    shown = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    axes.set_facecolor("#eeeeee")
    every = -(-many // _LABELLED)
    size = 8 if many <= 12 else 7
    turned = 90 if sum(map(len, names[::every])) > 40 else 0
    axes.set_xticks(range(0, many, every), names[::every], rotation=turned, fontsize=size)
    axes.set_yticks(range(0, many, every), names[::every], fontsize=size)
    axes.set_xlabel("predicted class", fontsize=9)
    axes.set_ylabel("true class", fontsize=9)
    if many <= _NUMBERED:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                ink = "white" if shares[row, column] > 0.45 else "black"
                style: Any = {"ha": "center", "va": "center", "fontsize": size, "color": ink}
                axes.text(column, row, f"{count}", **style)
    bar = figure.colorbar(shown, cax=axes.inset_axes((1.03, 0, 0.03, 1)))
    bar.set_ticks([0, 0.01, 0.05, 0.2, 0.5, 1], labels=["0", "1%", "5%", "20%", "50%", "100%"])
    bar.ax.tick_params(labelsize=7)
    if pairs:
        left = 0.25 + 0.07 * max(len(name) for name, _ in pairs)
        extent = (WIDE - left - 0.3) / WIDE, 0.2 * len(pairs) / height
        _bars(figure, pairs, (left / WIDE, 0.45 / height, *extent))
    return figure


def _pairs(said: Said) -> list[tuple[str, int]]:
    """The classes that are confused most, and how often."""
    counts = said["confusion"].copy()
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:_PAIRS]
    pairs = [divmod(int(place), len(counts)) for place in order]
    return [
        (f"{said.name(a)} as {said.name(b)}", int(counts[a, b])) for a, b in pairs if counts[a, b]
    ]


def _bars(
    figure: "Figure", pairs: Sequence[tuple[str, int]], box: tuple[float, float, float, float]
) -> None:
    axes = figure.add_axes(box)
    names, counts = zip(*pairs, strict=True)
    axes.barh(range(len(pairs)), counts, color=ORANGE, height=0.6, tick_label=names)
    axes.invert_yaxis()
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel("samples of the pairs that are confused most", fontsize=8)
    axes.tick_params(labelsize=8, left=False)
    axes.spines[["top", "right"]].set_visible(False)


def _reliability(said: Said) -> "Figure":
    """How often it is right where it is so sure (DeGroot, Fienberg 1983), bin by bin."""
    counts, confidence, accuracy = said["bins"]
    confidence, accuracy = (each / np.maximum(counts, 1) for each in (confidence, accuracy))
    edges = np.linspace(0, 1, len(counts) + 1)
    known = counts > 0
    apart = float(np.sum(counts * np.abs(confidence - accuracy)) / max(counts.sum(), 1))
    figure = sheet(5.2, f"{said.count}, calibration error {apart:.3f}")
    upper = figure.add_axes((0.12, 0.34, 0.85, 0.58))
    lower = figure.add_axes((0.12, 0.1, 0.85, 0.17))
    middles, width = (edges[:-1] + edges[1:]) / 2, edges[1] - edges[0]
    upper.bar(
        middles[known], accuracy[known], width * 0.94, color=BLUE, label="how often it is right"
    )
    likely = (accuracy * counts + 1) / (counts + 2)  # Laplace: of one sample nobody is sure
    error = np.sqrt(likely * (1 - likely) / (counts + 2))
    upper.errorbar(
        middles[known], accuracy[known], yerr=error[known],
        fmt="none", ecolor="#222222", elinewidth=1, capsize=2, label="standard error",
    )  # fmt: skip
    upper.plot(
        confidence[known], confidence[known], "o", color=ORANGE, markersize=5,
        label="how sure it is, on average",
    )  # fmt: skip
    upper.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1)
    upper.set_ylim(0, 1.02)
    upper.set_ylabel("share that is right", fontsize=9)
    upper.legend(frameon=False, fontsize=8, loc="upper left")
    lower.bar(middles, counts, width * 0.94, color=GREY)
    lower.set_xlabel("probability of the predicted class", fontsize=9)
    lower.set_ylabel("samples", fontsize=9)
    if counts.max() > 50 * max(1, np.min(counts[known], initial=1)):
        logarithmic(lower)
    for axes in (upper, lower):
        axes.set_xlim(0, 1)
        tidy(axes)
        axes.tick_params(which="both", labelsize=8)
    return figure


def _scattered(said: Said) -> "Figure":
    """Predicted against true numbers, a panel for each target."""
    y, predicted = said["y"], said["predicted"]
    many = min(_TARGETS, y.shape[1])
    across = 1 if many == 1 else 2
    down = -(-many // across)
    cell = (4.4 if many == 1 else 3.0) * down
    height = cell + 0.4
    left = f", {y.shape[1] - many} more targets are not drawn" if y.shape[1] > many else ""
    error = number(float(np.abs(predicted - y).mean()))
    title = f"{said.count}, mean absolute error {error}{left}"
    figure = sheet(height, title)
    every = -(-len(y) // _DOTS)
    for target in range(many):
        row, column = divmod(target, across)
        left_at = (column + (0.14 if across == 1 else 0.24)) / across
        bottom = (cell * (1 - (row + 1) / down) + 0.55) / height
        size = (0.83 if across == 1 else 0.72) / across, (cell / down - 0.75) / height
        axes = figure.add_axes((left_at, bottom, *size))
        truth, guess = y[:, target], predicted[:, target]
        finite = np.isfinite(guess)
        both = np.concatenate([truth, guess[finite]])
        ends = [float(both.min()), float(both.max())]
        axes.plot(truth[::every], guess[::every], ".", color=BLUE, markersize=4, alpha=0.5)
        axes.plot(ends, ends, color=GREY, linestyle="--", linewidth=1)
        name = f" of target {target + 1}" if y.shape[1] > 1 else ""
        axes.set_xlabel(f"true {said.target}{name}", fontsize=9)
        axes.set_ylabel(f"predicted {said.target}", fontsize=9)
        tidy(axes)
        axes.tick_params(labelsize=8)
    return figure


def _far_off(said: Said) -> "Figure":
    """The largest errors."""
    places = said["worst"][:_ROWS]
    title = f"the largest errors among {said.count}"
    y, predicted = said["y"], said["predicted"]
    several = y.shape[1] > 1
    if "image" in said:
        captions = [(f"{_numbers(predicted[p])}\nis {_numbers(y[p])}", ORANGE) for p in places]
        return grid(_images(said, places), captions, title, across=6)
    head = ["row", "is", "said", "mean error" if several else "error"]
    lines = [
        [str(said["row"][p]), _numbers(y[p]), _numbers(predicted[p]),
         number(float((np.abs if several else np.array)(predicted[p] - y[p]).mean()))]
        for p in places
    ]  # fmt: skip
    return _written(said, places, title, head, lines, [ORANGE] * len(lines))


def _numbers(values: NDArray[Any]) -> str:
    some = [number(float(value)) for value in values[:2]]
    return ", ".join(some) + (" …" if len(values) > 2 else "")


def _reconstructed(said: Said, which: str, what: str) -> "Figure | None":
    """Images as the network sees them, and below each what it makes of it."""
    if "target" not in said:
        return None
    places = [int(place) for place in said[which]]
    low, high = float(said["target"].min()), float(said["target"].max())
    images: list[NDArray[Any] | None] = []
    captions: list[Caption | None] = []
    across = 6
    for start in range(0, len(places), across):
        part = places[start : start + across]
        for kind in ("target", "output"):
            scaled = (said[kind].astype(np.float32) - low) / max(high - low, 1e-12)
            images += [picture(scaled[said.at(p)].clip(0, 1)) for p in part]
            images += [None] * (across - len(part))
            said_of = [f"error {number(float(said['error'][p]))}" for p in part]
            captions += [(text if kind == "output" else "", GREY) for text in said_of]
            captions += [None] * (across - len(part))
    title = f"{what} of {said.count}, each above what the network makes of it"
    return grid(images, captions, title, across=across, note="error: the mean square of a sample")

"""What runs on the same data have in common: made once, and held by the data.

What preprocessing learns, and the splits that lie ready for the model, follow from the data, the
device and a part of the recipe. So the runs of a sweep hold one copy of a split between them,
whether they are trained one after another or at once.

Only what dlrun's own steps make is shared, which draw no numbers and keep what they learn in
buffers. Nothing may be written into what is shared; what somebody has written into all the same
is made anew for the next run.
"""

from dataclasses import dataclass, field
from weakref import WeakValueDictionary

import torch
from torch import nn

from dlrun.data import Data, Split
from dlrun.engine.feed import PreparedSplit, prepare
from dlrun.engine.run import Weights


def of(data: Data) -> "Shared":
    """What the runs on these data share."""
    shared: Shared = data.made.setdefault("shared", Shared())
    return shared


@dataclass
class Shared:
    """What was made of some data, by keys; "" as a key shares nothing.

    tried: of recipes whose steps on these data are sound, how many samples their models take.
    """

    _fitted: dict[tuple[str, str], Weights] = field(default_factory=dict)
    _feeds: WeakValueDictionary[tuple[object, ...], PreparedSplit] = field(
        default_factory=WeakValueDictionary
    )
    _versions: dict[tuple[object, ...], tuple[int, int]] = field(default_factory=dict)
    _last: dict[str, PreparedSplit] = field(default_factory=dict)
    tried: dict[str, int] = field(default_factory=dict)

    def recall(self, key: str, device: torch.device) -> Weights | None:
        """What a preprocessing has learned of these data; None where nobody knows."""
        known = self._fitted.get((key, str(device)))
        return known and {name: value.clone() for name, value in known.items()}

    def learned(self, key: str, device: torch.device, fitted: Weights) -> None:
        """Keep what a preprocessing has learned, in place of that of another one."""
        if key:
            kept = {name: value.clone() for name, value in fitted.items()}
            self._fitted = {(key, str(device)): kept}

    def feed(
        self,
        key: str,
        name: str,
        split: Split,
        chain: nn.Sequential,
        device: torch.device,
        fixed: bool,
    ) -> PreparedSplit:
        """The split of that name, as `feed.prepare` makes it.

        One that was made alike is taken while a run has it, and the last one even after that.
        key: of the chain, and of the size that it cuts images to.
        """
        known = key, name, len(split), str(device), fixed
        kept = self._feeds.get(known) if key else None
        if kept is None or _versions(kept) != self._versions[known]:
            self._last.pop(name, None)  # before the next one takes memory
            kept = prepare(split, chain, device, fixed)
        if key:
            self._feeds[known] = self._last[name] = kept
            self._versions[known] = _versions(kept)
        return kept


def _versions(feed: PreparedSplit) -> tuple[int, int]:
    """How often torch has seen somebody write into a split."""
    return feed.x._version, feed.y._version

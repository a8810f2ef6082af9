"""How a set is dealt out: how many samples of each class, or which groups, go to each part."""

from collections.abc import Sequence
from fractions import Fraction
from heapq import heappop, heappush
from itertools import pairwise, permutations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Whole = NDArray[np.int64]

_DEALS = 20
_DEALT = 20_000  # groups in all of these, about


def by_class(counts: Sequence[int], fractions: Sequence[Fraction]) -> Whole:
    """Sizes of the parts of each class, (classes, parts): the exact fraction rounded up or down.

    What rounding down leaves over goes to the parts whose sizes so far lag most behind, so that
    a thousand small classes don't all round the same way; but first to an empty train, which is
    part 0. Where the fractions of the whole are whole numbers, the parts have these sizes, unless
    that would take a class out of train.
    """
    lag = [Fraction(0)] * len(fractions)
    shared = []
    for count in counts:
        exact = [count * fraction for fraction in fractions]
        sizes = [int(share) for share in exact]
        lag = [was + share - size for was, share, size in zip(lag, exact, sizes, strict=True)]
        uneven = [i for i, share in enumerate(exact) if share != sizes[i]]
        uneven.sort(key=lambda i: (i > 0 or sizes[0] > 0, -lag[i]))
        for i in uneven[: count - sum(sizes)]:
            sizes[i] += 1
            lag[i] -= 1
        shared.append(sizes)
    found = np.array(shared, np.int64).reshape(-1, len(fractions))
    if any(lag) and all((sum(counts) * fraction).denominator == 1 for fraction in fractions):
        return _evened_out(found, np.array(counts), fractions)
    return found


def _evened_out(given: Whole, counts: Whole, fractions: Sequence[Fraction]) -> Whole:
    """Other classes rounded up or down until the parts have their whole sizes, if they can.

    Along a chain of parts, the first of which has a sample too many and the last one too few,
    each gives one to the next (Bacharach, Matrix rounding problems, 1966).
    """
    above = np.array([fraction.numerator for fraction in fractions])
    below = np.array([fraction.denominator for fraction in fractions])
    sizes = given.copy()
    lower, uneven = np.divmod(counts[:, None] * above, below)
    while (spare := sizes.sum(0) - counts.sum() * above // below).any():
        gives, takes = sizes > lower, (sizes == lower) & (uneven > 0)
        gives[:, 0] &= sizes[:, 0] > 1
        chains = [
            [(int(np.argmax(fits)), a, b) for a, b, fits in links]
            for length in range(2, len(fractions) + 1)
            for parts in permutations(range(len(fractions)), length)
            if spare[parts[0]] > 0 > spare[parts[-1]]
            and (links := [(a, b, gives[:, a] & takes[:, b]) for a, b in pairwise(parts)])
            and all(fits.any() for _, _, fits in links)
        ]
        if not chains:
            return given
        for kind, giver, taker in chains[0]:
            sizes[kind, giver] -= 1
            sizes[kind, taker] += 1
    return sizes


def by_group(members: Whole, wanted: Sequence[float], generator: torch.Generator) -> Whole:
    """The part of each group, (groups,), such that the parts come near to the wanted sizes.

    members: (groups,) sizes; or (groups, classes), of each class, which then come near to their
        shares in each part, as far as the sizes leave a choice.
    The best of a few deals by the sum of the squared differences of the sizes; where these are
    less than a sample, by those of the classes.
    """
    members = members.reshape(len(members), -1)
    best, least = np.zeros(len(members), np.int64), (np.inf, np.inf)
    for _ in range(max(1, min(_DEALS, _DEALT // len(members)))):
        part, lacks, off = _deal(members, wanted, generator)
        good = bool((abs(lacks) < 1).all())
        if (error := (0.0 if good else float(lacks @ lacks), off)) < least:
            best, least = part, error
        if good and members.shape[1] == 1:
            break
    return best


def _deal(
    members: Whole, wanted: Sequence[float], generator: torch.Generator
) -> tuple[Whole, NDArray[Any], float]:
    """The part of each group, what each part then lacks, and how far off its classes are.

    Groups are dealt in random order, each to the part that lacks most of its classes: where
    Σ lacking²/samples becomes least, over parts and classes. Then a group moves, or two change
    places, as long as the sum of the squared differences of the sizes becomes smaller.
    """
    sizes, weights = members.sum(1), 1 / np.maximum(members.sum(0), 1)
    ideal = np.outer(wanted, members.sum(0) / members.sum())
    left = ideal.copy()
    part = np.zeros(len(members), np.int64)
    for group in torch.randperm(len(members), generator=generator).tolist():
        part[group] = np.argmax(left @ (members[group] * weights))
        left[part[group]] -= members[group]
    lacks = left.sum(1)
    while exchange := _better(sizes, part, lacks):
        giver, taker, group, other = exchange
        part[group] = taker
        moved = sizes[group]
        if other is not None:
            part[other] = giver
            moved -= sizes[other]
        lacks[giver] += moved
        lacks[taker] -= moved
    held = np.stack([members[part == number].sum(0) for number in range(len(wanted))])
    return part, lacks, float(((held - ideal) ** 2 * weights).sum())


def _better(
    sizes: Whole, part: Whole, lacks: NDArray[Any]
) -> tuple[int, int, int, int | None] | None:
    """The exchange of groups that helps most: (giver, taker, group, group in return)."""
    best, most = None, 1e-9
    for giver, taker in permutations(range(len(lacks)), 2):
        gap = lacks[taker] - lacks[giver]
        ours, theirs = np.flatnonzero(part == giver), np.flatnonzero(part == taker)
        if gap <= 0 or not len(ours):
            continue
        # Nothing in return is a group of size 0. Of those sorted, the two around the best size.
        theirs = theirs[np.argsort(sizes[theirs], kind="stable")]
        returned = np.concatenate([[0], sizes[theirs]])
        place = np.searchsorted(returned, sizes[ours] - gap / 2)
        for at in (place - 1, place):
            at = at.clip(0, len(returned) - 1)
            moved = sizes[ours] - returned[at]
            gain = 2 * moved * (gap - moved)
            i = int(np.argmax(gain))
            if gain[i] > most:
                most = gain[i]
                other = int(theirs[at[i] - 1]) if at[i] else None
                best = giver, taker, int(ours[i]), other
    return best


def in_turn(counts: Sequence[int], length: int) -> Whole:
    """How many of each class are among the first `length`, where classes take turns.

    The first so many hold each class within one of its share, whatever `length` is, and each is
    part of any longer one. The class whose next sample is due earliest has its turn; that sample
    may come once its share is more than those before it (Tijdeman, The chairman assignment
    problem, 1980). At equal times, an earlier class comes first.
    """
    total = sum(counts)
    taken = np.zeros(len(counts), np.int64)
    waiting = [(0, kind) for kind, count in enumerate(counts) if count]
    ready: list[tuple[int, int]] = []
    for now in range(length):
        while waiting and waiting[0][0] <= now:
            _, kind = heappop(waiting)
            heappush(ready, (-(-(int(taken[kind]) + 1) * total // counts[kind]), kind))
        _, kind = heappop(ready)
        taken[kind] += 1
        if taken[kind] < counts[kind]:
            heappush(waiting, (int(taken[kind]) * total // counts[kind], kind))
    return taken

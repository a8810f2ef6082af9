"""A folder of very many small images: what listing, knowing it again, and reading it cost.

    python -m tests.bench.million 200000 [/tmp/million]

Writes the files where they are not there yet, then measures in processes of their own: a first
start (list, decode into the cache), a second one (list, look into the cache), an epoch over the
cache, and mini-batches of samples as large as ImageNet's from a file that is not in memory. Of the
second start it says what 1,281,167 files come to, as many as ImageNet's training set has.

What bounds a start is one stat of each file, without which a changed one would go unnoticed, and a
Python object for it; what else grows with the set is 16 bytes a sample, its hash and its target.
Memory is counted without what is mapped from files, which gives way when memory is short.
"""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
from PIL import Image

IMAGENET = 1_281_167
CLASSES = 1000


def write(root: Path, count: int) -> None:
    """So many JPEG files of 16×16 in a thousand folders; those that are there stay."""
    if (root / "done").exists():
        return
    generator = np.random.default_rng(0)
    for number in range(CLASSES):
        (root / "set" / f"n{number:08d}").mkdir(parents=True, exist_ok=True)
    for place in range(count):
        pixels = generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        name = root / "set" / f"n{place % CLASSES:08d}" / f"{place:08d}.JPEG"
        Image.fromarray(pixels).save(name, "JPEG", quality=50)
    (root / "done").touch()


def anonymous() -> float:
    """MiB that this process holds, without what is mapped from files."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def start(root: Path) -> dict[str, float]:
    """What a start costs: listing, the key, opening the cache, splitting."""
    from dlrun.data import split
    from dlrun.data.fingerprint import hash_files
    from dlrun.data.imagefolder import imagefolder
    from dlrun.data.images.scan import scan, suffixes

    suffixes()  # which opens what Pillow has
    before = anonymous()
    begun = perf_counter()
    found = scan(str(root / "set"))
    listed, files, most = perf_counter(), len(found.files), anonymous()
    hash_files(found.files, 0)
    hashed = perf_counter()
    del found
    source = imagefolder(str(root / "set"), cache=str(root / "cache"))
    opened = perf_counter()
    data = split.make(source, leaks="warn")
    done = perf_counter()
    return {
        "files": files,
        "list": listed - begun,
        "key": hashed - listed,
        "open": opened - hashed,
        "split": done - opened,
        "samples": len(data.train),
        "listing": most - before,
        "kept": anonymous() - before,
    }


def epoch(root: Path) -> dict[str, float]:
    """What it costs to gather all mini-batches of an epoch from the mapped cache."""
    import torch

    from dlrun.data.imagefolder import imagefolder
    from dlrun.engine.batches import batches, order

    source = imagefolder(str(root / "set"), cache=str(root / "cache"))
    begun, seen = perf_counter(), 0
    for x, _ in batches(source.x, source.y, order(torch.arange(len(source.x)), 0, 0), 256, "cpu"):
        seen += len(x)
    return {"samples": seen, "seconds": perf_counter() - begun, "anonymous": anonymous()}


def cold(root: Path, ahead: bool) -> dict[str, float]:
    """Mini-batches in random order from samples as large as ImageNet's, none in memory yet.

    ahead: as dlrun reads them, and else without asking the system to read ahead.
    """
    import torch

    from dlrun.engine import batches

    count, file = 16_000, root / f"large-{ahead}.bin"
    if not file.exists():
        with file.open("wb") as stream:
            for seed in range(count // 100):
                generator = np.random.default_rng(seed)
                stream.write(generator.bytes(100 * 3 * 224 * 224))
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    x = torch.from_numpy(np.memmap(file, np.uint8, "c", shape=(count, 3, 224, 224)))
    if not ahead:
        batches.will_need = lambda x, rows: None
    rows = batches.order(torch.arange(count), 0, 0)[:8000]
    begun, seen = perf_counter(), 0
    for one, _ in batches.batches(x, torch.arange(count), rows, 256, "cpu", prefetch=True):
        seen += len(one)
    return {"samples": seen, "seconds": perf_counter() - begun, "anonymous": anonymous()}


def alone(what: str, root: Path) -> dict[str, float]:
    """One of these functions in a process of its own."""
    words = [sys.executable, "-m", "tests.bench.million", what, str(root)]
    begun = perf_counter()
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found | {"whole": perf_counter() - begun}


def main() -> None:
    count = int(sys.argv[1])
    root = Path(sys.argv[2] if len(sys.argv) > 2 else "/tmp/million")
    root.mkdir(parents=True, exist_ok=True)
    write(root, count)
    for name in ("first", "second"):
        told = alone("start", root)
        files = told["files"]
        parts = ", ".join(
            f"{part} {told[part]:.2f} s ({1e6 * told[part] / files:.1f} µs a file)"
            for part in ("list", "key", "open", "split")
        )
        memory = f"{told['listing']:.0f} MiB while listing, {told['kept']:.0f} at the end"
        print(f"{name} start of {files:,.0f} files: {parts}; {memory}")
    many, each = IMAGENET / files, 1e6 * told["open"] / files
    print(
        f"a second start of {IMAGENET:,} files at {each:.1f} µs: {many * told['open']:.0f} s, "
        f"{many * told['listing']:.0f} MiB while listing, {many * told['kept']:.0f} at the end"
    )
    told = alone("epoch", root)
    rate = told["samples"] / told["seconds"]
    print(f"an epoch of {told['samples']:,.0f}: {rate:,.0f} samples/s, {told['anonymous']:.0f} MiB")
    for what in ("apart", "ahead"):
        told = alone(what, root)
        rate = told["samples"] / told["seconds"]
        print(f"cold, read {what}: {rate:,.0f} samples/s, {told['anonymous']:.0f} MiB anonymous")


if __name__ == "__main__":
    measures = {"start": start, "epoch": epoch}
    measures |= {"ahead": partial(cold, ahead=True), "apart": partial(cold, ahead=False)}
    if sys.argv[1] in measures:
        print(json.dumps(measures[sys.argv[1]](Path(sys.argv[2]))))
        sys.stdout.flush()
        os._exit(0)
    main()

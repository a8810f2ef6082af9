"""Files that are written whole or not at all, and what the file system says against it."""

import errno
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, Timeout

from dlrun import shell
from dlrun.errors import DlrunError, Failure, Mistake
from dlrun.record.bounds import JSON_BYTES

WRITERS = 8  # threads that wait for the disk at once, which takes many files in the time of one
FULL = "the disk is full"
_later: ContextVar[list[Path] | None] = ContextVar("_later", default=None)


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file; empty where it is missing, damaged or far too large."""
    with suppress(OSError, ValueError, RecursionError):
        if path.stat().st_size > JSON_BYTES:
            return {}
        content = json.loads(path.read_text(encoding="utf-8"))
        return content if isinstance(content, dict) else {}
    return {}


def read_bytes(path: Path) -> bytes:
    """The content of a file; empty where there is none. Raises Failure where it cannot be read."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return b""
    except OSError as error:
        raise Failure(f"cannot read {path}: {_why(error)}") from error


def write_json(path: Path, content: dict[str, Any], durable: bool = True) -> None:
    """Write a JSON file whole or not at all, without any password that a URI in it has."""
    write(path, text(shell.redacted_values(content), indent=2) + "\n", durable)


def overwrite_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file as `write_json`, over the one that is there: a new one takes far longer.

    A loss of power may leave a part of each.
    """
    if not overwrite(path, text(shell.redacted_values(content), indent=2) + "\n"):
        write_json(path, content, durable=False)


def text(content: Any, indent: int | None = None) -> str:
    """JSON as one reads it; in ASCII where a name of a file is no UTF-8, which comes back so."""
    plain = json.dumps(content, indent=indent, ensure_ascii=False, default=str)
    if plain.isascii() or plain.encode(errors="ignore").decode() == plain:
        return plain
    return json.dumps(content, indent=indent, default=str)


def write(path: Path, content: str, durable: bool = True) -> None:
    """Write a text file whole or not at all. Raises Failure where the disk refuses it.

    durable: it also survives a loss of power, at once; else that may leave it empty.
    """
    later = _later.get()
    with replacing(path) as part, part.open("w", encoding="utf-8") as file:
        file.write(content)
        if durable and later is None:
            file.flush()
            os.fsync(file.fileno())
    if durable and later is not None:
        later.append(path)


@contextmanager
def durable_together() -> Iterator[None]:
    """What is written inside survives a loss of power from its end on, not from file to file.

    Raises Failure where the disk refuses it.
    """
    before, written = _later.get(), list[Path]()
    _later.set(written)
    try:
        yield
    finally:
        _later.set(before)
        if written:
            with ThreadPoolExecutor(WRITERS, thread_name_prefix="durable") as threads:
                list(threads.map(_settle, dict.fromkeys(written)))


def _settle(path: Path) -> None:
    with guard(path), suppress(FileNotFoundError):
        sync(path)


def sync(path: Path) -> None:
    """Wait until a file is safely on the disk. Raises OSError where the disk refuses it."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def write_arrays(path: Path, **arrays: Any) -> None:
    """Write arrays of numpy as an .npz, whole or not at all. Raises Failure as `write`."""
    import numpy

    save: Any = numpy.savez_compressed  # its stubs differ from release to release
    with replacing(path) as part, part.open("wb") as file:
        save(file, **arrays)


def read_arrays(path: Path) -> dict[str, Any]:
    """The arrays of an .npz; empty where it is missing or damaged."""
    import numpy

    with suppress(Exception), path.open("rb") as file:  # whatever damage makes the readers raise
        arrays = numpy.load(file)
        return {name: arrays[name] for name in arrays.files}
    return {}


def the_arrays(path: Path) -> dict[str, Any]:
    """The same, of a file that has to be there. Raises Mistake where it is missing or damaged."""
    if found := read_arrays(path):
        return found
    state = "damaged" if path.exists() else "missing"
    raise Mistake(f"{shell.near(path)} is {state}; begin anew, without resume=")


def overwrite(path: Path, content: str) -> bool:
    """Write over the start of a small file that exists, which a full disk allows; whether it did.

    Filled up with blanks to its old length, for JSON no difference.
    """
    try:
        with path.open("r+b") as file:
            file.write(content.encode().ljust(path.stat().st_size))
            file.truncate()
    except OSError:
        return False
    return True


def hold(path: Path, timeout: float = 0) -> BaseFileLock | None:
    """A lock that this process holds until it is released; None while another holds it.

    timeout: seconds to wait for it. Raises Failure where the disk refuses its file.
    """
    lock = FileLock(path, timeout=timeout, thread_local=False)
    with guard(path.parent):
        try:
            lock.acquire()
        except Timeout:
            return None
    return lock


@contextmanager
def held(path: Path, timeout: float = 0) -> Iterator[bool]:
    """Inside, this process alone holds a lock; gives False where another holds it."""
    lock = hold(path, timeout)
    try:
        yield lock is not None
    finally:
        if lock is not None:
            lock.release()


def is_held(path: Path) -> bool:
    """Whether a process holds a lock; `path` need not be writable."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside `path` to write; it takes the place of `path` when all went well."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with guard(path):
        try:
            yield part
            part.replace(path)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise


def is_full(error: BaseException) -> bool:
    """Whether an error says that the disk, or what one may have of it, is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def in_the_way(path: Path) -> tuple[Path, str] | None:
    """What is no directory, of a path to one and those above it, and what it is instead."""
    for each in (path, *path.parents):
        if os.path.isdir(each):  # raises nothing, in contrast to the methods of Path
            break
        if os.path.islink(each) and not os.path.exists(each):
            return each, f"is a link to {shell.name(os.readlink(each))}, which is not there"
        if os.path.exists(each):
            return each, "is a file" if os.path.isfile(each) else "is no directory"
    return None


def unwritable(directory: Path) -> str:
    """Why no file can be made in a directory; empty where one can."""
    try:
        tempfile.TemporaryFile(dir=directory).close()
    except OSError as error:
        return _why(error)
    return ""


def _why(error: OSError) -> str:
    """What the file system says, or what stands in the way of a directory, where that is known."""
    if is_full(error):
        return FULL
    missed = error.errno in (errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.ELOOP)
    if missed and isinstance(error.filename, str) and (met := in_the_way(Path(error.filename))):
        return f"{shell.near(met[0])} {met[1]}"
    return error.strerror or str(error)


@contextmanager
def guard(path: Path, kind: type[DlrunError] = Failure, typed: str = "") -> Iterator[None]:
    """Turn an error of the file system into one short message that names the path.

    typed: the word that names the directory.
    """
    try:
        yield
    except OSError as error:
        said = f"{typed}: cannot be written" if typed else f"cannot write {path}"
        right = "; name another directory" if typed else ""
        raise kind(f"{said}: {_why(error)}{right}") from error
    except Failure as failure:
        raise kind(str(failure)) from failure

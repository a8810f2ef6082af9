import errno
import logging
import random
import subprocess
import sys
import weakref
from pathlib import Path

import numpy
import pytest
import torch

from dlrun.engine import checkpoint
from dlrun.errors import Failure, Mistake
from tests.states import save


def test_what_is_saved_is_loaded(tmp_path):
    state = {"step": 3, "weights": torch.randn(4, 5), "nested": {"sizes": [1, 2], "none": None}}
    save(state, tmp_path)
    loaded = checkpoint.load(tmp_path)
    assert loaded is not None
    assert torch.equal(loaded.pop("weights"), state.pop("weights"))
    assert loaded == state


def test_nothing_saved_is_nothing_loaded(tmp_path):
    assert checkpoint.load(tmp_path / "checkpoints") is None


def test_the_one_before_is_kept(tmp_path):
    for step in range(3):
        save({"step": step}, tmp_path)
    assert checkpoint.read(tmp_path / "last.pt") == {"step": 2}
    assert checkpoint.read(tmp_path / "previous.pt") == {"step": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.pt", "previous.pt"]


def test_no_hard_links_are_needed(tmp_path, monkeypatch):
    def refuse(*paths: object, **more: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    for step in range(3):
        save({"step": step}, tmp_path)
    assert checkpoint.load(tmp_path) == {"step": 2}
    assert checkpoint.read(tmp_path / "previous.pt") == {"step": 1}


def test_at_every_moment_a_whole_one_is_there(tmp_path, monkeypatch):
    """As a kill would find it before and after whatever changes a name."""
    found: list[object] = []

    def watched(name: str) -> None:
        change = getattr(Path, name)

        def watch(path: Path, *more: object, **options: object) -> object:
            found.append(checkpoint.load(tmp_path))
            result = change(path, *more, **options)
            found.append(checkpoint.load(tmp_path))
            return result

        monkeypatch.setattr(Path, name, watch)

    save({"step": 0}, tmp_path)
    for name in ("replace", "rename", "unlink"):
        watched(name)
    for step in (1, 2):
        found.clear()
        save({"step": step}, tmp_path)
        assert found == [{"step": step - 1}] * 3 + [{"step": step}]


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "text"])
def test_a_damaged_one_falls_back_with_a_warning(tmp_path, damage, caplog):
    for step in range(2):
        save({"step": step, "weights": torch.zeros(1000)}, tmp_path)
    last = tmp_path / "last.pt"
    content = bytearray(last.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "flip":
        content[len(content) // 2] ^= 1  # one bit of the weights: torch.load would not notice
    else:
        content = bytearray() if damage == "empty" else bytearray(b"no checkpoint")
    last.write_bytes(content)
    with caplog.at_level(logging.WARNING, "dlrun"):
        loaded = checkpoint.load(tmp_path)
    assert loaded is not None
    assert loaded["step"] == 0
    assert "last.pt is damaged" in caplog.text


def test_what_nothing_stands_in_for_is_refused_where_it_is_damaged(tmp_path):
    file = tmp_path / "best.pt"
    torch.save({"weight": torch.ones(100)}, file)
    content = file.read_bytes()
    file.write_bytes(content.replace(torch.ones(100).numpy().tobytes(), bytes(400)))
    with pytest.raises(Mistake, match=r"best\.pt is damaged: checksum of .* does not match"):
        checkpoint.weights(file)


def test_both_damaged_is_a_fresh_start(tmp_path, caplog):
    for step in range(2):
        save({"step": step}, tmp_path)
    for name in ("last.pt", "previous.pt"):
        (tmp_path / name).write_bytes(b"")
    assert checkpoint.load(tmp_path) is None
    assert "going on from the beginning" in caplog.text


def test_of_a_run_that_is_only_read_nothing_goes_on(tmp_path, caplog):
    assert checkpoint.of_trained(tmp_path) is None
    for step in range(2):
        save({"step": step}, tmp_path)
    assert checkpoint.of_trained(tmp_path) == {"step": 1}
    assert caplog.messages == []
    (tmp_path / "last.pt").write_bytes(b"cut")
    assert checkpoint.of_trained(tmp_path) == {"step": 0}
    [said] = caplog.messages
    assert said.endswith("(File is not a zip file); taking the checkpoint before it")
    (tmp_path / "previous.pt").unlink()
    with pytest.raises(Mistake, match=r"last\.pt is damaged \(File is not a zip file\)$"):
        checkpoint.of_trained(tmp_path)


def test_code_in_a_checkpoint_is_not_run(tmp_path, caplog):
    class Harm:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (Path(tmp_path / "harm"),))  # type: ignore[return-value]

    torch.save({"harm": Harm()}, tmp_path / "last.pt")
    assert checkpoint.load(tmp_path) is None
    assert not (tmp_path / "harm").exists()


def test_a_full_disk_is_said_and_what_was_there_stays(tmp_path, monkeypatch):
    save({"step": 1}, tmp_path)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(Failure, match=r"last\.pt: the disk is full"):
        save({"step": 2}, tmp_path)
    assert checkpoint.load(tmp_path) == {"step": 1}
    assert {path.name for path in tmp_path.iterdir()} <= {"last.pt", "previous.pt"}


def test_what_torch_makes_of_a_full_disk_is_said_too(tmp_path, monkeypatch):
    def failing(state: object, file: object) -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        finally:
            raise RuntimeError("[enforce fail at inline_container.cc:671] unexpected pos")

    monkeypatch.setattr(torch, "save", failing)
    with pytest.raises(Failure, match=r"last\.pt: the disk is full$"):
        save({"step": 1}, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such limits")
def test_a_file_that_may_not_grow_is_said(tmp_path):
    code = (
        "import pathlib, resource, signal, sys, torch\n"
        "from dlrun.engine import checkpoint\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "state = {'weights': torch.zeros(50_000)}\n"
        "with checkpoint.saving(state, pathlib.Path(sys.argv[1])):\n"
        "    pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True
    )
    assert done.stderr.splitlines()[-1].endswith("last.pt: File too large")
    assert not list(tmp_path.iterdir())


def test_what_waits_for_the_disk_keeps_no_copy(tmp_path, monkeypatch):
    written, real = [], torch.save

    def noted(state, file):
        written.append(weakref.ref(state["weights"]))
        real(state, file)

    monkeypatch.setattr(torch, "save", noted)
    every = torch.zeros(10, 5)
    with checkpoint.saving({"weights": every[3]}, tmp_path):
        assert written[0]() is None
        assert checkpoint.load(tmp_path) is None
    assert torch.equal(checkpoint.load(tmp_path)["weights"], every[3])


def test_the_folder_of_a_deleted_run_does_not_come_back(tmp_path):
    with pytest.raises(Failure, match="No such file or directory"):
        save({"step": 1}, tmp_path / "gone" / "checkpoints")
    assert not (tmp_path / "gone").exists()


def test_the_warning_is_one_short_line(tmp_path, caplog):
    torch.save({"path": Path()}, tmp_path / "last.pt")
    with caplog.at_level(logging.WARNING, "dlrun"):
        assert checkpoint.load(tmp_path) is None
    why = "last.pt is damaged (it holds more than tensors and plain values)"
    assert caplog.messages == [f"{tmp_path}: {why}; going on from the beginning"]


def test_one_that_does_not_fit_is_passed_over_in_one_warning(tmp_path, caplog):
    for step in range(2):
        save({"step": step}, tmp_path)
    with caplog.at_level(logging.WARNING, "dlrun"):
        found = checkpoint.load(tmp_path, lambda state: "too new" if state["step"] else "")
        assert found == {"step": 0}
        assert checkpoint.load(tmp_path, lambda state: "all wrong") is None
    before, beginning = caplog.messages
    assert before == f"{tmp_path}: too new; going on from the checkpoint before it"
    assert beginning == f"{tmp_path}: all wrong; going on from the beginning"


def test_one_that_may_not_be_read_is_a_mistake(tmp_path, monkeypatch):
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    save({"step": 1}, tmp_path)
    monkeypatch.setattr(checkpoint, "read", refuse)
    with pytest.raises(Mistake, match=r"last\.pt: may not be read"):
        checkpoint.load(tmp_path)


def test_random_numbers_go_on_where_they_were():
    generator = torch.Generator().manual_seed(7)

    def draw() -> list[float]:
        return [
            random.random(),
            float(numpy.random.rand()),
            float(numpy.random.randn()),
            float(torch.rand(())),
            float(torch.rand((), generator=generator)),
        ]

    draw()
    state = checkpoint.random_state(generator)
    expected = draw() + draw()
    checkpoint.restore_random_state(state, generator)
    assert draw() + draw() == expected

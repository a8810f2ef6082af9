import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from dlrun.data import cache
from dlrun.errors import Mistake
from tests.states import flip

X = np.random.default_rng(0).integers(0, 256, (50, 3, 4, 4), dtype=np.uint8)
Y = np.arange(50) % 2


def builder(calls, x=X):
    def build(writer):
        calls.append(1)
        writer.add(x[:20])
        writer.add(x[20:])
        rows = {"train": np.arange(40), "test": np.arange(40, 50)}
        return cache.Labels(Y, ("a", "b"), rows, (("z.jpg", "cut"),))

    return build


def entry(own_cache):
    return own_cache / "made-k"


def test_what_was_built_is_opened_again(own_cache):
    calls = []
    first, bad = cache.load("made", "k", builder(calls))
    second, bad_again = cache.load("made", "k", builder(calls))
    assert len(calls) == 1
    for source in (first, second):
        np.testing.assert_array_equal(source.x.numpy(), X)
        np.testing.assert_array_equal(source.y.numpy(), Y)
        assert source.y.dtype == torch.int64
        assert source.classes == ("a", "b")
        assert source.given["test"].tolist() == list(range(40, 50))
    assert first.digest == second.digest
    assert bad == bad_again == (("z.jpg", "cut"),)
    assert torch.equal(first.hashes, second.hashes)
    assert sorted(os.listdir(own_cache)) == ["made-k", "made-k.lock"]


def test_another_key_is_another_entry():
    calls = []
    cache.load("made", "k", builder(calls))
    other, _ = cache.load("made", "l", builder(calls, 255 - X))
    assert len(calls) == 2
    np.testing.assert_array_equal(other.x.numpy(), 255 - X)


def test_floats_keep_their_type():
    x = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32)
    source, _ = cache.load("made", "k", builder([], x))
    assert source.x.dtype == torch.float32
    np.testing.assert_array_equal(source.x.numpy(), x)


def test_writing_to_the_tensor_changes_no_file():
    source, _ = cache.load("made", "k", builder([]))
    source.x.zero_()
    again, _ = cache.load("made", "k", builder([]))
    np.testing.assert_array_equal(again.x.numpy(), X)


def cut(path):
    os.truncate(path, path.stat().st_size - 10)


@pytest.mark.parametrize("name", ["x.bin", "rest.npz"])
@pytest.mark.parametrize("damage", [cut, flip, os.remove, lambda path: path.write_bytes(b"")])
def test_a_damaged_entry_is_built_again_with_a_warning(own_cache, caplog, name, damage):
    calls = []
    cache.load("made", "k", builder(calls))
    damage(entry(own_cache) / name)
    source, _ = cache.load("made", "k", builder(calls))
    assert len(calls) == 2
    np.testing.assert_array_equal(source.x.numpy(), X)
    assert "is damaged" in caplog.text
    caplog.clear()
    cache.load("made", "k", builder(calls))
    assert len(calls) == 2
    assert not caplog.records


def test_a_tensor_in_use_survives_the_rebuilding_of_its_entry(own_cache):
    source, _ = cache.load("made", "k", builder([]))
    (entry(own_cache) / "rest.npz").unlink()
    cache.load("made", "k", builder([]))
    np.testing.assert_array_equal(source.x.numpy(), X)


def test_a_build_that_fails_leaves_nothing(own_cache):
    def fail(writer):
        writer.add(X)
        raise Mistake("no")

    with pytest.raises(Mistake, match="no"):
        cache.load("made", "k", fail)
    assert os.listdir(own_cache) == ["made-k.lock"]
    source, _ = cache.load("made", "k", builder([]))
    assert len(source.x) == 50


def test_the_folder_is_the_key_then_the_environment_then_the_system(monkeypatch, own_cache):
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert str(cache.home("/given")) == "/given"
    assert cache.home() == own_cache
    monkeypatch.delenv("DLRUN_CACHE")
    assert str(cache.home()) == "/xdg/dlrun"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert str(cache.home()) == "/home/me/.cache/dlrun"


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Mistake, match=r"data\.cache=.*file/sub cannot be written"):
        cache.load("made", "k", builder([]), str(tmp_path / "file" / "sub"))


def test_a_full_disk_is_said():
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(Mistake, match="No space"):
        cache.Writer(full).add(X)


PROGRAM = """
import os, signal, sys, time
import numpy as np
from dlrun.data import cache

marks, start, mode = sys.argv[1:]

def build(writer):
    with open(marks, "a") as file:
        file.write("built\\n")
    writer.add(np.ones((30, 2), np.float32))
    if mode == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.5)
    return cache.Labels(np.arange(30) % 3, ("a", "b", "c"))

print("ready", flush=True)
while not os.path.exists(start):
    time.sleep(0.01)
source, _ = cache.load("made", "k", build)
print(source.digest, float(source.x.sum()))
"""


def start_program(tmp_path, mode):
    command = [sys.executable, "-c", PROGRAM, tmp_path / "marks", tmp_path / "start", mode]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_of_processes_that_meet_one_builds_and_the_others_wait(tmp_path):
    programs = [start_program(tmp_path, "build") for _ in range(2)]
    for program in programs:
        assert program.stdout.readline() == "ready\n"
    (tmp_path / "start").touch()
    said = {program.communicate(timeout=60)[0] for program in programs}
    assert [program.returncode for program in programs] == [0, 0]
    assert len(said) == 1
    assert said.pop().endswith(" 60.0\n")
    assert (tmp_path / "marks").read_text() == "built\n"


@pytest.mark.parametrize("following", ["made", "other"])
def test_what_a_killed_build_left_is_cleaned_up(tmp_path, own_cache, following):
    (tmp_path / "start").touch()
    program = start_program(tmp_path, "die")
    program.communicate(timeout=60)
    assert program.returncode == -signal.SIGKILL
    assert (own_cache / "made-k.partial").exists()
    source, _ = cache.load(following, "k", builder([]))
    assert len(source.x) == 50
    assert not list(own_cache.glob("*.partial"))


def test_opening_does_not_read_the_whole_file(own_cache):
    def build(writer):
        for _ in range(30):
            writer.add(np.random.default_rng(0).integers(0, 256, (1000, 1024), dtype=np.uint8))
        return cache.Labels(np.arange(30_000) % 2, ("a", "b"))

    cache.load("made", "k", build)
    start = time.process_time()
    cache.load("made", "k", build)
    opened = time.process_time() - start
    start = time.process_time()
    (entry(own_cache) / "x.bin").read_bytes()
    cache.hash_samples(np.fromfile(entry(own_cache) / "x.bin", np.uint8).reshape(30_000, 1024))
    assert opened < (time.process_time() - start)

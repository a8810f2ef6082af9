"""Names that are too long, no text, or of places where nothing can be: one line, with the key."""

import os

import pytest

from dlrun import record
from dlrun.__main__ import main
from tests.conftest import sparsely

LONG, DEEP = "a" * 300, "b/" * 3000 + "x"
QUICK = ("epochs=2 steps", "threads=1", "tracking=none")

# the words, how the message begins
ODD = [
    (["outputs=file"], "outputs=file: cannot be written: file is a file; name another"),
    (["outputs=file/x"], "outputs=file/x: cannot be written: file is a file; name another"),
    (["outputs=gone"], "outputs=gone: cannot be written: gone is a link to nowhere, which is not"),
    (["outputs=gone/x"], "outputs=gone/x: cannot be written: gone is a link to nowhere"),
    (["outputs=odd"], "outputs=odd: cannot be written: odd/runs is a link to nowhere"),
    (["-m", "seed=0,1", "outputs=gone"], "outputs=gone: cannot be written: gone is a link"),
    (["-m", "seed=0,1", "outputs=odd"], "outputs=odd: cannot be written: odd/runs is a link"),
    (["outputs=/proc"], "outputs=/proc: cannot be written: "),
    (["outputs=/dev/null"], "outputs=/dev/null: cannot be written: "),
    (["-m", "seed=0,1", "outputs=file"], "outputs=file: cannot be written: "),
    (["-m", "seed=0,1", "outputs=/proc"], "outputs=/proc: cannot be written: "),
    ([f"outputs={LONG}"], "outputs=aaa"),
    ([f"outputs={DEEP}"], "outputs=b/b"),
    (["-m", "seed=0,1", f"outputs={LONG}"], "outputs=aaa"),
    ([f"resume={LONG}"], "resume=aaa"),
    (["resume=last", f"outputs={LONG}"], "resume=last: outputs=aaa"),
    (["resume=last", "outputs=file"], "resume=last: "),
    (["outputs='a\0b'"], "outputs=a\\x00b: "),
    (["data=imagefolder", f"data.root={LONG}"], "data.root=aaa"),
    (["data=mnist", f"data.root={LONG}"], "data.root=aaa"),
    (["data=arrays", f"data.path={LONG}.csv"], "data.path=aaa"),
    (["data=arrays", f"data.path={LONG}.npz"], "data.path=aaa"),
    ([f"data.cache={LONG}"], "data.cache=aaa"),
    (["data.cache=file"], "data.cache=file cannot be written"),
    (["data.cache=/proc"], "data.cache=/proc cannot be written"),
    (["--config-dir", LONG], "--config-dir=aaa"),
    ([f"{LONG}=1"], "aaa"),
    ([f"--help={LONG}"], "--help="),
    (["--help", LONG], "--help aaa"),
]
BARE = [
    (["sync", LONG], "run=aaa"),
    (["sync", f"outputs={LONG}"], "outputs=aaa"),
    (["sync", "outputs=file"], "outputs=file: is a file"),
    (["list", "outputs=gone"], "outputs=gone: is a link to nowhere, which is not there"),
    (["list", "outputs=odd"], "outputs=odd: odd/runs is a link to nowhere, which is not there"),
    (["list", "outputs=file/x"], "outputs=file/x: file is a file"),
    (["outputs=gone"], "outputs=gone: cannot be written: gone is a link to nowhere"),
    ([f"tracking.uri=sqlite:///{LONG}.db"], "tracking.uri=aaa"),
    ([f"tracking.uri=sqlite:///{LONG}/x.db"], "tracking.uri=aaa"),
]


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("DLRUN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "here" / "file").write_text("")
    (tmp_path / "here" / "odd").mkdir()
    for link in ("gone", "odd/runs"):
        (tmp_path / "here" / link).symlink_to("nowhere")
    return tmp_path / "here"


@pytest.mark.parametrize(
    ("words", "said"), sparsely(ODD + BARE, 4), ids=lambda value: str(value)[:40]
)
def test_a_name_that_cannot_be_is_one_line(words, said, here, capsys):
    tracked = (words, said) in BARE or words[0].startswith("--")
    assert main([*words, *([] if tracked else ["tracking=none"])]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"error: {said}")
    assert shown.count("\n") == 1
    assert len(shown) < 800


@pytest.mark.proof
def test_directories_whose_names_are_no_text(here, capsys, monkeypatch):
    from PIL import Image

    place = here / os.fsdecode(b"caf\xe9")
    for name in (b"one", b"\xfftwo"):
        folder = place / "photos" / os.fsdecode(name)
        folder.mkdir(parents=True)
        for number in range(12):
            color = (20 * number, 200 * (name == b"one"), 0)
            Image.new("RGB", (8, 8), color).save(folder / f"{number}.png")
    own = place / os.fsdecode(b"rec\xe9") / "schedule"
    own.mkdir(parents=True)
    text = "# Mine\n_target_: dlrun.schedule.constant\n_partial_: true\n"
    (own / "mine.yaml").write_text(text)
    monkeypatch.chdir(place)
    photos = ["data=imagefolder", "data.root=photos", "model=linear"]
    assert main([*QUICK, *photos, "--config-dir", os.fsdecode(b"rec\xe9"), "schedule=mine"]) == 0
    assert main(["resume=last", "epochs=4 steps"]) == 0
    [run] = record.all_runs("outputs")
    info = record.read_json(run / "run.json")
    assert info["cwd"] == str(place)
    assert sorted(info["data"]["classes"]) == sorted(["one", os.fsdecode(b"\xfftwo")])
    assert main(["-m", *QUICK, "seed=0,1"]) == 0
    monkeypatch.chdir(here)
    assert main([f"resume={run}", "epochs=5 steps"]) == 2
    assert "not UTF-8 text" in capsys.readouterr().err

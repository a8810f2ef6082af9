"""Tables as they are typed: what is said of them runs as printed, and resuming reads them alike."""

import json
import re
import shlex

import numpy as np
import pytest

from dlrun import record
from dlrun.__main__ import main

ROWS = 100


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DLRUN_CACHE", str(tmp_path / "cache"))
    return tmp_path


def write(path, separator=",", **named):
    lines = [separator.join(named), *map(separator.join, zip(*named.values(), strict=True))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def fractions(seed, mark="."):
    values = np.random.default_rng(seed).normal(size=ROWS)
    return [f"{value:.4f}".replace(".", mark) for value in values]


def run(capsys, *words):
    """What the record of the run says of its data, and what the command says on stderr."""
    tiny = ("data=arrays", "tracking=none", "threads=1", "epochs=2 steps", "model.hidden=[4]")
    code = main([*tiny, *words])
    said = capsys.readouterr().err
    assert code == 0, said
    return data("last"), said.splitlines()


def data(run):
    return json.loads((record.find("outputs", run) / "run.json").read_text())["data"]


def test_labels_that_look_like_numbers(place, capsys):
    write(place / "t.csv", a=fractions(0), kind=["001", "1", "010", "10"] * 25)
    found, said = run(capsys, "data.path=t.csv", "data.target=kind")
    assert found["classes"] == ["001", "010", "1", "10"]
    assert len([line for line in said if "kind" in line]) == 1


def test_what_is_left_out_is_taken_in_as_it_is_proposed(place, capsys):
    """Also under names that a shell and Hydra read otherwise."""
    values = [str(i * i + 7) for i in range(ROWS)]
    names = ["größe, 'in' m", 'say "id"', "[key]={x}", "row $HOME \\", "null id", "user id"]
    header = ["", *names[1:], names[0], "kind"]
    rows = zip(map(str, range(ROWS)), *[values] * 5, fractions(0), ["a", "b"] * 50, strict=True)
    quoted = ['"' + name.replace('"', '""') + '"' for name in header]
    (place / "t.csv").write_text("\n".join(map(",".join, [quoted, *rows])) + "\n")
    found, said = run(capsys, "data.path=t.csv", "data.target=kind")
    assert found["shape"] == [1]
    lines = [line for line in said if "is left out: " in line]
    assert len(lines) == 6
    for line in lines:
        [word] = shlex.split(re.search(r"(\S*data\.features=.*) takes it in$", line)[1])
        found, said = run(capsys, "data.path=t.csv", "data.target=kind", word)
        assert found["shape"] == [2]
        assert not any("left out" in line for line in said)


def test_noise_beside_a_count_of_the_rows_is_no_better_than_chance(place, capsys):
    rows = [f"{i},{noise},{i // 50}" for i, noise in enumerate(fractions(0))]
    (place / "t.csv").write_text("\n".join([",noise,kind", *rows]) + "\n")
    found, said = run(capsys, "data.path=t.csv", "data.target=kind")
    assert found["shape"] == [1]
    assert any(
        "the column without a name, here column_1, is left out: it counts" in x for x in said
    )


def test_resuming_reads_the_table_alike(place, capsys):
    write(
        place / "t.csv",
        ";",
        a=fractions(0, ","),
        flag=["True", "FALSE"] * 50,
        kind=["NA", "None", "?", ""] * 25,
    )
    words = ["data.path=t.csv", "data.target=kind", "data.missing=['-',-999]", "data.decimal=comma"]
    found, _ = run(capsys, *words)
    assert found["shape"] == [2]
    assert found["classes"] == ["", "?", "NA", "None"]
    assert main(["resume=last", "epochs=4 steps"]) == 0
    assert "not those that the run began with" not in capsys.readouterr().err
    assert data("last") == found
    run(capsys, *words[:2], "data.missing=[]")  # another key of the cache
    assert data("last")["digest"] == found["digest"]
    assert len(list((place / "cache").glob("arrays-*"))) == 4  # two entries, and their locks


def test_what_is_proposed_of_missing_values_runs_as_printed(place, capsys):
    write(place / "t.csv", a=fractions(0), kind=["NA", "x", "y", "z"] * 25)
    words = ["data.path=t.csv", "data.target=kind"]
    found, said = run(capsys, *words)
    assert found["classes"] == ["x", "y", "z"]
    assert "25 of 100 rows are left out: they lack a value of kind" in "\n".join(said)
    [word] = shlex.split(re.search(r"where 'NA' is a value, (\S+)", "\n".join(said))[1])
    assert run(capsys, *words, word)[0]["classes"] == ["NA", "x", "y", "z"]
    write(place / "t.csv", a=fractions(0), kind=["NA", "x", "y", ""] * 25)
    found, said = run(capsys, *words)
    [word] = shlex.split(re.search(r"where 'NA' is a value, (\S+)", "\n".join(said))[1])
    found, said = run(capsys, *words, word)
    assert found["classes"] == ["NA", "x", "y"]
    assert any("25 of 100 rows are left out" in line for line in said)
    found, said = run(capsys, *words, "data.missing=[]")
    assert found["classes"] == ["", "NA", "x", "y"]
    [word] = shlex.split(re.search(r"(\S+) takes them for missing", "\n".join(said))[1])
    assert run(capsys, *words, word)[0]["classes"] == ["NA", "x", "y"]


def test_decimal_commas_are_said_and_read(place, capsys):
    write(place / "t.csv", ";", a=fractions(0, ","), preis=fractions(1, ","))
    words = ["data.path=t.csv", "data.target=preis", "loss=mse"]
    found, said = run(capsys, *words)
    np.testing.assert_allclose(found["scale"]["mean"], 0, atol=0.3)
    assert len([line for line in said if "with a decimal comma; data.decimal=point" in line]) == 1
    again, said = run(capsys, *words, "data.decimal=comma")
    assert again["digest"] == found["digest"]
    assert not any("decimal" in line for line in said)

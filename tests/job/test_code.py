"""Which of a recipe's code is the user's own."""

import pytest
from omegaconf import OmegaConf

from dlrun.job import code


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "sourcesnet").mkdir()
    (tmp_path / "sourcesnet" / "__init__.py").write_text("")
    file = tmp_path / "sourcesnet" / "net.py"
    file.write_text("class Net: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    return file


def digests(*targets: str) -> dict[str, str]:
    options = [{"_target_": target} for target in targets]
    return code.digests(OmegaConf.create({"model": {"parts": options}, "lr": "${facts.lr}"}))


def test_a_file_is_known_by_its_content(mine):
    before = digests("sourcesnet.net.Net", "sourcesnet.net.Net.make")
    assert list(before) == ["sourcesnet.net"]
    mine.touch()
    assert digests("sourcesnet.net.Net") == before
    mine.write_text("class Net: x = 1\n")
    assert digests("sourcesnet.net.Net").keys() == before.keys()
    assert digests("sourcesnet.net.Net") != before


def test_what_is_installed_or_not_there_is_left_out(mine):
    assert digests("dlrun.loss.bce", "torch.optim.SGD", "json.loads", "yaml.load", "len") == {}
    assert digests("sourcesnet.gone.Net", "nowhere.Net", "", "a..b") == {
        "sourcesnet": digests("sourcesnet.gone")["sourcesnet"]
    }

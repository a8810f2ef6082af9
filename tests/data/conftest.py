import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("home") / "cache"
    monkeypatch.setenv("DLRUN_CACHE", str(folder))
    return folder

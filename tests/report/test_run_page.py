"""The page of a run: what stands on it, and how a browser shows it."""

import shlex
import shutil

import pytest

from dlrun import record
from dlrun.finding import NOTE, Finding
from dlrun.report import curves, run_page

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
FLAGS = """
--headless --no-sandbox --disable-gpu --no-first-run --disable-sync --disable-dev-shm-usage
--disable-background-networking --disable-component-update
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of a run with curves, a wide figure, and a name that is no HTML."""
    about = {
        "monitor": "val/accuracy",
        "command": shlex.join(["dlrun", "model=cnn", "name='a b'"]),
        "choices": {"model": "cnn", "optimizer": "adam"},
        "data": {"name": "digits", "samples": {"train": 1000, "val": 300, "test": 1}},
        "parameters": 4810,
        "trained": 650,
        "device": "cpu",
    }
    kept = record.create(tmp_path_factory.mktemp("page"), "a<b>c", about, "epochs: 3\nseed: 0\n")
    for step in (1, 2, 3):
        kept.append(step, step, {"val/accuracy": step / 4, "val/loss": 1 / step, "lr": 0.1})
    kept.append(3, 3, {"best/val_accuracy": 0.75, "best/epoch": 3.0, "test/accuracy": 0.5})
    kept.keep_findings([Finding("plateau", NOTE, "It rests.", {}, "dlrun epochs=1")])
    kept.set_status(record.FINISHED)
    kept.close()
    curves.draw(kept.directory)
    shutil.copy(kept.directory / "figures" / "loss.png", kept.directory / "figures/mistakes.png")
    return run_page.write(kept.directory)


def test_all_of_it_is_in_one_file(page):
    text = page.read_text()
    for said in (
        *(
            "a&lt;b&gt;c",
            "dlrun model=cnn &quot;name=&#x27;a b&#x27;&quot;<",
            "It rests.",
            "dlrun epochs=1",
            "finished",
            "0.75",
        ),
        *("adam", "epochs: 3", "1,000 train, 300 val", "test, epoch 3", "4,810", "650"),
        "What it says of validation samples",
    ):
        assert said in text
    assert "a<b>c" not in text
    assert "http" not in text
    assert text.count("<img") == text.count('src="data:image/png;base64,') == 4


def test_a_procedure_has_none(tmp_path):
    kept = record.create(tmp_path, "folds", {"kind": "procedure"}, "")
    kept.close()
    assert run_page.write(kept.directory) is None
    assert not (kept.directory / "report.html").exists()


def test_a_run_that_has_failed_early_has_one(tmp_path):
    kept = record.create(tmp_path, "failed", {}, "")
    kept.set_status(record.FAILED, "no data")
    kept.close()
    assert "failed" in run_page.write(kept.directory).read_text()


@pytest.mark.slow
@pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs chromium and chromedriver")
def test_a_browser_shows_it_on_every_screen(page, tmp_path, monkeypatch):
    webdriver = pytest.importorskip("selenium.webdriver")
    monkeypatch.setenv("SE_AVOID_STATS", "true")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in [*FLAGS.split(), f"--user-data-dir={tmp_path / 'profile'}"]:
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        driver.get(page.as_uri())
        for width in (1280, 400):
            metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            assert driver.execute_script("return document.documentElement.scrollWidth") <= width
            shown = driver.execute_script(
                "return [...document.images].map(i => [i.naturalWidth, i.clientWidth])"
            )
            assert len(shown) == 4
            assert all(natural == 704 and wide > 300 for natural, wide in shown)
        assert (
            driver.execute_script(
                "return performance.getEntriesByType('resource')"
                ".filter(e => !e.name.startsWith('data:')).length"
            )
            == 0
        )
        assert driver.get_log("browser") == []
        assert driver.title == "a<b>c"
    finally:
        driver.quit()

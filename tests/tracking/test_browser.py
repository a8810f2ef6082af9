"""MLflow's own pages, in a real browser: two runs of ours are two curves in one chart."""

import math
import shutil
import time

import pytest

from dlrun import record

webdriver = pytest.importorskip("selenium.webdriver")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
FLAGS = """
--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync
--disable-background-networking --disable-component-update --disable-dev-shm-usage
--window-size=2200,1300
"""
CHARTS = """
return [...document.querySelectorAll('.js-plotly-plot')].map(plot => {
    let card = plot;
    while (card && !card.innerText.includes('val/')) card = card.parentElement;
    return {
        text: card ? card.innerText : '',
        curves: plot.data.filter(curve => curve.y && curve.mode !== 'none').map(
            curve => [curve.name, Array.from(curve.x), Array.from(curve.y)]),
    };
});
"""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs chromium and chromedriver"),
]


@pytest.fixture
def browser(tmp_path, monkeypatch):
    monkeypatch.setenv("SE_AVOID_STATS", "true")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in [*FLAGS.split(), f"--user-data-dir={tmp_path / 'profile'}"]:
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def test_two_runs_are_two_curves_in_one_chart(browser, server, begin, tmp_path):
    from dlrun import tracking

    expected = {}
    follower = tracking.start(server.uri, experiment="browser", outputs=str(tmp_path))
    for name, rate in (("optimizer=adam", 3), ("optimizer=sgd", 6)):
        run = begin(name=name, choices={"optimizer": name.removeprefix("optimizer=")})
        follower.follow(run.directory)
        steps = [45 * epoch for epoch in range(20)]
        values = [1 - math.exp(-step / 45 / rate) for step in steps]
        for step, value in zip(steps, values, strict=True):
            run.append(step, step / 45, {"val/accuracy": value, "val/loss": 1 - value})
        run.set_status(record.FINISHED)
        run.close()
        expected[name] = steps, values
    follower.close()
    experiment = record.read_json(run.directory / "tracking.json")["experiment_id"]

    browser.get(f"{server.uri}/#/experiments/{experiment}/runs?compareRunsMode=CHART")
    charts = []
    end = time.monotonic() + 60
    while not charts and time.monotonic() < end:
        time.sleep(0.5)
        found = browser.execute_script(CHARTS)
        charts = [each for each in found if "sgd (val/accuracy)" in each["text"] and each["curves"]]
    browser.save_screenshot(str(tmp_path / "charts.png"))

    (chart,) = charts
    for name in expected:
        assert f"{name} (val/accuracy)" in chart["text"]
    assert {name for name, _, _ in chart["curves"]} == set(expected)
    for name, steps, values in chart["curves"]:
        assert steps == expected[name][0]
        assert values == pytest.approx(expected[name][1])

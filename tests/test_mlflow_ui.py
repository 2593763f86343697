"""MLflow's UI in a real browser: two runs are picked, compared, and a metric of each is read on the page."""

import os
import re
import shutil

import pytest
from tracking import empty_store, figures, keep, seed_node, server

from training.tracking import spool, track

pytestmark = pytest.mark.filterwarnings("ignore")  # mlflow's and playwright's own
INSTALL = "apt-get install chromium"


@pytest.fixture(scope="module")
def chromium():
    """The system's browser; without one the tests skip, but in CI they fail."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        message = f"no chromium on the PATH for the test of MLflow's UI: {INSTALL}"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A server with two seeds: its URL, the experiment and the runs' ids by seed."""
    with pytest.MonkeyPatch.context() as patched:
        folder = tmp_path_factory.mktemp("ui")
        patched.chdir(folder)
        with server(empty_store(folder), folder) as url:
            patched.setenv("MLFLOW_TRACKING_URI", url)
            keep(seed_node(0), seed_node(1))
            assert spool.sync() == spool.Synced(1, 0)
            store = track.existing()
            ids = {seed.run.data.tags[track.NAME]: seed.run.info.run_id for seed in track.seeds(store)}
            yield url, store.experiment_id, ids


@pytest.fixture
def page(chromium):
    """A page of the browser; it reaches nothing but this machine."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"])
        context = browser.new_context(viewport={"width": 1600, "height": 1000})
        context.route("**/*", lambda route: route.continue_() if "127.0.0.1" in route.request.url else route.abort())
        context.set_default_timeout(120_000)
        yield context.new_page()
        browser.close()


VALUES_BESIDE = """link => {
    const name = link.parentElement;
    for (let part = name.parentElement; part; part = part.parentElement) {
        const beside = [...part.querySelectorAll('[role=rowgroup] > div')].filter(
            cell => cell.style.top === name.style.top && !cell.querySelector('a'));
        if (beside.length) return beside.map(cell => cell.innerText);
    }
}"""
"""Texts of the cells at the height of a metric's name: names and values are two grids side by side."""


def row(page, name):
    """The table's row of a run."""
    return page.get_by_role("row").filter(has=page.get_by_text(name, exact=True)).first


def test_two_runs_are_compared_in_the_browser_and_a_metric_is_read(page, runs):
    url, experiment, ids = runs
    page.goto(f"{url}/#/experiments/{experiment}/runs?compareRunsMode=TABLE")
    for parent in ("small", "network"):  # open the tree: task, then model
        row(page, parent).locator("[col-id='attributes.`Run Name`'] button").first.click()
    for seed in ids:
        row(page, f"network {seed}").get_by_role("checkbox").first.check()
    page.get_by_role("button", name="Compare", exact=True).click()
    page.wait_for_url("**/compare-runs?**")
    assert all(run_id in page.url for run_id in ids.values())
    page.get_by_text("Comparing 2 Runs").wait_for()
    for name in ("long_ap", "long_auc", "long_ap_gain_map"):
        link = page.locator("a[title='Plot chart']").filter(has_text=re.compile(f"^{name}$"))
        shown = sorted(float(text) for text in link.evaluate(VALUES_BESIDE))
        assert shown == pytest.approx(sorted(figures(seed)[name] for seed in (0, 1)), abs=1e-3)

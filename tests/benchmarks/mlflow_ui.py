"""How MLflow's UI bears many runs: `python -m tests.benchmarks.mlflow_ui [COUNT]`, 100 runs with every key by default.

Prints, for the list of runs, the charts and the compare page of two and of all runs: seconds until the figures show,
requests, and KiB answered.
"""

import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from playwright.sync_api import sync_playwright
from tracking import empty_store, keep, seed_node, server

from training.tracking import spool, track

ONLY_SEEDS = "searchFilter=tags.%60squeeze.level%60%20%3D%20%27seed%27"


def measure(page, url: str, what: str, ready) -> None:
    """Open a page; say how long it took until `ready(page)` showed, and what it asked for."""
    calls, answered = [], []
    asked, got = (
        lambda request: calls.append(request.url) if "api/" in request.url else None,
        lambda response: "api/" in response.url and answered.append(int(response.headers.get("content-length") or 0)),
    )
    page.goto("about:blank")
    page.on("request", asked)
    page.on("response", got)
    begin = time.perf_counter()
    page.goto(url)
    ready(page).wait_for()
    print(
        f"{what}: {time.perf_counter() - begin:.1f} s, {len(calls)} requests, {sum(answered) // 1024} KiB", flush=True
    )
    page.remove_listener("request", asked)
    page.remove_listener("response", got)


def main(count: int) -> None:
    """Track `count` runs and look at them."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        os.chdir(folder)
        store = os.environ["MLFLOW_TRACKING_URI"] = empty_store(folder)
        keep(*(seed_node(seed) for seed in range(count)))
        begin = time.perf_counter()
        spool.sync()
        print(f"sending: {(time.perf_counter() - begin) / count:.2f} s a run")
        begin = time.perf_counter()
        found = track.seeds(track.existing())
        print(f"the queries of squeeze compare: {time.perf_counter() - begin:.2f} s")
        experiment, ids = found[0].run.info.experiment_id, [seed.run.info.run_id for seed in found]
        with server(store, folder) as url, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1600, "height": 1000})
            page.set_default_timeout(120_000)
            listed = f"{url}/#/experiments/{experiment}/runs?{ONLY_SEEDS}"
            measure(page, f"{listed}&compareRunsMode=TABLE", "list", lambda p: p.get_by_text("matching runs"))
            measure(
                page, f"{listed}&compareRunsMode=CHART", "charts", lambda p: p.get_by_text("long_ap", exact=True).first
            )  # fmt: skip
            for some in (ids[:2], ids):
                measure(
                    page, f"{url}/#/compare-runs?runs={json.dumps(some)}&experiments={json.dumps([experiment])}",
                    f"compare {len(some)}",
                    lambda p: p.locator("a[title='Plot chart']").filter(has_text=re.compile("^long_auc$")),
                )  # fmt: skip
            browser.close()
        os.chdir("/")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)

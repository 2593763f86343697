"""What several tests share: where the recordings are, and one small run, simulated and trained once."""

import os
from pathlib import Path

import pytest

# Before anything loads OpenMP: at this size threads mostly wait for each other, on a busy machine for minutes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]
RECORDINGS = ROOT.parent / "shared" / "data"
FIRST = (
    "test_cli", "test_sessions", "test_import_recordings", "test_signals_laws", "test_cores", "test_raw_log",
    "test_upkeep", "test_lake", "test_importer", "test_instruments", "test_spool", "test_mlflow_ui",
)  # fmt: skip
"""In a fresh checkout the first file compiles nearly all kernels, for more than a hundred seconds; these others, which
other processes take meanwhile, need none. Then all find them in the cache.
"""
LONGEST = (
    "test_real_runner", "test_dot", "test_laws", "test_stream", "test_judged", "test_sweeps", "test_training_law",
    "test_rates", "test_run", "test_scorecard", "test_recorded_training_law", "test_replay", "test_journal",
    "test_simulator_oracle", "test_atlas", "test_scorers", "test_examples", "test_simulator_publish", "test_tape",
    "test_weights", "test_warm", "test_model_check", "test_pretrain", "test_proof", "test_simulator_truth",
    "test_pictures", "test_kill", "test_model_channels", "test_export", "test_gate", "test_simulator", "test_tune",
)  # fmt: skip
"""Files that take over ten seconds of a core, the longest first."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files come first: of processes that take a file at a time, none is left alone with a long one at the end."""
    place = {name: at for at, name in enumerate(FIRST + LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@pytest.fixture(scope="session")
def recordings() -> Path:
    if not RECORDINGS.is_dir():
        pytest.skip(f"the recordings are absent: no folder {RECORDINGS}")
    return RECORDINGS


@pytest.fixture(scope="session", autouse=True)
def no_power_cut():
    """Nothing waits for the disk: a test may kill a process, and none cuts the power. Seven milliseconds a file."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="session")
def unseen():
    """Four days of a market that the shipped model has not seen, and what its exchange publishes."""
    from squeeze.simulator import Publication, simulate
    from training.config import load_config
    from training.proof.worlds import simulator_of, worlds_of

    config = load_config(ROOT / "configs" / "simulator-proof.yaml", ("worlds.days=4",))
    return simulate(simulator_of(config, "matter"), 7_777), Publication(book_minutes=worlds_of(config).book_minutes)


@pytest.fixture(scope="session")
def unseen_lake(unseen, tmp_path_factory):
    """The folder of a lake with all of it."""
    from small import kept

    market, what = unseen
    return kept(market, tmp_path_factory.mktemp("unseen"), what).root


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """A simulated market as `small.Market`: recording, lake and config."""
    import torch
    from small import Market, record, write_config

    torch.set_num_threads(1)  # so small a network that a second thread only waits for the first
    folder = tmp_path_factory.mktemp("small")
    mapping, lake = record(folder)
    path = folder / "small.yaml"
    return Market(path, write_config(path), mapping, lake)


@pytest.fixture(scope="module")
def light():
    """Boosted baselines of ten trees, and pictures of the map from a day and no more than it: what whole runs wait for.

    For tests that say nothing of how good a baseline is or of what a picture shows.
    """
    from training.baselines import catalogue as baselines
    from training.tracking import maps

    def few(make):
        return lambda: make().set_params(max_iter=10)

    boosted = {n: b._replace(make=few(b.make)) for n, b in baselines.BASELINES.items() if b.knows_nan}
    with pytest.MonkeyPatch.context() as patched:
        for name, baseline in boosted.items():
            patched.setitem(baselines.BASELINES, name, baseline)
        patched.setattr(maps, "STEPS", 300)
        yield


@pytest.fixture(scope="session")
def finished(small, tmp_path_factory):
    """The small run as `small.Finished`: trained, kept and exported. Nobody may change it."""
    from small import Finished

    from training import pipeline

    out = tmp_path_factory.mktemp("out")
    prepared, trained, run = pipeline.train_task(small.config, small.lake, out)
    folder, model = pipeline.run_folder(out, small.config), out / "small.onnx"
    scores = {"validation_long_ap": 0.5}
    pipeline.export_block(run, folder, -1, model, scores, 200)
    return Finished(prepared, trained, run, out, folder, model, pipeline.card_of(run, folder, -1, scores))

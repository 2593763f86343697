"""The command line: the whole chain, and what a mistake gets to hear."""

import argparse
import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tracking import empty_store

from squeeze import cli
from squeeze.cli import main, parser
from squeeze.signals.message import SIGNAL_TYPES, AbstainMessage, ProbabilityMessage, decode
from training import runs
from training.config import load_config
from training.pipeline import run_folder
from training.tracking import ledger

pytestmark = pytest.mark.filterwarnings("ignore")  # mlflow and what it imports have their own
VERBS = (
    "archives",
    "captures",
    "instruments",
    "lake",
    "record",
    "steps",
    "import",
    "simulate",
    "build",
    "train",
    "weights",
    "evaluate",
    "export",
    "replay",
    "info",
    "demo",
    "real",
    "diff",
    "plot",
)
SET = ["--set", "pretrain.patience=1"]


@pytest.fixture
def squeeze(capsys):
    """Runs a command; its status, its output and its errors as lines."""

    def run(*arguments):
        status = main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return status, out, err.splitlines()

    return run


@pytest.fixture(scope="module")
def chain(small, light, tmp_path_factory):
    """import → build → train → export in one folder, through `main`."""
    folder = tmp_path_factory.mktemp("chain")
    shutil.copy(small.config_path, folder / "small.yaml")
    (folder / "small.yaml").chmod(0o644)
    places = {
        "config": folder / "small.yaml",
        "lake": folder / "lake",
        "out": folder / "out",
        "model": folder / "m.onnx",
    }
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        patched.setenv("MLFLOW_TRACKING_URI", empty_store(folder))
        run = ["--lake", str(places["lake"]), "--out", str(places["out"])]
        config = str(places["config"])
        data = ["--data", str(small.mapping.parent), "--lake", str(places["lake"])]
        assert main(["import", str(small.mapping), *data]) == 0
        assert main(["build", config, *run]) == 0
        assert main(["train", config, *run]) == 0
        assert main(["export", config, str(places["model"]), "--parity-steps", "200", *run]) == 0
    return places | {"folder": folder, "run": run}


def files_under(folder):
    return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_helps_with_an_example(verb, capsys):
    with pytest.raises(SystemExit) as left:
        main([verb, "--help"])
    assert left.value.code == 0
    said = capsys.readouterr().out
    assert f"example:\n  squeeze {verb} " in said or f"example:\n  squeeze {verb}\n" in said


@pytest.mark.parametrize("verb", VERBS)
def test_every_example_is_accepted(verb, capsys):
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    example = capsys.readouterr().out.partition("example:\n")[2].split()
    parser().parse_args([*example[1:], "--json"])


def test_help_lists_all_verbs_without_loading_torch():
    code = (
        "import sys, squeeze.cli\ntry: squeeze.cli.main(['--help'])\nexcept SystemExit: pass\n"
        "assert not {'torch', 'mlflow', 'sklearn', 'pandas'} & set(sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert said.returncode == 0, said.stderr
    assert all(verb in said.stdout for verb in VERBS)


def test_the_installed_command_reports_a_mistake_in_one_line_without_a_traceback(tmp_path):
    command = Path(sys.executable).with_name("squeeze")
    said = subprocess.run([command, "info", tmp_path / "absent.onnx"], capture_output=True, text=True, timeout=60)
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr == f"squeeze info: {tmp_path}/absent.onnx: cannot be read: No such file or directory\n"


def test_building_a_second_time_does_nothing(chain, squeeze):
    before = files_under(chain["out"] / "examples")
    assert before
    status, out, _ = squeeze("build", chain["config"], "--json", *chain["run"])
    (row,) = json.loads(out)
    assert status == 0
    assert row["digest"] in {path.parent.name for path in before}
    assert files_under(chain["out"] / "examples") == before


def test_importing_a_second_time_finds_every_row_the_same(chain, small, squeeze):
    before = files_under(chain["lake"])
    status, out, _ = squeeze("import", small.mapping, "--data", small.mapping.parent, "--lake", chain["lake"], "--json")
    assert status == 0
    assert all(row["new"] == row["kept"] == 0 < row["same"] for row in json.loads(out))
    assert files_under(chain["lake"]) == before


def test_evaluate_scores_validation_and_leaves_the_ledger_alone(chain, squeeze, tmp_path):
    looks = tmp_path / "models" / "looks.jsonl"
    status, out, _ = squeeze("evaluate", chain["config"], "--json", "--ledger", looks, *chain["run"])
    assert status == 0
    report = json.loads(out)
    assert report["scored"] == "validation"
    found = {(each["model"], each["side"], each["horizon_minutes"]) for each in report["entries"]}
    assert found >= {("network", "long", 15), ("hawkes", "short", 60)}
    assert all(isinstance(each["figures"]["brier_skill"], float) for each in report["entries"])
    assert not looks.parent.exists()


def test_evaluate_on_test_is_a_look_and_is_shown_in_a_readme_with_both_markers_alone(chain, squeeze, tmp_path):
    looks, readme = tmp_path / "looks.jsonl", tmp_path / "README.md"
    precious = "<!-- looks: begin -->\nprecious"
    readme.write_text(precious)
    run = runs.load(run_folder(chain["out"], load_config(chain["config"])))
    assert ledger.look(looks, run, "real") == 1
    assert readme.read_text() == precious
    readme.write_text("# Models\n\n<!-- looks: begin -->\nold\n<!-- looks: end -->\nafter\n")
    status, out, _ = squeeze("evaluate", chain["config"], "--test", "--ledger", looks, *chain["run"])
    assert status == 0
    assert "test rows" in out
    lines = [json.loads(line) for line in looks.read_text().splitlines()]
    assert [(line["task"], line["command"]) for line in lines] == [("small", "real"), ("small", "evaluate")]
    assert lines[1]["ap"].keys() == {"long", "short"}
    text = readme.read_text()
    assert text.startswith("# Models\n\n<!-- looks: begin -->\n| # | when | task |")
    assert text.endswith("<!-- looks: end -->\nafter\n")
    assert text.count("| small |") == 2
    assert "old" not in text


def test_info_says_what_the_file_says(chain, squeeze):
    status, out, _ = squeeze("info", chain["model"], "--json")
    card = json.loads(out)
    assert status == 0
    assert card["spec"]["market"]["symbol"] == "SIMUSDT"
    assert card["scores"].keys() >= {"validation_long_ap", "validation_short_ap"}
    status, out, _ = squeeze("info", chain["model"])
    assert "SIMUSDT, a step every 300 s" in out
    assert card["digest"] in out


def test_exporting_again_gives_the_same_bytes(chain, squeeze, tmp_path):
    model = tmp_path / "again.onnx"
    status, out, _ = squeeze("export", chain["config"], model, "--parity-steps", "10", "--json", *chain["run"])
    assert status == 0
    assert float(json.loads(out)[0]["parity_probability"]) <= 1e-6
    assert model.read_bytes() == chain["model"].read_bytes()


def replayed(chain, capsysbinary, *more):
    assert main(["replay", str(chain["model"]), "--lake", str(chain["lake"]), *more]) == 0
    return [decode(line) for line in capsysbinary.readouterr().out.splitlines()]


def test_replay_prints_one_line_per_step_and_does_not_depend_on_where_it_begins(chain, capsysbinary):
    until = ["--until", "2025-01-12T09:00", "--warm-from", "2025-01-11"]
    late = replayed(chain, capsysbinary, "--from", "2025-01-12T02:00", *until)
    early = replayed(chain, capsysbinary, "--from", "2025-01-12T01:00", *until)
    steps = [m for m in late if isinstance(m, ProbabilityMessage | AbstainMessage)]
    assert {b.ts_data_us - a.ts_data_us for a, b in itertools.pairwise(steps)} == {300 * 10**6}
    assert steps[0].ts_data_us % 86_400_000_000 == 2 * 3_600_000_000
    same = {m.ts_data_us: m for m in early if isinstance(m, ProbabilityMessage | AbstainMessage)}
    for message in steps:
        assert type(same[message.ts_data_us]) is type(message)
        assert getattr(same[message.ts_data_us], "probabilities", 0) == getattr(message, "probabilities", 0)
        assert same[message.ts_data_us].mark == message.mark
    assert not isinstance(steps[0], AbstainMessage), "the bar that closes at the start belongs to the first step"


def test_replay_can_leave_probabilities_out(chain, capsysbinary):
    messages = replayed(
        chain, capsysbinary, "--from", "2025-01-11T12:00", "--warm-from", "2025-01-10", "--signals-only"
    )
    assert messages
    assert {m.__struct_config__.tag for m in messages} <= set(SIGNAL_TYPES)


def test_progress_is_not_mixed_into_the_output(chain, squeeze):
    status, out, err = squeeze("build", chain["config"], "--json", "--set", "start=2025-01-11", *chain["run"])
    assert status == 0
    json.loads(out)
    assert err == ["folding SIMUSDT: done"]


def mistakes(small, chain, folder):
    """Commands that cannot work, and what must be said of them."""
    config, model, lake = chain["config"], chain["model"], chain["lake"]
    run = ["--lake", lake, "--out", folder / "out"]
    wrong = folder / "wrong.yaml"
    wrong.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | {"colour": "red"}))
    altered, alien, empty = folder / "altered.onnx", folder / "alien.onnx", folder / "empty"
    altered.write_bytes(model.read_bytes()[:-1] + b"?")
    alien.write_text("a text")
    empty.mkdir(exist_ok=True)
    start = ["--from", "2025-01-12"]
    return {
        "an unknown key": (["build", wrong, *run], "wrong.yaml: Object contains unknown field `colour`"),
        "an unknown override": (["train", config, "--set", "sede=1", *run], "unknown field `sede`"),
        "no such config": (["train", folder / "absent.yaml", *run], "absent.yaml: cannot be read"),
        "a folder as config": (["train", empty, *run], "empty: cannot be read: Is a directory"),
        "an unknown scalar": (["train", config, "--set", "head.scalars=[mood]", *run], "no scalar is called ['mood']"),
        "a missing data folder": (
            ["import", small.mapping, "--data", folder / "no", "--lake", folder / "l"],
            "no such folder",
        ),
        "an empty data folder": (
            ["import", small.mapping, "--data", empty, "--lake", folder / "l"],
            "the folder is empty",
        ),
        "no such mapping": (
            ["import", folder / "no.yaml", "--data", empty, "--lake", folder / "l"],
            "no.yaml: cannot be read",
        ),
        "an empty lake": (["build", config, "--lake", empty, "--out", folder / "out"], "the lake is empty"),
        "a range without bars": (
            ["build", config, "--set", "start=2031-01-01", *run],
            "no bar_1m of SIMUSDT in the range",
        ),
        "evaluate before train": (["evaluate", config, *run], "no finished training here"),
        "export before train": (["export", config, folder / "m.onnx", *run], "no finished training here"),
        "a block that is not there": (
            ["export", config, folder / "m.onnx", "--block", "7", *chain["run"]],
            "blocks 0 to 1",
        ),
        "export into a folder": (["export", config, empty, "--parity-steps", "1", *chain["run"]], "Is a directory"),
        "an altered model": (["info", altered], "was altered"),
        "a model that is not ours": (["replay", alien, *start, "--lake", lake], "is no squeeze model"),
        "a time that is none": (["replay", model, "--from", "yesterday", "--lake", lake], "expected a UTC time"),
        "a time in another zone": (
            ["replay", model, "--from", "2025-01-12T00:00+02:00", "--lake", lake],
            "expected a UTC time",
        ),
        "a lake that is not there": (["replay", model, *start, "--lake", folder / "no"], "the lake is empty"),
        "no days": (["simulate", folder / "sim", "--days", "0"], "days must be positive"),
        "real without a referee": (["real", config, "--data", empty, "--out", folder / "out"], "no referee here"),
    }


MISTAKES = (
    "an unknown key", "an unknown override", "no such config", "a folder as config", "an unknown scalar",
    "a missing data folder", "an empty data folder", "no such mapping", "an empty lake", "a range without bars",
    "evaluate before train", "export before train", "a block that is not there", "export into a folder",
    "an altered model", "a model that is not ours", "a time that is none", "a time in another zone",
    "a lake that is not there", "no days", "real without a referee",
)  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_status_2_and_leaves_nothing_half_written(small, chain, squeeze, tmp_path, mistake):
    known = mistakes(small, chain, tmp_path)
    assert set(known) == set(MISTAKES)
    command, said = known[mistake]
    before = files_under(tmp_path), files_under(chain["folder"])
    status, out, err = squeeze(*command)
    assert (status, out, len(err)) == (2, "", 1), err
    assert err[0].startswith(f"squeeze {command[0]}: ")
    assert said in err[0]
    assert (files_under(tmp_path), files_under(chain["folder"])) == before


def test_a_run_that_cannot_be_read_is_one_line(chain, squeeze, tmp_path):
    shutil.copytree(chain["out"] / "runs", tmp_path / "runs")
    kept = tmp_path / "runs" / "small" / "seed-0" / "run.json"
    for content in (kept.read_bytes()[:100], b"{}", b""):
        kept.write_bytes(content)
        status, _, err = squeeze("evaluate", chain["config"], "--out", tmp_path)
        assert (status, len(err)) == (2, 1), err
        assert "run.json" in err[0]


@pytest.mark.parametrize("arguments", [[], ["fly"], ["info"], ["info", "m.onnx", "--colour"]])
def test_a_command_that_is_none_is_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert "usage: squeeze" in capsys.readouterr().err


def test_a_figure_that_does_not_exist_is_null_in_json(capsys):
    cli.show(argparse.Namespace(json=True), [{"slope": float("nan"), "ap": 0.5, "side": "long"}])
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == [
        {"slope": None, "ap": 0.5, "side": "long"}
    ]

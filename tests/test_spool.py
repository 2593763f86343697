"""Runs reach the tracking store once, whatever state it is in; meanwhile they wait on disk."""

import socket
import threading

import mlflow
import pytest
from tracking import empty_store, free_port, keep, seed_node, server

from squeeze.cli import main
from training.tracking import spool, track

pytestmark = pytest.mark.filterwarnings("ignore")  # mlflow's own


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to work in, with an empty store in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SQUEEZE_SPOOL", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", empty_store(tmp_path))
    return tmp_path


def artefact(folder):
    (folder / "files").mkdir()
    (folder / "files" / "said.txt").write_text("kept")


def names():
    """Names of all tracked seed runs, and how each ended."""
    return sorted((seed.run.data.tags[track.NAME], seed.run.info.status) for seed in track.seeds(track.existing()))


def test_a_record_is_plain_json_and_files_and_leaves_the_spool_once_sent(place):
    folder = keep(seed_node(0, files="files"), fill=artefact)
    (waiting,) = spool.pending()
    assert waiting.parent.resolve() == place / "out" / "spool"
    assert not folder.exists(), "a record takes its name when it is whole"
    assert (waiting / "files" / "said.txt").read_text() == "kept"
    assert spool.read(waiting).root.children[0].children[0].name == "seed 0"
    assert spool.sync() == spool.Synced(1, 0)
    assert spool.pending() == []
    assert list((place / "out" / "spool").iterdir()) == []
    assert names() == [("seed 0", "FINISHED")]


def test_a_record_that_fails_in_the_making_leaves_nothing(place):
    def full(folder):
        artefact(folder)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        keep(seed_node(0), fill=full)
    assert list((place / "out" / "spool").iterdir()) == []


def test_a_server_that_is_not_there_costs_nothing_but_a_note(place, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    spool.submit(seed_node(0))
    said = capsys.readouterr().err
    assert "1 run(s) wait in out/spool" in said
    assert "does not answer" in said
    assert "squeeze sync" in said
    assert len(spool.pending()) == 1


def test_a_server_that_never_answers_is_given_up(place, monkeypatch):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()  # takes connections and says nothing
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr("squeeze.registry.PROBE_SECONDS", 0.1)
        keep(seed_node(0))
        done = spool.sync()
    assert (done.sent, done.kept) == (0, 1)
    assert "does not answer" in done.reason


def test_a_server_that_answers_once_and_hangs_then_is_given_up_too(place, monkeypatch):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def healthy_once():
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK")

        thread = threading.Thread(target=healthy_once)
        thread.start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setattr("squeeze.registry.REQUEST_SECONDS", 1)
        keep(seed_node(0))
        done = spool.sync()
        thread.join()
    assert (done.sent, done.kept) == (0, 1)
    assert "timed out" in done.reason.lower()


@pytest.mark.parametrize("broken", ["log_batch", "log_inputs", "log_artifacts", "set_terminated"])
def test_a_store_that_fails_midway_ends_with_each_run_once(place, monkeypatch, broken):
    keep(seed_node(0, files="files"), seed_node(1, files="files"), fill=artefact)
    calls, real = [], getattr(mlflow.MlflowClient, broken)

    def fails_the_second_time(*args, **more):
        calls.append(broken)
        if len(calls) == 2:
            raise mlflow.exceptions.MlflowException("gone")
        return real(*args, **more)

    monkeypatch.setattr(mlflow.MlflowClient, broken, fails_the_second_time)
    assert spool.sync() == spool.Synced(0, 1, "gone")
    assert len(spool.pending()) == 1
    assert spool.sync() == spool.Synced(1, 0)
    assert names() == [("seed 0", "FINISHED"), ("seed 1", "FINISHED")]
    for seed in track.seeds(track.existing()):
        client, run_id = mlflow.MlflowClient(), seed.run.info.run_id
        assert len(client.get_metric_history(run_id, "long_ap")) == 1
        assert len(seed.run.inputs.dataset_inputs) == 1
        assert [file.path for file in client.list_artifacts(run_id)] == ["said.txt"]


def test_what_was_sent_in_vain_of_its_removal_is_not_sent_again(place, monkeypatch):
    keep(seed_node(0))
    monkeypatch.setattr(spool, "_forget", lambda folder: None)  # as if killed just before
    assert spool.sync().sent == 1
    assert spool.sync().sent == 1
    assert names() == [("seed 0", "FINISHED")]


def test_a_record_that_cannot_be_read_holds_up_no_other(place):
    keep(seed_node(0))
    (waiting,) = spool.pending()
    bad = waiting.with_name("00000000T000000-bad")
    bad.mkdir()
    (bad / spool.RECORD).write_text('{"key": 3}')
    done = spool.sync()
    assert (done.sent, done.kept) == (1, 1)
    assert "record.json" in done.reason
    assert spool.pending() == [bad]


def test_a_server_started_later_gets_every_run_once(place, monkeypatch, capsys):
    store, port = empty_store(place), free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    for seed in (0, 1):
        keep(seed_node(seed, files="files"), fill=artefact)
        spool.tell(spool.sync())
    assert "2 run(s) wait" in capsys.readouterr().err
    with server(store, place, port):
        assert main(["sync", "--json"]) == 0
        assert '"sent": 2, "waiting": 0' in capsys.readouterr().out
        assert main(["sync", "--json"]) == 0
        assert '"sent": 0, "waiting": 0' in capsys.readouterr().out
        assert names() == [("seed 0", "FINISHED"), ("seed 1", "FINISHED")]
        assert main(["compare", "--json"]) == 0
        assert '"seed": "mean of 2"' in capsys.readouterr().out

"""Files and folders that appear whole or not at all: replaced, given up, killed at any moment, cleared away."""

import signal
import subprocess
import sys
import threading
import time

import pytest

from squeeze import files
from squeeze.files import alone, whole, whole_folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_takes_the_place_of_the_old_one(tmp_path):
    target = tmp_path / "a"
    target.write_text("old")
    with whole(target) as part:
        part.write_text("new")
        assert target.read_text() == "old"
    assert (target.read_text(), names(tmp_path)) == ("new", ["a"])


def test_a_folder_takes_the_place_of_the_old_one_and_of_all_that_was_in_it(tmp_path):
    target = tmp_path / "a"
    target.mkdir()
    (target / "old").touch()
    with whole_folder(target) as part:
        (part / "new").touch()
    assert (names(target), names(tmp_path)) == (["new"], ["a"])


def test_a_block_that_raises_leaves_what_was_there(tmp_path):
    target = tmp_path / "a"
    target.write_text("old")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "old").touch()

    def broken(make, target):
        with make(target) as part:
            (part / "new").touch() if part.is_dir() else part.write_text("half")
            raise KeyboardInterrupt

    for make, name in ((whole, "a"), (whole_folder, "b")):
        with pytest.raises(KeyboardInterrupt):
            broken(make, tmp_path / name)
    assert (target.read_text(), names(tmp_path), names(tmp_path / "b")) == ("old", ["a", "b"], ["old"])


def test_folders_on_the_way_are_made(tmp_path):
    with whole(tmp_path / "b" / "c" / "a") as part:
        part.write_text("x")
    assert (tmp_path / "b" / "c" / "a").read_text() == "x"


def test_a_file_cannot_take_the_place_of_a_folder(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "kept").touch()

    def put():
        with whole(tmp_path / "a") as part:
            part.write_text("x")

    with pytest.raises(IsADirectoryError):
        put()
    assert (names(tmp_path), names(tmp_path / "a")) == (["a"], ["kept"])


def test_a_folder_cannot_take_the_place_of_a_file(tmp_path):
    (tmp_path / "a").write_text("kept")
    with pytest.raises(NotADirectoryError), whole_folder(tmp_path / "a"):
        pass
    assert ((tmp_path / "a").read_text(), names(tmp_path)) == ("kept", ["a"])


KILLED = """
import importlib.util, os, shutil, signal, sys
from pathlib import Path

target, moment, exchange = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "True"
spec = importlib.util.spec_from_file_location("files", sys.argv[4])  # alone: the package takes a second to import
files = importlib.util.module_from_spec(spec)
spec.loader.exec_module(files)
if not exchange:
    files._exchanged = lambda one, other: False
calls = 0


def dying(act):
    def counted(*args, **named):
        global calls
        if calls == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        calls += 1
        return act(*args, **named)

    return counted


os.rename, os.replace, os.unlink = dying(os.rename), dying(os.replace), dying(os.unlink)
files._exchanged, shutil.rmtree = dying(files._exchanged), dying(shutil.rmtree)
with files.whole_folder(target) as part:
    (part / "one").write_text("new")
    dying(print)("written in half")
    (part / "two").write_text("new")
print("calls", calls)
"""


def killed(target, moment, exchange):
    """Replace a folder in a process of its own that dies before its `moment`-th step; whether it came to that."""
    words = [sys.executable, "-IS", "-c", KILLED, str(target), str(moment), str(exchange), files.__file__]
    code = subprocess.run(words, stdout=subprocess.DEVNULL).returncode
    assert code in (0, -signal.SIGKILL)
    return code != 0


def said(folder):
    return {name: (folder / name).read_text() for name in names(folder)}


@pytest.mark.skipif(sys.platform == "win32", reason="nobody can be killed so")
@pytest.mark.parametrize("exchange", [True, False])
def test_whenever_its_maker_is_killed_a_folder_is_the_old_one_or_the_new_one(tmp_path, exchange):
    old, new = {"one": "old", "three": "old"}, {"one": "new", "two": "new"}
    moment, gone, found = 0, 0, []
    while True:
        target = tmp_path / f"{moment}" / "a"
        target.mkdir(parents=True)
        for name, text in old.items():
            (target / name).write_text(text)
        if not killed(target, moment, exchange):
            break
        gone += not target.exists()
        found.append(said(target) if target.exists() else None)
        with whole_folder(target.with_name("b")):
            pass
        assert names(target.parent) == ["a", "b"], "what the killed one was making is cleared away"
        assert said(target) in (old, new), "even where it stood aside"
        moment += 1
    assert gone == (0 if exchange else 1), "between the two renames alone"
    assert [each for each in found if each not in (old, new, None)] == []
    assert old in found
    assert new in found


def test_what_another_is_still_making_is_left_alone(tmp_path):
    with whole_folder(tmp_path / "a") as part:
        (part / "one").touch()
        with whole_folder(tmp_path / "b"):
            pass
        assert names(part) == ["one"]
    assert (names(tmp_path), names(tmp_path / "a")) == (["a", "b"], ["one"])


def test_a_disk_without_locks_is_written_to_and_nothing_of_others_is_cleared_there(tmp_path, monkeypatch):
    def unlocked(place, how):
        raise OSError(95, "Operation not supported")

    left = tmp_path / f".0{files.BENCH}"
    left.mkdir()
    monkeypatch.setattr(files.fcntl, "flock", unlocked)
    with whole_folder(tmp_path / "a"):
        pass
    assert names(tmp_path) == [left.name, "a"]


def test_what_is_read_and_written_alone_loses_nothing_of_anothers(tmp_path):
    count = tmp_path / "new" / "count"

    def add():
        with alone(count.parent):
            before = int(count.read_text()) if count.exists() else 0
            time.sleep(0.005)
            with whole(count) as part:
                part.write_text(str(before + 1))

    threads = [threading.Thread(target=add) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (count.read_text(), names(count.parent)) == ("12", ["count"])


def test_a_block_alone_that_raises_lets_the_next_one_in(tmp_path):
    with pytest.raises(ValueError, match="no"), alone(tmp_path):
        raise ValueError("no")
    with alone(tmp_path):
        pass

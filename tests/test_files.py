import threading
import time

import pytest

from squeeze.files import alone, whole


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
    with whole(target) as part:
        part.mkdir()
        (part / "new").touch()
    assert (names(target), names(tmp_path)) == (["new"], ["a"])


@pytest.mark.parametrize("folder", [False, True])
def test_a_block_that_raises_leaves_what_was_there(tmp_path, folder):
    target = tmp_path / "a"
    target.write_text("old")

    def broken():
        with whole(target) as part:
            part.mkdir() if folder else part.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken()
    assert (target.read_text(), names(tmp_path)) == ("old", ["a"])


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

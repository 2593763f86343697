import pytest

from squeeze.files import whole


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

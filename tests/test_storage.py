import os
import uuid
from pathlib import Path

import pytest

from squeeze.errors import LakeError
from squeeze.market import storage as storage_module
from squeeze.market.storage import Storage


@pytest.fixture(params=["disk", "memory"])
def storage(request, tmp_path):
    if request.param == "disk":
        return Storage.at(tmp_path / "root")
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    return Storage.at(f"memory://{uuid.uuid4().hex}/root")


def test_what_is_written_is_read_and_takes_the_place_of_what_was_there(storage):
    storage.write("a/b.txt", b"old")
    storage.write("a/b.txt", b"newer")
    assert (storage.read("a/b.txt"), storage.size("a/b.txt"), storage.exists("a/b.txt")) == (b"newer", 5, True)


def test_a_file_is_read_piece_by_piece_and_never_unpacked(storage):
    storage.write("a.gz", b"not gzip at all")
    with storage.open("a.gz") as stream:
        assert [stream.read(8), stream.read(8), stream.read(8)] == [b"not gzip", b" at all", b""]


def test_a_listing_is_recursive_sorted_and_without_hidden_names(storage):
    for path in ("b/2.x", "b/1.x", "a.x", "b/c/3.x", "b/1.y", ".h.x", "b/.h.x", "b/.d/4.x"):
        storage.write(path, b"")
    assert storage.list("", ".x") == ["a.x", "b/1.x", "b/2.x", "b/c/3.x"]
    assert storage.list("b", ".x") == ["b/1.x", "b/2.x", "b/c/3.x"]
    assert storage.list("b", "") == ["b/1.x", "b/1.y", "b/2.x", "b/c/3.x"]


def test_a_folder_that_is_not_there_is_empty(storage):
    assert storage.list("", "") == storage.list("nowhere", "") == []
    assert not storage.exists("nowhere")


def test_a_folder_is_not_a_file(storage):
    storage.write("a/b", b"")
    assert not storage.exists("a")


def test_what_is_removed_is_gone(storage):
    storage.write("a", b"1")
    storage.remove("a")
    assert not storage.exists("a")


@pytest.mark.parametrize("verb", ["read", "size", "remove"])
def test_a_file_that_is_not_there_is_named_in_one_line(storage, verb):
    with pytest.raises(LakeError) as caught:
        getattr(storage, verb)("a/none")
    assert str(caught.value).startswith(f"{storage.place('a/none')}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../a", "a/../../b", "a//b", "a/", "./a", "a\\b"])
@pytest.mark.parametrize("verb", ["read", "size", "exists", "remove"])
def test_a_path_that_could_leave_the_root_is_refused(storage, verb, path):
    with pytest.raises(LakeError, match="must be relative"):
        getattr(storage, verb)(path)


def test_a_file_moves_in(storage, tmp_path):
    local = tmp_path / "local"
    local.write_bytes(b"data")
    storage.move_in(local, "a/b")
    assert (storage.read("a/b"), local.exists()) == (b"data", False)


def test_a_file_of_another_disk_moves_in_by_copy(tmp_path, monkeypatch):
    other = Path("/dev/shm")  # noqa: S108
    if not os.access(other, os.W_OK) or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second disk")
    local = other / uuid.uuid4().hex
    local.write_bytes(b"data")
    storage = Storage.at(tmp_path)
    storage.move_in(local, "a/b")
    assert (storage.read("a/b"), local.exists(), storage.list("", "")) == (b"data", False, ["a/b"])


def test_a_move_that_fails_leaves_the_file_where_it_was(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a").touch()
    local = tmp_path / "local"
    local.write_bytes(b"data")
    with pytest.raises(LakeError, match="a/b: cannot be written"):
        Storage.at(tmp_path / "root").move_in(local, "a/b")
    assert local.read_bytes() == b"data"


def test_a_write_that_fails_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    storage = Storage.at(tmp_path)
    storage.write("a", b"old")

    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage_module.os, "fsync", full)
    with pytest.raises(LakeError, match="No space left"):
        storage.write("a", b"new")
    assert (storage.read("a"), [p.name for p in tmp_path.iterdir()]) == (b"old", ["a"])


def test_a_file_uri_is_a_folder_of_the_disk(tmp_path):
    storage = Storage.at(tmp_path.as_uri())
    storage.write("a", b"1")
    assert (storage.local, (tmp_path / "a").read_bytes()) == (tmp_path, b"1")


def test_a_relative_root_stays_where_it_was_when_the_process_moves(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    storage = Storage.at("root")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    storage.write("a", b"1")
    assert (tmp_path / "root" / "a").exists()
    assert storage.place("a") == "root/a"


@pytest.mark.parametrize(
    "root",
    ["nosuch://user:sesame@host/path", "s3://user:sesame@bucket/path?nosuch=sesame", "nosuch://host/path?token=sesame"],
)
def test_what_cannot_be_opened_is_named_without_its_credentials(root):
    with pytest.raises(LakeError) as caught:
        Storage.at(root)
    assert "sesame" not in str(caught.value)
    assert str(caught.value).startswith(root.split("://")[0])
    assert "/path: cannot be opened: " in str(caught.value)

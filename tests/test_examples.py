"""Frames on disk: the same as live, whatever interrupted the build, and refused where they are not what they say."""

import ast
import contextlib
import io
import json
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

import squeeze
from squeeze.atlas_spec import AtlasSpec
from squeeze.errors import DataError, LakeError
from squeeze.market import lake as lake_module
from squeeze.market.events import Bar
from squeeze.market.lake import Lake, read_events
from squeeze.market.steps import steps
from squeeze.state import MarketState
from training import examples, folding
from training.config import SeriesSpec, day_ns, market_of
from training.examples import FRAME_CODE, alike, build, read

ARRAYS = ("channels", "scalars", "swept", "marks", "steps")
UNTIL = day_ns("2025-01-02T12:00")


@pytest.fixture
def every_50_steps(monkeypatch):
    monkeypatch.setattr(folding, "CHECKPOINT_STEPS", 50)


@pytest.fixture(scope="module")
def whole(small, tmp_path_factory):
    """A day and a half, folded without a break."""
    return made(small, tmp_path_factory.mktemp("whole"))


def made(small, out, spec=None, market=None, until=UNTIL):
    spec = spec or small.config.spec
    build(small.lake, spec, market or spec.market, None, until, out)
    (folder,) = out.iterdir()
    return folder


def same(one: Path, other: Path) -> bool:
    assert one.name == other.name
    assert {p.name for p in one.iterdir()} == {p.name for p in other.iterdir()} == {
        "meta.json", *(f"{name}.npy" for name in ARRAYS)
    }  # fmt: skip
    return all((other / path.name).read_bytes() == path.read_bytes() for path in one.iterdir())


def with_atlas(spec, *channels):
    return msgspec.structs.replace(
        spec, atlas=AtlasSpec(), frame=msgspec.structs.replace(spec.frame, channels=channels)
    )


def test_frames_on_disk_are_those_of_the_step_that_runs_live(small, tmp_path):
    spec = with_atlas(small.config.spec, "stops", "volume_1d_*", "opened_4h_*")
    until = day_ns("2025-01-01T20:00")
    held = build(small.lake, spec, spec.market, None, until, tmp_path)
    state = MarketState(spec)
    events = read_events(small.lake, spec.market, None, until)
    frames = [state.advance(s) for s in steps(events, spec.market.symbol, state.length_ns, spec.map.bin_log)]
    assert held.channel_names == state.channel_names
    assert held.channel_names[5:] == ("volume_1d_simulated", "opened_4h_simulated", "stops")
    assert held.scalar_names == state.scalar_names
    assert held.closes_ns.tolist() == [f.close_ns for f in frames]
    assert held.unhealthy.tolist() == [f.unhealthy for f in frames]
    assert held.degraded.tolist() == [f.degraded for f in frames]
    np.testing.assert_array_equal(held.channels, np.stack([f.channels for f in frames]))
    np.testing.assert_array_equal(held.scalars, np.stack([f.scalars for f in frames]))
    np.testing.assert_array_equal(held.swept, np.stack([f.swept_share for f in frames]))
    np.testing.assert_array_equal(held.marks[:, 3], [f.mark.close for f in frames])
    assert np.isfinite(held.channels[-1, :, 5:]).any(axis=(0, 2)).all(), "bars alone make these maps"


def test_a_second_time_it_does_nothing(small, whole, monkeypatch):
    monkeypatch.setattr(examples, "fold", None)
    made(small, whole.parent)


KILLED = """
import os, signal, sys
from pathlib import Path
from squeeze.market.lake import Lake
from training import folding
from training.config import load_config
from training.examples import build

config, lake, out = load_config(sys.argv[1]), Lake(Path(sys.argv[2])), Path(sys.argv[3])
at, until = int(sys.argv[4]), int(sys.argv[5])
folding.CHECKPOINT_STEPS = 50
append, count = folding.FrameFiles.append, 0


def dying(files, rows):
    global count
    count += 1
    if count == at:
        files._files["channels"].write(rows["channels"].tobytes()[:100])
        files._files["channels"].flush()
        os.kill(os.getpid(), signal.SIGKILL)
    append(files, rows)


folding.FrameFiles.append = dying
build(lake, config.spec, config.spec.market, None, until, out)
"""


def killed(small, out, at):
    """A build in a process of its own that dies while it writes its `at`-th step."""
    words = [sys.executable, "-c", KILLED, small.config_path, small.lake.root, out, at, UNTIL]
    assert subprocess.run([str(word) for word in words], cwd=Path.cwd()).returncode == -signal.SIGKILL


def test_a_build_killed_twice_while_writing_ends_as_if_it_had_not_been(small, whole, tmp_path, every_50_steps):
    killed(small, tmp_path, 27)
    killed(small, tmp_path, 233)
    (part,) = tmp_path.iterdir()
    assert part.name == f".{whole.name}.part"
    assert (part / "checkpoint").exists()
    with pytest.raises(DataError, match=r"meta\.json: cannot be read"):
        read(part)
    assert same(made(small, tmp_path), whole)


class Stop(Exception):
    """What interrupts a build in these tests."""


def stopping(monkeypatch, at):
    """Have the build fail at its `at`-th step; how many steps were made."""
    count, rows_of = [0], folding.rows_of

    def rows(frame):
        count[0] += 1
        if count[0] == at:
            raise Stop
        return rows_of(frame)

    monkeypatch.setattr(folding, "rows_of", rows)
    return count


@pytest.mark.parametrize("at", [1, 50, 51, 125, 400])
def test_a_build_that_was_broken_off_goes_on_from_its_last_checkpoint(
    small, whole, tmp_path, monkeypatch, every_50_steps, at
):
    with monkeypatch.context() as patch:
        stopping(patch, at)
        with pytest.raises(Stop):
            made(small, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ([] if at <= 50 else [f".{whole.name}.part"])
    count = stopping(monkeypatch, -1)
    assert same(made(small, tmp_path), whole)
    assert count[0] == len(read(whole).closes_ns) - (at - 1) // 50 * 50


def test_an_atlas_goes_on_from_a_checkpoint_too(small, tmp_path, monkeypatch, every_50_steps):
    spec, until = with_atlas(small.config.spec, "*"), day_ns("2025-01-01T06:00")
    with monkeypatch.context() as patch:
        stopping(patch, 60)
        with pytest.raises(Stop):
            made(small, tmp_path / "a", spec, until=until)
    one = made(small, tmp_path / "a", spec, until=until)
    assert same(one, made(small, tmp_path / "b", spec, until=until))


def spoil_byte(part):
    data = bytearray((part / "scalars.npy").read_bytes())
    data[5000] ^= 1
    (part / "scalars.npy").write_bytes(data)


def cut_array(part):
    data = (part / "marks.npy").read_bytes()
    (part / "marks.npy").write_bytes(data[: 128 + 32 * 70])


def tear_checkpoint(part):
    data = (part / "checkpoint").read_bytes()
    (part / "checkpoint").write_bytes(data[: len(data) // 2])


def of_another_spec(part):
    held = msgspec.msgpack.decode((part / "checkpoint").read_bytes(), type=folding.Checkpoint)
    with np.load(io.BytesIO(held.market)) as stored:
        arrays = dict(stored)
    header = json.loads(arrays["header"].tobytes()) | {"spec": "another"}
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    out = io.BytesIO()
    np.savez(out, **arrays)
    other = msgspec.structs.replace(held, market=out.getvalue())
    (part / "checkpoint").write_bytes(msgspec.msgpack.encode(other))


@pytest.mark.parametrize("spoil", [spoil_byte, cut_array, tear_checkpoint, of_another_spec])
def test_a_checkpoint_that_does_not_hold_is_not_gone_on_from(
    small, whole, tmp_path, monkeypatch, every_50_steps, spoil
):
    with monkeypatch.context() as patch:
        stopping(patch, 130)
        with pytest.raises(Stop):
            made(small, tmp_path)
    spoil(next(tmp_path.iterdir()))
    count = stopping(monkeypatch, -1)
    assert same(made(small, tmp_path), whole)
    assert count[0] == len(read(whole).closes_ns)


@contextlib.contextmanager
def files_no_longer_than(size):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_takes_no_more_is_told_in_one_line_and_nothing_is_lost(small, whole, tmp_path, every_50_steps):
    room = (whole / "channels.npy").stat().st_size // 2
    with files_no_longer_than(room), pytest.raises(DataError) as caught:
        made(small, tmp_path)
    text = str(caught.value)
    assert re.fullmatch(r"[^\n]*\.part: cannot be written: File too large; with room on the disk [^\n]*", text)
    assert [p.name for p in tmp_path.iterdir()] == [f".{whole.name}.part"]
    assert same(made(small, tmp_path), whole)


def test_a_disk_that_is_full_from_the_start_leaves_nothing(small, tmp_path):
    with files_no_longer_than(10_000), pytest.raises(DataError, match="cannot be written"):
        made(small, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_range_without_bars_is_told_and_leaves_nothing(small, tmp_path):
    with pytest.raises(LakeError, match="no bar_1m of SIMUSDT in the range"):
        build(small.lake, small.config.spec, small.config.spec.market, day_ns("2026-01-01"), None, tmp_path)
    assert list(tmp_path.iterdir()) == []


# Reading


@pytest.fixture
def copy(whole, tmp_path):
    folder = tmp_path / whole.name
    folder.mkdir()
    for path in whole.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def changed(folder, **values):
    meta = json.loads((folder / "meta.json").read_text()) | values
    (folder / "meta.json").write_text(json.dumps(meta))


def refused(folder, said):
    with pytest.raises(DataError, match=said) as caught:
        read(folder)
    assert "\n" not in str(caught.value)


def test_a_folder_of_another_name_than_its_digest_is_refused(copy):
    other = copy.rename(copy.with_name("0" * 24))
    refused(other, rf"meta\.json: expected the digest {'0' * 24}, found {copy.name}")


def test_arrays_that_do_not_fit_what_meta_says_are_refused(copy, whole):
    count = len(read(whole).closes_ns)
    changed(copy, steps=count + 1)
    refused(
        copy, rf"channels\.npy: expected float32 \({count + 1}, 2, 5, 8\), as meta.json says; found float32 \({count}"
    )
    changed(copy, steps=count, channel_names=["unit_5x"])
    refused(copy, r"channels\.npy: expected float32 .*, 2, 1, 8\).*found float32 .*, 2, 5, 8\)")
    changed(copy, channel_names=list(read(whole).channel_names), scalar_names=["one"])
    refused(copy, r"scalars\.npy: expected float32 .*, 2, 1\)")
    changed(copy, scalar_names=list(read(whole).scalar_names))
    np.save(copy / "swept.npy", np.load(copy / "swept.npy").astype(np.float32))
    refused(copy, r"swept\.npy: expected float64 .*found float32")


def test_an_array_that_is_cut_off_or_absent_is_refused(copy):
    data = (copy / "marks.npy").read_bytes()
    for short in (data[:-1], data[:60], b""):
        (copy / "marks.npy").write_bytes(short)
        refused(copy, r"marks\.npy: cannot be read")
    (copy / "marks.npy").unlink()
    refused(copy, r"marks\.npy: cannot be read")


def test_a_file_that_is_not_the_one_that_was_built_is_refused(copy, monkeypatch):
    path = copy / "scalars.npy"
    data = path.read_bytes()
    path.write_bytes(data + b"\0")
    refused(copy, rf"scalars\.npy: expected {len(data)} bytes, found {len(data) + 1}; delete the folder")
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    refused(copy, r"scalars\.npy: expected the SHA-256 [0-9a-f]{16}…, found [0-9a-f]{16}…: it was changed after")
    monkeypatch.setattr(examples, "SMALL_BYTES", len(data) - 1)
    read(copy)  # a large file is not read when it is opened
    with pytest.raises(DataError, match=r"scalars\.npy: expected the SHA-256"):
        read(copy, verify=True)
    path.write_bytes(data)
    read(copy, verify=True)
    held = json.loads((copy / "meta.json").read_text())["files"]
    del held["marks"]
    changed(copy, files=held)
    refused(copy, r"marks\.npy: meta\.json keeps no digest of it; delete the folder")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"digest": 3}'])
def test_a_meta_that_is_none_is_refused(copy, text):
    (copy / "meta.json").write_text(text)
    refused(copy, r"meta\.json: does not say what frames these are")


# What goes in


def test_reading_in_stretches_gives_the_events_of_the_whole(small, monkeypatch):
    market = small.config.spec.market
    for start, until in ((None, None), (day_ns("2025-01-02T10:00") + 1, day_ns("2025-01-09T07:00"))):
        expected = list(map(repr, read_events(small.lake, market, start, until)))  # where NaN is NaN
        for at_once in (10, 10**9):
            monkeypatch.setattr(folding, "ROWS_AT_ONCE", at_once)
            assert list(map(repr, folding.events_between(small.lake, market, start, until))) == expected


def test_a_digest_does_not_go_by_how_its_rows_are_read(small, monkeypatch):
    market, until = small.config.spec.market, day_ns("2025-01-05T07:00")
    whole = small.lake.digest(market, None, until)
    blocks = set()
    for stretch, block in ((1, 1 << 20), (1, 700), (10**9, 700), (10**9, 1 << 20)):
        monkeypatch.setattr(lake_module, "STRETCH_ROWS", stretch)
        monkeypatch.setattr(lake_module, "BLOCK_ROWS", block)
        blocks.add((block, small.lake.digest(market, None, until)))
    assert len(blocks) == 2
    assert (1 << 20, whole) in blocks
    assert small.lake.digest(market, None, until + 60 * 10**9) != whole


def test_several_symbols_and_venues_with_all_their_streams_are_one_data_set(small, tmp_path):
    """The same events under other names give the same frames; so does a second build of the first."""
    lake = Lake(tmp_path / "lake")
    for held in small.lake.streams():
        rows = small.lake.read(held.kind, held.venue, held.symbol, None, UNTIL)
        for venue, symbol in ((held.venue, held.symbol), ("elsewhere", "OTHERUSDT"), (held.venue, "THIRDUSDT")):
            lake.write(held.kind, venue, symbol, rows)
    spec, out = small.config.spec, tmp_path / "out"
    series = [
        SeriesSpec(symbol="OTHERUSDT", venue="elsewhere", streams="all"),
        SeriesSpec(symbol="THIRDUSDT", streams="all"),
    ]
    markets = [spec.market, *(market_of(spec.market, one) for one in series)]
    found = [build(lake, spec, market, None, UNTIL, out) for market in markets]
    alike(found)
    assert [e.symbol for e in found] == ["SIMUSDT", "OTHERUSDT", "THIRDUSDT"]
    assert len({e.digest for e in found}) == 3
    for other in found[1:]:
        np.testing.assert_array_equal(other.channels, found[0].channels)
        np.testing.assert_array_equal(other.scalars, found[0].scalars)


def test_bars_alone_under_an_atlas_have_the_same_names_and_can_be_pooled(small, tmp_path):
    spec = with_atlas(small.config.spec, "stops", "book_usd_*")
    spec = msgspec.structs.replace(spec, map=msgspec.structs.replace(spec.map, open_interest="volume"))
    until = day_ns("2025-01-01T12:00")
    own = build(small.lake, spec, spec.market, None, until, tmp_path)
    bars = build(small.lake, spec, market_of(spec.market, SeriesSpec(symbol="SIMUSDT")), None, until, tmp_path)
    alike([own, bars])
    assert np.isfinite(own.scalars[-1]).sum() > np.isfinite(bars.scalars[-1]).sum()


def test_markets_of_other_names_are_not_pooled(small, whole, tmp_path):
    spec = with_atlas(small.config.spec, "stops")
    other = build(small.lake, spec, spec.market, None, day_ns("2025-01-01T06:00"), tmp_path)
    with pytest.raises(DataError, match=r"SIMUSDT and SIMUSDT cannot be pooled: their scalar_names differ in \["):
        alike([read(whole), other])


def test_a_series_of_bars_alone_needs_a_map_without_stamps(small, tmp_path):
    market = market_of(small.config.spec.market, SeriesSpec(symbol="SIMUSDT"))
    with pytest.raises(LakeError, match="SIMUSDT: the map needs open interest, and the series has bars alone"):
        build(small.lake, small.config.spec, market, None, UNTIL, tmp_path)


def test_a_step_that_makes_no_sense_is_replaced_by_an_empty_one_as_live(small, tmp_path, monkeypatch):
    """As `Stream.advance` has it; how many there were stands in `meta.json`."""
    at = day_ns("2025-01-02T08:30")

    def spoiled(*args):
        for event in read_events(*args):
            if isinstance(event, Bar) and not event.is_mark and at < event.known_at_ns <= at + 300 * 10**9:
                event = msgspec.structs.replace(event, close=event.high * 2)
            yield event

    monkeypatch.setattr(folding, "read_events", spoiled)
    folder = made(small, tmp_path)
    held = read(folder)
    bad = held.closes_ns == at + 300 * 10**9
    assert bad.sum() == 1
    assert held.unhealthy[bad] != 0
    assert np.isnan(held.channels[bad]).all()
    assert json.loads((folder / "meta.json").read_text())["refused"] == 1


WITHOUT_EFFECT = {
    "arrays.py",
    "errors.py",
    "label_spec.py",
    "strict.py",
    "files.py",
    "__init__.py",
    "market/__init__.py",
}
"""Names, exceptions and values: the values of a spec are in the address themselves."""
STORED = {"market/mapping.py", "market/storage.py", "market/tables.py"}
"""How bytes lie on a disk; what they say is in the digest of the data."""


def test_the_address_goes_with_every_source_that_a_frame_depends_on():
    package, todo, found = Path(squeeze.__file__).parent, ["state.py", "market/steps.py", "market/lake.py"], set()
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found.add(name)
        for node in ast.walk(ast.parse((package / name).read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("squeeze"):
                base = package.joinpath(*node.module.split(".")[1:])
                modules = [base.with_suffix(".py"), *(base / f"{alias.name}.py" for alias in node.names)]
                todo += [str(m.relative_to(package)) for m in modules if m.is_file()]
    covered = {name for name in found if name in FRAME_CODE or any(name.startswith(f"{f}/") for f in FRAME_CODE)}
    assert found - covered - WITHOUT_EFFECT - STORED == set()
    assert all((package / name).exists() for name in FRAME_CODE)
    assert {"patterns/asymmetry.py", "atlas.py", "venue_maps.py", "heatmaps/stops_kernel.py"} <= covered

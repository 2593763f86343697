import gzip
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from decimal import Decimal

import msgspec
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from squeeze.errors import DataError, LakeError
from squeeze.market import raw_writer
from squeeze.market.captures import import_capture
from squeeze.market.raw_log import RawLog
from squeeze.market.raw_segment import RawFrame

DAY_NS = 86_400 * 10**9
NOON = 1_786_276_800 * 10**9  # 2026-08-09 12:00 UTC
FRAMES = [(NOON + 10**9 * i, b'{"n":%d}' % i) for i in range(6)]


def record(log, frames, **limits):
    with log.writer("bybit", **limits) as writer:
        for received_ns, frame in frames:
            writer.append(received_ns, frame)


def got(log, *bounds):
    return [(f.received_ns, f.data) for f in log.read("bybit", *bounds)]


def segments(log):
    return log.storage.list("", ".jsonl.zst")


@pytest.fixture
def log(tmp_path):
    return RawLog(tmp_path / "log")


@pytest.fixture
def three_blocks(log):
    """One segment of three blocks of two frames: its path, bytes and the borders of its blocks."""
    with log.writer("bybit") as writer:
        borders = [0]
        for i, (received_ns, frame) in enumerate(FRAMES):
            writer.append(received_ns - i % 2 * 10**9 + i % 2, frame)
            if i % 2:
                writer.flush()
                (part,) = log.storage.local.rglob("*.part")
                borders.append(part.stat().st_size)
    (path,) = segments(log)
    return path, log.storage.read(path), borders


steps = st.sampled_from([0, 0, 1, 999, 10**6, 10**9, 10**10, DAY_NS, -1, -(10**9)])
texts = st.one_of(st.text().map(str.encode), st.sampled_from([b"", b"\n", b"\0", b'"', b"\\n", b"\xef\xbb\xbf{}"]))


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(steps, texts, st.sampled_from(["0", "a-1"]), st.sampled_from(["", "/v5/x?a=1&b=ü"])), max_size=30
    ),
    st.sampled_from([1, 200, 1 << 20]),
    st.sampled_from([1, 300, 1 << 26]),
)
def test_frames_come_back_byte_for_byte_in_the_order_of_arrival(tmp_path, sent, block_bytes, segment_bytes):
    log, now, expected = RawLog(tmp_path / uuid.uuid4().hex), NOON, []
    with log.writer("bybit", block_bytes=block_bytes, segment_bytes=segment_bytes) as writer:
        for step, frame, connection, request in sent:
            now += step
            writer.append(now, frame, connection, request)
            expected.append((now, connection, request, frame))
    if not sent:
        assert log.venues() == []
        return
    read = [(f.received_ns, f.connection, f.request, f.data) for f in log.read("bybit")]
    assert sorted(read) == sorted(expected)
    assert [r[:2] for r in read] == sorted(r[:2] for r in read)
    if all(step >= 0 for step, *_ in sent):
        assert read == sorted(expected, key=lambda r: r[:2])  # a stable sort: equal times stay in their order
    assert not any(r.problem for r in log.check())


def test_a_segment_is_a_file_of_json_lines_named_by_its_first_frame(log):
    record(log, [(NOON + 1234, b'{"a":1}\n')])
    assert segments(log) == ["venue=bybit/date=2026-08-09/120000.000001-0-0.jsonl.zst"]
    lines = zstandard.ZstdDecompressor().decompress(log.storage.read(segments(log)[0]))
    assert lines == b'[1786276800000001234,"0","","{\\"a\\":1}\\n"]\n'


def test_the_zstd_command_reads_a_segment(three_blocks, log):
    if not (zstd := shutil.which("zstd")):
        pytest.skip("the zstd command is not installed")
    unpacked = subprocess.run([zstd, "-dc", log.storage.local / three_blocks[0]], capture_output=True, check=True)
    lines = [msgspec.json.decode(line, type=RawFrame) for line in unpacked.stdout.splitlines()]
    assert lines == list(log.read("bybit"))
    assert len(lines) == 6


def test_bounds_take_the_first_nanosecond_and_leave_the_last(log):
    record(log, FRAMES)
    assert got(log, NOON + 10**9, NOON + 3 * 10**9) == FRAMES[1:3]
    assert got(log, NOON + 10**9 + 1) == FRAMES[2:]
    assert got(log, None, NOON) == []
    assert got(log, NOON + DAY_NS) == []


def test_a_segment_ends_at_midnight_utc(log):
    midnight = NOON // DAY_NS * DAY_NS + DAY_NS
    frames = [(midnight - 1, b"a"), (midnight, b"b")]
    record(log, frames)
    assert [p.split("/")[1] for p in segments(log)] == ["date=2026-08-09", "date=2026-08-10"]
    assert got(log) == frames
    assert got(log, midnight) == frames[1:]


@pytest.mark.parametrize(("limits", "count"), [({}, 1), ({"segment_seconds": 2.0}, 3), ({"segment_bytes": 1}, 6)])
def test_a_segment_that_is_long_or_large_gives_way_to_the_next(log, limits, count):
    record(log, FRAMES, block_bytes=1, **limits)
    assert (len(segments(log)), got(log)) == (count, FRAMES)


def test_a_clock_that_steps_back_starts_a_segment_and_bends_no_time(log):
    frames = [(NOON + 5, b"a"), (NOON + 9, b"b"), (NOON + 6, b"c")]
    record(log, frames)
    assert len(segments(log)) == 2
    assert got(log) == [frames[0], frames[2], frames[1]]


def test_frames_of_one_time_stay_together(log):
    record(log, [(NOON, b"a"), (NOON, b"b"), (NOON, b"a")], block_bytes=1)
    assert (len(segments(log)), [frame for _, frame in got(log)]) == (1, [b"a", b"b", b"a"])


def test_connections_are_merged_by_time_then_name(log):
    with log.writer("bybit") as writer:
        for received_ns, connection in ((3, "a"), (1, "b"), (3, "b"), (2, "b"), (4, "a"), (3, "b")):
            writer.append(NOON + received_ns * 1000, b"", connection)
    assert [((f.received_ns - NOON) // 1000, f.connection) for f in log.read("bybit")] == [
        (1, "b"), (2, "b"), (3, "a"), (3, "b"), (3, "b"), (4, "a"),
    ]  # fmt: skip


def test_a_long_log_is_read_with_one_segment_open_at_a_time(log, monkeypatch):
    record(log, FRAMES, segment_seconds=1.0)
    opened, most = [0], [0]
    plain = log._frames

    def counted(segment):
        opened[0] += 1
        most[0] = max(most[0], opened[0])
        yield from plain(segment)
        opened[0] -= 1

    monkeypatch.setattr(log, "_frames", counted)
    assert (got(log), len(segments(log)), most) == (FRAMES, 6, [1])


def test_a_reader_that_stops_early_leaves_nothing_open(three_blocks, log):
    frames = log.read("bybit")
    next(frames)
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 1
    frames.close()
    after = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    assert after == before - 1


def test_venues_are_told_apart(log):
    for venue in ("okx", "bybit"):
        with log.writer(venue) as writer:
            writer.append(NOON, venue.encode())
    assert log.venues() == ["bybit", "okx"]
    assert [f.frame for f in log.read("okx")] == ["okx"]


def test_a_venue_without_frames_is_named_with_those_that_have_some(log):
    record(log, FRAMES)
    with pytest.raises(LakeError, match="no raw frames of okx; there is bybit"):
        log.read("okx")


@pytest.mark.parametrize(
    ("append", "message"),
    [
        ((NOON, b"\xff"), "expected UTF-8"),
        ((NOON, b"\xed\xa0\x80"), "expected UTF-8"),
        ((-1, b""), "nanoseconds since 1970, got -1"),
        ((1 << 63, b""), "nanoseconds since 1970"),
        ((NOON, b"", "a/b"), "connection 'a/b' cannot name a file"),
        ((NOON, b"", ""), "connection '' cannot name a file"),
    ],
)
def test_a_frame_that_cannot_be_kept_is_refused_and_nothing_is_written(log, append, message):
    with log.writer("bybit") as writer, pytest.raises(DataError, match=message):
        writer.append(*append)
    assert list(log.storage.local.parent.rglob("*")) == []


def test_a_venue_that_cannot_name_a_folder_is_refused(log):
    with pytest.raises(LakeError, match=r"venue '\.\.' cannot name a folder"):
        log.writer("..")


def test_an_open_segment_is_hidden_and_safe_after_each_block(log):
    with log.writer("bybit") as writer:
        writer.append(NOON, b"a")
        writer.append(NOON + 10**9, b"b")  # spans a second, so the block is due
        (part,) = log.storage.local.rglob("*.part")
        assert part.name == ".120000.000000-0-0.jsonl.zst.part"
        assert zstandard.ZstdDecompressor().decompress(part.read_bytes()).count(b"\n") == 2
        assert (log.venues(), log.check(), log.repair()) == ([], [], [])  # a living writer's segment is left alone
    assert [f.frame for f in log.read("bybit")] == ["a", "b"]
    assert not list(log.storage.local.rglob("*.part"))


def test_a_connection_that_is_gone_can_be_sealed_alone(log):
    with log.writer("bybit") as writer:
        writer.append(NOON, b"a", "1")
        writer.append(NOON, b"b", "2")
        writer.close("1")
        assert [f.frame for f in log.read("bybit")] == ["a"]


def test_two_writers_of_one_time_and_connection_get_two_segments(log):
    with log.writer("bybit") as one, log.writer("bybit") as other:
        one.append(NOON, b"a")
        other.append(NOON, b"b")
    assert [p.rpartition("-")[2] for p in segments(log)] == ["0.jsonl.zst", "1.jsonl.zst"]
    assert got(log) == [(NOON, b"b"), (NOON, b"a")] or got(log) == [(NOON, b"a"), (NOON, b"b")]


def test_a_full_disk_is_told_and_no_frame_is_lost_once_there_is_room(log, monkeypatch):
    plain, room = raw_writer._write_all, [True]

    def write(file, data):
        if not room[0]:
            file.write(data[:5])
            raise OSError(28, "No space left on device")
        plain(file, data)

    monkeypatch.setattr(raw_writer, "_write_all", write)
    with log.writer("bybit", block_bytes=1, segment_seconds=3.0) as writer:
        for i, frame in enumerate(FRAMES):
            room[0] = i not in (1, 2, 3)
            if room[0]:
                writer.append(*frame)
            else:
                before = [part.stat().st_size for part in log.storage.local.rglob("*.part")]
                with pytest.raises(LakeError, match="No space left"):
                    writer.append(*frame)
                assert [part.stat().st_size for part in log.storage.local.rglob("*.part")] == before
    assert got(log) == FRAMES
    assert [r.problem for r in log.check()] == ["", ""]


def test_memory_holds_the_same_segments_as_the_disk(log, tmp_path):
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    far = RawLog(f"memory://{uuid.uuid4().hex}")
    for there, spool in ((log, None), (far, tmp_path / "spool")):
        with there.writer("bybit", spool, segment_seconds=2.0) as writer:
            for frame in FRAMES:
                writer.append(*frame)
    assert segments(far) == segments(log)
    assert [far.storage.read(p) for p in segments(far)] == [log.storage.read(p) for p in segments(log)]
    assert (got(far), got(far, NOON + 10**9, NOON + 4 * 10**9)) == (FRAMES, FRAMES[1:4])
    assert not list((tmp_path / "spool").rglob("*.part"))


def test_a_log_that_is_not_on_the_disk_needs_a_spool():
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    with pytest.raises(LakeError, match="needs a spool"):
        RawLog("memory://x").writer("bybit")


def test_what_a_far_log_did_not_take_waits_in_the_spool(tmp_path, monkeypatch):
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    log, spool = RawLog(f"memory://{uuid.uuid4().hex}"), tmp_path / "spool"

    def down(full, data):
        raise OSError("the store is down")

    with monkeypatch.context() as patch:
        patch.setattr(log.storage, "_put", down)
        writer = log.writer("bybit", spool)
        for frame in FRAMES:
            writer.append(*frame)
        with pytest.raises(LakeError, match="the store is down"):
            writer.close()
    (report,) = log.check(spool=spool)
    assert (report.frames, report.damaged_at) == (6, None)
    assert "squeeze lake repair" in report.problem
    (repair,) = log.repair(spool=spool)
    assert (repair.frames_kept, repair.bytes_lost, repair.original, got(log)) == (6, 0, "", FRAMES)


def test_a_segment_torn_at_any_byte_is_noticed_and_its_whole_blocks_kept(three_blocks, log):
    path, data, borders = three_blocks
    frames = got(log)
    for size in range(len(data)):
        log.storage.write(path, data[:size])
        whole = sum(size >= border for border in borders[1:])
        if size in borders[1:]:  # between two blocks nothing tells that there was more
            assert got(log) == frames[: 2 * whole]
            continue
        with pytest.raises(LakeError, match=f"{path}: damaged block at byte {borders[whole]}: .*squeeze lake repair"):
            got(log)
        (report,) = log.check()
        assert (report.damaged_at, report.blocks, report.bytes) == (borders[whole], whole, size)
        (repair,) = log.repair()
        assert (repair.blocks_kept, repair.frames_kept) == (whole, 2 * whole)
        assert repair.bytes_lost == size - borders[whole]
        assert log.storage.read(repair.original) == data[:size]
        if whole:
            assert got(log) == frames[: 2 * whole]
        assert log.repair() == []


def test_a_part_torn_at_any_byte_is_sealed_with_its_whole_blocks(three_blocks, log, tmp_path):
    path, data, borders = three_blocks
    frames, (folder, _, name) = got(log), path.rpartition("/")
    for size in range(1, len(data) + 1):
        killed = RawLog(tmp_path / str(size))
        part = killed.storage.local / folder / f".{name}.part"
        part.parent.mkdir(parents=True)
        part.write_bytes(data[:size])
        whole = sum(size >= border for border in borders[1:])
        (report,) = killed.check()
        assert (report.blocks, bool(report.problem)) == (whole, True)
        (repair,) = killed.repair()
        assert (repair.path, repair.blocks_kept, repair.bytes_lost) == (path, whole, size - borders[whole])
        assert not part.exists()
        if whole:
            assert got(killed) == frames[: 2 * whole]
        if repair.bytes_lost:
            assert killed.storage.read(repair.original) == data[:size]
        assert (killed.repair(), killed.check("okx")) == ([], [])


def test_a_killed_process_leaves_all_blocks_that_were_written(log):
    code = f"""
import os, signal
from squeeze.market.raw_log import RawLog
writer = RawLog({str(log.storage.local)!r}).writer("bybit", block_bytes=1)
for i in range(3):
    writer.append({NOON} + i, b"%d" % i)
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", code], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert log.venues() == []
    (repair,) = log.repair()
    assert (repair.blocks_kept, repair.bytes_lost) == (3, 0)
    assert got(log) == [(NOON + i, b"%d" % i) for i in range(3)]


def flipped(data, bit):
    altered = bytearray(data)
    altered[bit // 8] ^= 1 << bit % 8
    return bytes(altered)


@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_a_flipped_bit_is_noticed(three_blocks, log, every):
    """Of each byte two or three bits; in `make long` all of them."""
    path, data, borders = three_blocks
    for bit in range(0, 8 * len(data), every):
        log.storage.write(path, flipped(data, bit))
        (report,) = log.check()
        assert report.damaged_at in borders
        with pytest.raises(LakeError, match=f"at byte {report.damaged_at}"):
            got(log)


def test_a_flipped_bit_never_gives_other_frames(log):
    """Entropy-coded blocks have padding that says nothing; a flip there may pass, since the frames are the same."""
    record(log, [(NOON + i, b'{"p":%d,"q":%d}' % (i * 7919 % 10_007, i * i % 9)) for i in range(40)])
    (path,) = segments(log)
    data, frames, unnoticed = log.storage.read(path), got(log), 0
    for bit in range(0, 8 * len(data), 3):
        log.storage.write(path, flipped(data, bit))
        (report,) = log.check()
        if report.problem:
            with pytest.raises(LakeError, match=f"at byte {report.damaged_at}"):
                got(log)
        else:
            assert got(log) == frames
            unnoticed += 1
    assert unnoticed < len(data) / 10


def test_repair_keeps_the_blocks_before_and_after_a_damage(three_blocks, log):
    path, data, borders = three_blocks
    frames = got(log)
    for junk in (b"", b"junk", b"\x28\xb5\x2f\xfd", data[borders[1] : borders[2] - 1], os.urandom(300)):
        log.storage.write(path, data[: borders[1]] + junk + data[borders[1] + 1 :])
        (report,) = log.check()
        assert (report.blocks, report.frames, report.damaged_at) == (2, 4, borders[1])
        assert (report.first_ns, report.last_ns) == (frames[0][0], frames[-1][0])
        (repair,) = log.repair()
        assert (repair.blocks_kept, repair.bytes_lost) == (2, borders[2] - borders[1] - 1 + len(junk))
        assert got(log) == frames[:2] + frames[4:]
    names = [p.rpartition(".")[2] for p in log.storage.list("", "") if "damaged" in p]
    assert names == ["damaged", "damaged-2", "damaged-3", "damaged-4", "damaged-5"]


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (b"", "size is missing"),
        (b"\n", "holds no frame"),
        (b"{}\n", "not a raw frame"),
        (b'[%d,"0","","x","y"]\n' % NOON, "not a raw frame"),
        (b'[%d,"0","","\xff"]\n' % NOON, "not a raw frame"),
        (b'[%d,"0","","x"]\n' % (NOON + DAY_NS), "received_ns must be"),
        (b'[%d,"0","","x"]\n[%d,"0","","y"]\n' % (NOON + 7 * 10**9, NOON + 6 * 10**9), "received_ns must be"),
    ],
)
def test_a_whole_block_of_wrong_content_is_a_damage(three_blocks, log, lines, problem):
    path, data, borders = three_blocks
    log.storage.write(path, data + zstandard.ZstdCompressor(write_checksum=True).compress(lines))
    with pytest.raises(LakeError, match=f"at byte {borders[3]}: .*{problem}"):
        got(log)
    (report,) = log.check()
    assert (report.blocks, report.damaged_at) == (3, borders[3])


def test_a_block_without_checksum_is_a_damage(three_blocks, log):
    path, data, borders = three_blocks
    line = b'[%d,"0","","x"]\n' % (NOON + 10**10)
    log.storage.write(path, data + zstandard.ZstdCompressor(write_checksum=False).compress(line))
    assert log.check()[0].damaged_at == borders[3]


def test_a_size_that_no_memory_holds_is_a_damage_and_not_asked_for(three_blocks, log):
    path, data, borders = three_blocks
    header = b"\x28\xb5\x2f\xfd" + bytes([0b11100100]) + (1 << 60).to_bytes(8, "little")
    log.storage.write(path, data + header + b"\x03\x00\x00x" + b"\0\0\0\0")
    assert log.check()[0].damaged_at == borders[3]


def test_a_block_larger_than_the_window_of_zstd_is_read(log):
    frame = json.dumps([i * 7919 % 100_003 for i in range(700_000)]).encode()
    assert len(frame) > 1 << 22
    record(log, [(NOON, frame)])
    assert got(log) == [(NOON, frame)]
    assert log.check()[0].problem == ""


def test_a_file_that_is_no_segment_is_named(log):
    log.storage.write("venue=bybit/date=2026-13-09/120000.000000-0-0.jsonl.zst", b"")
    with pytest.raises(LakeError, match="not the name of a raw segment"):
        log.venues()


def pack(path, lines):
    text = "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines).encode()
    path.write_bytes(
        gzip.compress(text) if path.suffix == ".gz" else zstandard.ZstdCompressor().compress(text[:99])
        + zstandard.ZstdCompressor().compress(text[99:])
    )  # fmt: skip
    return path


CAPTURE = [
    {"t": "header", "format": 2},
    {"t": "http", "conn": "h", "ts": 1786310817.6, "url": "https://x.com/v5/a?b=1&c=2", "data": '{"r":0}'},
    {"t": "connect", "conn": "w1", "ts": 1786310818.0, "addr": "wss://x.com/linear"},
    {"t": "connect", "conn": "w2", "ts": 1786310818.0, "addr": "wss://x.com/spot"},
    {"t": "send", "conn": "w1", "ts": 1786310818.1, "addr": "wss://x.com/linear", "data": "{}"},
    '{"t":"recv","conn":"w1","ts":1786310818.2235148,"data":"{\\"a\\":1}\\n"}\n',
    '{"t":"recv","conn":"w2","ts":1786310818.1,"data":"spot \\u00fc"}\n',
]


def test_a_cryptofeed_capture_keeps_its_times_to_the_digit(log, tmp_path):
    counts = import_capture(pack(tmp_path / "a.jsonl.zst", CAPTURE), log, "bybit")
    assert (counts.frames, counts.answers, counts.skipped) == (2, 1, {"header": 1, "connect": 2, "send": 1})
    assert list(log.read("bybit")) == [
        RawFrame(1786310817_600000000, "h", "/v5/a?b=1&c=2", '{"r":0}'),
        RawFrame(1786310818_100000000, "w2", "", "spot ü"),
        RawFrame(1786310818_223514800, "w1", "", '{"a":1}\n'),
    ]


def test_connections_of_another_address_are_left_out_and_counted(log, tmp_path):
    counts = import_capture(pack(tmp_path / "a.jsonl.zst", CAPTURE), log, "bybit", address="/linear")
    assert (counts.frames, counts.answers, counts.skipped["recv of another address"]) == (1, 1, 1)
    assert [f.connection for f in log.read("bybit")] == ["h", "w1"]


def test_a_stamped_capture_keeps_frames_and_names_the_snapshot(log, tmp_path):
    path = pack(tmp_path / "a.gz", [f'{NOON} {{"a":1}}\n', f'{NOON + 1} {{"lastUpdateId":5}}\n'])
    counts = import_capture(path, log, "binance", symbol="BTCUSDT")
    assert (counts.frames, counts.answers) == (1, 1)
    assert list(log.read("binance")) == [
        RawFrame(NOON, "0", "", '{"a":1}'),
        RawFrame(NOON + 1, "0", "/fapi/v1/depth?symbol=BTCUSDT", '{"lastUpdateId":5}'),
    ]


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("a.gz", [f"{NOON} x\n", "x y\n"], "line 2: not a line of a capture"),
        ("a.gz", [f'{NOON} {{"lastUpdateId":5}}\n'], "line 1: .*no symbol was given"),
        ("a.jsonl.zst", ['{"t":"recv","conn":"a","data":"x"}\n'], "line 1: not a line"),
        ("a.jsonl.zst", ['{"t":"header"}\n', '{"t":"recv","co'], "line 2: not a line"),
        ("a.csv", [], r"expected a capture named \.jsonl\.zst or \.gz"),
    ],
)
def test_what_is_no_capture_is_named_by_file_and_line(log, tmp_path, name, lines, message):
    with pytest.raises(DataError, match=f"{name}: {message}"):
        import_capture(pack(tmp_path / name, lines), log, "bybit")


def test_a_capture_that_is_not_packed_as_it_says_is_named(log, tmp_path):
    for name in ("a.gz", "a.jsonl.zst"):
        (tmp_path / name).write_bytes(b"plain text")
        with pytest.raises(DataError, match=f"{name}: line 1"):
            import_capture(tmp_path / name, log, "bybit")


@pytest.mark.real
@pytest.mark.parametrize("name", ["BYBIT", "BINANCE_FUTURES"])
def test_a_real_cryptofeed_capture_comes_back_frame_by_frame(recordings, log, name):
    path = recordings / "captures" / f"{name}.jsonl.zst"
    with path.open("rb") as file:
        lines = io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True))
        records = [json.loads(line, parse_float=Decimal) for line in lines]
    counts = import_capture(path, log, "venue")
    sent, came = {}, {}
    for r in records:
        if r["t"] in ("recv", "http"):
            sent.setdefault(r["conn"], []).append((r["ts"] * 10**9, r["data"].encode()))
    for frame in log.read("venue"):
        came.setdefault(frame.connection, []).append((frame.received_ns, frame.data))
    assert came == sent
    assert counts.frames + counts.answers == sum(map(len, sent.values())) > 100
    assert counts.frames + counts.answers + counts.skipped.total() == len(records)


@pytest.mark.real
def test_a_real_stamped_capture_comes_back_line_by_line(recordings, log):
    path = recordings / "captures" / "binance_usdm_btcusdt_20240808.gz"
    with gzip.open(path) as lines:
        sent = [line.rstrip(b"\n") for line in lines]
    counts = import_capture(path, log, "binance", symbol="BTCUSDT")
    came = [b"%d %s" % (f.received_ns, f.data) for f in log.read("binance")]
    assert (counts.frames + counts.answers, counts.answers) == (len(sent), 1)
    assert came == sorted(sent, key=lambda line: int(line.split(b" ")[0]))

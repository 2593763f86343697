"""Published archives as streams: checked against their checksum, unpacked in memory, read block by block.

    checksum(path) ─► blocks(path, layouts, types) ─► Piece ─► Days ─► settled(...) ─► Lake.write, a UTC day at a time

Nothing inside an archive chooses a path on disk, and no more than a block of it is in memory. Every fault is a
`DataError` of one line, as in `tables`.
"""

import contextlib
import gzip
import hashlib
import re
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, cast

import pyarrow as pa
import pyarrow.csv as pc_csv

from squeeze.errors import DataError
from squeeze.market.archives.block import TEXT, Block, Types
from squeeze.market.tables import faults

BLOCK = 8 << 20
"""Bytes of text that are parsed at a time: some 100,000 trades."""

LONGEST_LINE = 4 << 20
"""A line beyond this is damage, or a bomb of zeros; a book of 5,000 levels a side has 300 kB."""


def checksum(path: Path) -> str:
    """`verified`, or `none beside it`, by the file `NAME.CHECKSUM`; `DataError` where it does not fit."""
    beside = path.with_name(path.name + ".CHECKSUM")
    with faults(path.name):
        if not path.is_file():
            raise DataError(f"{path.name}: no such file in {path.parent}")
        if not beside.is_file():
            return "none beside it"
        words = beside.read_text(encoding="utf-8").split()
        if len(words) != 2 or not re.fullmatch(r"[0-9a-fA-F]{64}", words[0]) or words[1].lstrip("*") != path.name:
            raise DataError(f"{beside.name}: expected a SHA-256 and {path.name}, got {' '.join(words)[:120]!r}")
        with path.open("rb") as file:
            got = hashlib.file_digest(file, "sha256").hexdigest()
    if got != words[0].lower():
        raise DataError(f"{path.name}: expected the SHA-256 {words[0].lower()} of {beside.name}, got {got}")
    return "verified"


@contextlib.contextmanager
def unpacked(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of the one file that an archive holds, as a stream."""
    with contextlib.ExitStack() as stack:
        if path.name.endswith(".zip"):
            archive = stack.enter_context(zipfile.ZipFile(path))
            yield stack.enter_context(archive.open(inside(path, archive)))
        elif path.name.endswith((".tar.gz", ".tar")):
            tape = stack.enter_context(tarfile.open(path, "r|*"))
            members = (member for member in tape if not member.isdir())
            member = next(members, None)
            stream = tape.extractfile(member) if member and member.isreg() else None
            if stream is None:
                raise DataError(f"{path.name}: expected one file inside, got {member.name if member else 'nothing'}")
            yield stream
            if extra := next(members, None):
                raise DataError(f"{path.name}: expected one file inside, got {extra.name} as well")
        elif path.name.endswith(".gz"):
            with gzip.open(path) as unzipped:
                yield cast(IO[bytes], unzipped)
        else:
            yield stack.enter_context(path.open("rb"))


def inside(path: Path, archive: zipfile.ZipFile) -> str:
    """The name of the one file in a zip."""
    names = [entry for entry in archive.namelist() if not entry.endswith("/")]
    if len(names) != 1 or not names[0].lower().endswith((".csv", ".data")):
        raise DataError(f"{path.name}: expected exactly one CSV inside, got {', '.join(names[:5]) or 'nothing'}")
    return names[0]


def first_line(path: Path) -> str:
    """The first line of a file, unpacked."""
    with faults(path.name), unpacked(path) as stream:
        return stream.readline(LONGEST_LINE).decode().removeprefix("\ufeff").strip()


def lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The numbered lines of a file, unpacked; those that are empty are left out."""
    with faults(path.name), unpacked(path) as stream:
        for number, line in enumerate(iter(lambda: stream.readline(LONGEST_LINE), b"")):
            if len(line) >= LONGEST_LINE:
                raise DataError(f"{path.name}: row {number}: expected a line of less than {LONGEST_LINE} bytes")
            if line.strip():
                yield number, line


def blocks(path: Path, layouts: Sequence[str], types: Types, optional: Types | None = None) -> Iterator[Block]:
    """The rows of a CSV with or without a header row, as blocks that have the columns of `types`.

    `layouts` are the documented columns, for files without a header; with one, columns are found by their names, which
    may differ in case and underscores. A column of `optional` is there if the file has it.
    """
    wanted = dict(types) | dict(optional or {})
    names: list[str] = []
    first_row = 0
    for text in _texts(path):
        data = text
        if not names:
            head, _, rest = data.partition(b"\n")
            names, headed = _columns(path.name, head.decode().strip("\r\n"), layouts, types, wanted)
            data = rest if headed else data
        if not data.strip():
            continue
        present = {name: kind for name, kind in wanted.items() if name in names}
        block = Block(path.name, _parsed(path.name, data, names, present, first_row), first_row)
        first_row += block.table.num_rows
        yield block
    if not first_row:
        raise DataError(f"{path.name}: no rows")


def _texts(path: Path) -> Iterator[bytes]:
    """Blocks of whole lines."""
    left = b""
    with faults(path.name), unpacked(path) as stream:
        while data := stream.read(BLOCK):
            if not left:
                data = data.removeprefix(b"\xef\xbb\xbf")
            head, newline, tail = data.rpartition(b"\n")
            if newline:
                whole = left + head + newline
                whole.decode()  # raises where Arrow would, but not from within its own callback
                yield whole
                left = tail
            else:
                left += data
            if len(left) > LONGEST_LINE + BLOCK:
                raise DataError(f"{path.name}: expected lines of less than {LONGEST_LINE} bytes")
        if left:
            left.decode()
            yield left


def _columns(name: str, line: str, layouts: Sequence[str], needed: Types, wanted: Types) -> tuple[list[str], bool]:
    """The name of each column as the reader calls it, and whether the first line is a header."""
    cells = [cell.strip().strip('"') for cell in line.split(",")]
    documented = [layout.split(",") for layout in layouts]
    if re.fullmatch(r"[-+.0-9eE:TZ ]*", cells[0]) and cells[0]:
        fitting = next((columns for columns in documented if len(columns) == len(cells)), None)
        if fitting is None:
            counts = " or ".join(str(len(columns)) for columns in documented) or "a header with names of"
            raise DataError(f"{name}: row 0: expected {counts} columns, got {len(cells)}")
        return fitting, False
    known = {_plain(column): column for column in wanted}
    names = [known.get(_plain(cell), cell) for cell in cells]
    for column in needed:
        if names.count(column) != 1:
            problem = "missing" if column not in names else "there more than once"
            raise DataError(f"{name}: column {column} is {problem}; the columns are {', '.join(cells)}")
    return names, True


def _plain(column: str) -> str:
    return column.lower().replace("_", "")


def _parsed(name: str, data: bytes, names: list[str], types: Types, first_row: int) -> pa.Table:
    ragged: list[pc_csv.InvalidRow] = []

    def note(row: pc_csv.InvalidRow) -> str:
        ragged.append(row)
        return "skip"

    def parse(kinds: Types) -> pa.Table:
        ragged.clear()
        unique = [f"{i}:{n}" if n not in kinds else n for i, n in enumerate(names)]
        return pc_csv.read_csv(
            pa.BufferReader(data),
            pc_csv.ReadOptions(column_names=unique, use_threads=False, block_size=2 * len(data) + 1024),
            pc_csv.ParseOptions(invalid_row_handler=note),
            pc_csv.ConvertOptions(
                column_types=dict(kinds),
                include_columns=list(kinds),
                null_values=[""],
                strings_can_be_null=False,
                quoted_strings_can_be_null=False,
            ),
        )

    try:
        table = parse(types)
    except pa.ArrowInvalid:  # as text, so that the row can be named
        table = parse(dict.fromkeys(types, TEXT))
    if ragged:
        row = first_row + ragged[0].number - 1
        expected, got = ragged[0].expected_columns, ragged[0].actual_columns
        raise DataError(f"{name}: row {row}: expected {expected} columns, got {got}")
    return table

"""History folded into memory-mapped frames, addressed by what they depend on: spec, data and the code that makes
frames.

    OUT/<digest>/channels.npy    (step, side, channel, price) float32
                 scalars.npy     (step, side, scalar)         float32
                 swept.npy       (step, side)                 float64: share of open interest gone through in the step
                 marks.npy       (step, 4)                    float64: open, high, low, close
                 steps.npy       (step, 4)                    int64: close (ns), unhealthy, degraded, bin width × 1e12
                 meta.json       what they are, with size and SHA-256 of each file

All windows and blocks share the same arrays. The same inputs a second time do nothing; a build that was cut short is
gone on with (`folding`).
"""

import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

import squeeze
from squeeze.errors import DataError, LakeError
from squeeze.files import alone
from squeeze.market.lake import Lake
from squeeze.spec import MarketSpec, Spec
from squeeze.state import BLIND, MarketState
from training import folding
from training.folding import CHECKPOINT, Progress, fold, shapes_of

FRAME_CODE = (
    "spec.py", "state.py", "atlas.py", "atlas_spec.py", "venue_maps.py", "heatmaps", "patterns", "scalars", "zones",
    "market/steps.py", "market/tally.py", "market/venue_step.py", "market/events.py", "market/books.py",
    "market/depth.py", "market/depth_kernel.py", "market/tally_kernel.py", "market/conventions.py",
    "market/lake.py", "market/partitions.py", "market/rows.py",
)  # fmt: skip
"""What a frame depends on beside spec and data, and this file with `folding`: its source is part of the address."""


def silent(what: str, done: int, total: int) -> None:
    """Shows nothing."""


class Held(msgspec.Struct, frozen=True):
    """One array file, as it was when the build was done."""

    size: int
    """In bytes."""
    sha256: str


class Meta(msgspec.Struct, frozen=True):
    """What `meta.json` holds."""

    digest: str
    """The folder's name."""
    symbol: str
    data_digest: str
    steps: int
    refused: int
    """Steps that made no sense and were replaced by empty ones."""
    price_bins: int
    scalar_names: tuple[str, ...]
    channel_names: tuple[str, ...]
    spec: dict[str, Any]
    files: dict[str, Held]
    """By name of the array."""


SMALL_BYTES = 1 << 24
"""Files up to this size are compared with their digest whenever they are opened: a few hundredths of a second."""
HARDLY_MISSING = 0.99
"""Share of healthy frames with a channel, from which on it is required."""


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """One market's frames, step by step, memory-mapped."""

    symbol: str
    digest: str
    data_digest: str
    scalar_names: tuple[str, ...]
    channel_names: tuple[str, ...]
    closes_ns: np.ndarray
    unhealthy: np.ndarray
    degraded: np.ndarray
    bin_width_log: np.ndarray
    channels: np.ndarray
    scalars: np.ndarray
    swept: np.ndarray
    marks: np.ndarray

    @property
    def seen(self) -> np.ndarray:
        """Whether a step's frame shows anything: the network runs over these, and its state waits on the others."""
        return (self.unhealthy & BLIND) == 0

    def healthy_at(self, ts_ns: np.ndarray) -> np.ndarray:
        """The step that closes at each time; -1 where there is none or its frame is unhealthy."""
        at = np.searchsorted(self.closes_ns, ts_ns).clip(max=len(self.closes_ns) - 1)
        return np.where((self.closes_ns[at] == ts_ns) & (self.unhealthy[at] == 0), at, -1)


def build(
    lake: Lake,
    spec: Spec,
    market: MarketSpec,
    start_ns: int | None,
    until_ns: int | None,
    out: Path,
    progress: Progress = silent,
    *,
    verify: bool = False,
) -> Examples:
    """Fold a market's history into frames under `out`, unless just that was done before.

    With `verify` every file is compared with its digest, as `read` says. `LakeError` for what the lake lacks;
    `DataError` where the disk takes no more, and then the same call goes on later from the last checkpoint.
    """
    if market.open_interest is None and spec.map.open_interest == "stamps":
        raise LakeError(f"{market.symbol}: the map needs open interest, and the series has bars alone")
    spec = msgspec.structs.replace(spec, market=market)
    data_digest = lake.digest(market, start_ns, until_ns)
    digest = _address(spec, data_digest)
    folder = out / digest
    if not folder.exists():
        _fold(lake, spec, start_ns, until_ns, folder, data_digest, progress)
    return read(folder, verify=verify)


def known_rows(examples: "Examples", names: Sequence[str], positions: np.ndarray) -> np.ndarray:
    """(position, name): whether a step's frame shows anything of a channel, on either side."""
    at = [examples.channel_names.index(name) for name in names]
    parts = [examples.channels[some] for some in np.array_split(positions, max(1, len(positions) // 4096))]
    return np.concatenate([np.isfinite(part[:, :, at]).any(axis=(1, 3)) for part in parts])


def required_channels(examples: Examples, positions: np.ndarray, units: int, most: int = 20_000) -> tuple[str, ...]:
    """Channels beyond the unit maps that nearly every healthy frame at these positions shows, evenly sampled.

    What a model has hardly ever been without it must not be run without (law 3): it has not learned what that means.
    """
    names = examples.channel_names[units:]
    healthy = positions[examples.unhealthy[positions] == 0]
    if not names or not len(healthy):
        return ()
    share = known_rows(examples, names, healthy[:: -(-len(healthy) // most)]).mean(axis=0)
    return tuple(name for name, known in zip(names, share, strict=True) if known >= HARDLY_MISSING)


def alike(series: Sequence[Examples]) -> None:
    """Refuse to pool markets whose frames have other scalars or channels than the first's, with a `DataError`."""
    first = series[0]
    for other in series[1:]:
        for what in ("scalar_names", "channel_names"):
            ours, theirs = getattr(first, what), getattr(other, what)
            if ours != theirs:
                odd = sorted(set(ours) ^ set(theirs))[:5] or "the order"
                raise DataError(f"{other.symbol} and {first.symbol} cannot be pooled: their {what} differ in {odd}")


def read(folder: Path, *, verify: bool = False) -> Examples:
    """The frames of a folder that `build` wrote; `DataError` for one that is not whole, or not what its name says.

    Of every file the size is looked at, of small ones the digest too, and of all with `verify`, which reads them.
    """
    place = folder / "meta.json"
    try:
        meta = msgspec.json.decode(place.read_bytes(), type=Meta)
    except OSError as error:
        raise DataError(f"{place}: cannot be read: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise DataError(f"{place}: does not say what frames these are: {error}; delete the folder") from None
    if meta.digest != folder.name:
        raise DataError(f"{place}: expected the digest {folder.name}, found {meta.digest}; delete the folder")
    shapes = shapes_of(len(meta.channel_names), meta.price_bins, len(meta.scalar_names))
    arrays = {
        name: _mapped(folder / f"{name}.npy", (meta.steps, *shape), np.dtype(dtype))
        for name, (shape, dtype) in shapes.items()
    }
    for name in shapes:
        _check_held(folder / f"{name}.npy", meta.files.get(name), verify)
    steps = arrays.pop("steps")
    return Examples(
        meta.symbol, meta.digest, meta.data_digest, meta.scalar_names, meta.channel_names,
        steps[:, 0], steps[:, 1], steps[:, 2], steps[:, 3] * 1e-12, **arrays,
    )  # fmt: skip


def _mapped(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:  # absent, empty, cut off, or no array at all
        raise DataError(f"{path}: cannot be read: {error}; delete the folder") from None
    if (array.shape, array.dtype) != (shape, dtype):
        raise DataError(
            f"{path}: expected {dtype} {shape}, as meta.json says; found {array.dtype} {array.shape}; delete the folder"
        )
    return array


def _check_held(path: Path, held: Held | None, verify: bool) -> None:
    """Refuse a file that is not the one that the build left."""
    if held is None:
        raise DataError(f"{path}: meta.json keeps no digest of it; delete the folder")
    size = path.stat().st_size
    if size != held.size:
        raise DataError(f"{path}: expected {held.size} bytes, found {size}; delete the folder")
    if (verify or size <= SMALL_BYTES) and (found := _sha256(path)) != held.sha256:
        raise DataError(
            f"{path}: expected the SHA-256 {held.sha256[:16]}…, found {found[:16]}…: it was changed after the build; "
            "delete the folder"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _address(spec: Spec, data_digest: str) -> str:
    parts = (spec.market, spec.map, spec.frame, spec.atlas, spec.version)
    code = hashlib.sha256()
    package = Path(squeeze.__file__).parent
    places = [package / name for name in FRAME_CODE] + [Path(__file__), Path(folding.__file__)]
    for place in places:
        for file in sorted(place.glob("*.py")) if place.is_dir() else [place]:
            code.update(file.read_bytes())
    said = msgspec.json.encode(parts, order="sorted") + data_digest.encode()
    return hashlib.sha256(said + code.digest()).hexdigest()[:24]


def _fold(
    lake: Lake,
    spec: Spec,
    start_ns: int | None,
    until_ns: int | None,
    folder: Path,
    data_digest: str,
    progress: Progress,
) -> None:
    """Make a folder under another name, and give it its own when it is whole. One at a time in a place: who wants the
    same meanwhile waits, and finds it.
    """
    part = folder.with_name(f".{folder.name}.part")
    try:
        with alone(folder.parent):
            if folder.exists():
                return
            part.mkdir(exist_ok=True)
            try:
                count, refused = fold(lake, spec, start_ns, until_ns, part, progress)
                _write_meta(part / "meta.json", spec, folder.name, data_digest, count, refused)
                (part / CHECKPOINT).unlink(missing_ok=True)
                os.replace(part, folder)
            finally:
                if not (part / CHECKPOINT).exists():  # nothing to go on from
                    shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise DataError(
            f"{part}: cannot be written: {error.strerror or error}; with room on the disk the same command goes on "
            f"from the last checkpoint"
        ) from None


def _held(folder: Path, state: MarketState, spec: Spec) -> dict[str, Held]:
    """The files of a finished build."""
    shapes = shapes_of(len(state.channel_names), spec.frame.price_bins, len(state.scalar_names))
    paths = {name: folder / f"{name}.npy" for name in shapes}
    return {name: Held(path.stat().st_size, _sha256(path)) for name, path in paths.items()}


def _write_meta(path: Path, spec: Spec, digest: str, data_digest: str, count: int, refused: int) -> None:
    state = MarketState(spec)
    meta = Meta(
        digest, spec.market.symbol, data_digest, count, refused, spec.frame.price_bins, state.scalar_names,
        state.channel_names, msgspec.to_builtins(spec), _held(path.parent, state, spec),
    )  # fmt: skip
    with path.open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(meta), indent=1))
        file.flush()
        os.fsync(file.fileno())

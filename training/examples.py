"""History folded into memory-mapped frames, addressed by what they depend on: spec, data and the code that makes
frames.

    OUT/<digest>/channels.npy    (step, side, bucket, price)  float32
                 scalars.npy     (step, side, scalar)         float32
                 swept.npy       (step, side)                 float64: share of open interest gone through in the step
                 marks.npy       (step, 4)                    float64: open, high, low, close
                 steps.npy       (step, 4)                    int64: close (ns), unhealthy, degraded, bin width × 1e12
                 meta.json

A folder is written under another name and renamed when it is whole; the same inputs a second time do nothing.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

import squeeze
from squeeze.errors import LakeError
from squeeze.files import whole
from squeeze.market.lake import Lake, read_events
from squeeze.market.steps import steps
from squeeze.spec import MarketSpec, Spec
from squeeze.state import BLIND, Frame, MarketState

FRAME_CODE = (
    "state.py", "market/steps.py", "market/tally.py", "market/venue_step.py", "market/events.py", "market/books.py",
    "market/depth.py", "heatmaps", "scalars", "zones",
)  # fmt: skip
"""What a frame depends on beside spec and data; its source is part of the address."""

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


def silent(what: str, done: int, total: int) -> None:
    """Shows nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """One market's frames, step by step, memory-mapped."""

    symbol: str
    digest: str
    data_digest: str
    scalar_names: tuple[str, ...]
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


def build(
    lake: Lake,
    spec: Spec,
    market: MarketSpec,
    start_ns: int | None,
    until_ns: int | None,
    out: Path,
    progress: Progress = silent,
) -> Examples:
    """Fold a market's history into frames under `out`, unless just that was done before."""
    spec = msgspec.structs.replace(spec, market=market)
    if market.open_interest is None and spec.map.open_interest == "stamps":
        raise LakeError(f"{market.symbol}: the map needs open interest, and the series has bars alone")
    data_digest = lake.digest(market, start_ns, until_ns)
    digest = _address(spec, data_digest)
    folder = out / digest
    if not folder.exists():
        _fold(lake, spec, start_ns, until_ns, folder, data_digest, progress)
    return read(folder)


def read(folder: Path) -> Examples:
    """The frames of a folder that `build` wrote."""
    meta = json.loads((folder / "meta.json").read_text())
    steps_ = np.load(folder / "steps.npy", mmap_mode="r")
    arrays = {
        name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("channels", "scalars", "swept", "marks")
    }
    return Examples(
        meta["symbol"], folder.name, meta["data_digest"], tuple(meta["scalar_names"]),
        steps_[:, 0], steps_[:, 1], steps_[:, 2], steps_[:, 3] * 1e-12, **arrays,
    )  # fmt: skip


def _address(spec: Spec, data_digest: str) -> str:
    frame_spec = msgspec.json.encode((spec.market, spec.map, spec.frame, spec.version), order="sorted")
    code = hashlib.sha256()
    package = Path(squeeze.__file__).parent
    for name in FRAME_CODE:
        place = package / name
        for file in sorted(place.glob("*.py")) if place.is_dir() else [place]:
            code.update(file.read_bytes())
    return hashlib.sha256(frame_spec + data_digest.encode() + code.digest()).hexdigest()[:24]


def _fold(
    lake: Lake,
    spec: Spec,
    start_ns: int | None,
    until_ns: int | None,
    folder: Path,
    data_digest: str,
    progress: Progress,
) -> None:
    state = MarketState(spec)
    counted = lake.columns_of(spec.market.bars, spec.market.symbol, start_ns, until_ns)
    known = [c["known_at_ns"] for c in counted.values() if len(c["known_at_ns"])]
    if not known:
        kinds = " or ".join(spec.market.bars.kinds)
        raise LakeError(f"{lake.root}: no {kinds} of {spec.market.symbol} in the range that the run asks for")
    first, last = min(int(k[0]) for k in known), max(int(k[-1]) for k in known)
    total = (last - first) // state.length_ns + 2
    with whole(folder) as part:
        part.mkdir()
        count = _write_frames(lake, spec, state, start_ns, until_ns, part, total, progress)
        meta = {
            "symbol": spec.market.symbol,
            "data_digest": data_digest,
            "scalar_names": state.scalar_names,
            "steps": count,
        }
        (part / "meta.json").write_text(json.dumps(meta | {"spec": msgspec.to_builtins(spec)}, indent=1))


def _write_frames(
    lake: Lake,
    spec: Spec,
    state: MarketState,
    start_ns: int | None,
    until_ns: int | None,
    folder: Path,
    total: int,
    progress: Progress,
) -> int:
    """Advance through history, frame by frame onto disk; how many steps."""
    shapes: dict[str, tuple[tuple[int, ...], Any]] = {
        "channels": ((2, len(spec.map.leverages), spec.frame.price_bins), np.float32),
        "scalars": ((2, len(state.scalar_names)), np.float32),
        "swept": ((2,), np.float64),
        "marks": ((4,), np.float64),
        "steps": ((4,), np.int64),
    }
    count = 0
    with contextlib.ExitStack() as stack:
        files = {name: stack.enter_context((folder / f"{name}.npy").open("wb")) for name in shapes}
        for name, (shape, dtype) in shapes.items():
            _header(files[name], 0, shape, dtype)
        for step in steps(read_events(lake, spec.market, start_ns, until_ns), spec.market.symbol, state.length_ns):
            for name, array in _arrays(state.advance(step)).items():
                files[name].write(array.tobytes())
            count += 1
            if count % 2000 == 0:
                progress(f"folding {spec.market.symbol}", count, total)
        for name, (shape, dtype) in shapes.items():
            files[name].seek(0)
            _header(files[name], count, shape, dtype)
    progress(f"folding {spec.market.symbol}", count, count)
    return count


def _arrays(frame: Frame) -> dict[str, np.ndarray]:
    """One frame as rows of the files."""
    width = 0 if np.isnan(frame.bin_width_log) else round(frame.bin_width_log * 1e12)
    mark = frame.mark
    return {
        "channels": frame.channels,
        "scalars": frame.scalars,
        "swept": frame.swept_share,
        "marks": np.array([mark.open, mark.high, mark.low, mark.close]),
        "steps": np.array([frame.close_ns, frame.unhealthy, frame.degraded, width], np.int64),
    }


def _header(file: Any, count: int, shape: tuple[int, ...], dtype: Any) -> None:
    """A .npy header of fixed length, so that the count can be filled in at the end."""
    text = (
        f"{{'descr': '{np.dtype(dtype).str}', 'fortran_order': False, 'shape': {(count, *shape)!r}, }}".ljust(117)
        + "\n"
    )
    file.write(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode())

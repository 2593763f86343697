"""The aggregated maps at one close, and as rows of a file."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from squeeze.state import Frame, MarketState

VERSION = "1"
MAPS = ("liquidation", "volume", "interest", "book")
FLOWS = 8
"""Rows of `coins`: `liquidation_step.HELD` and what follows it."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Snapshot:
    """The aggregated maps at the close of a step; NaN where something was not recorded or is not covered.

    Maps are (side, bin), float32, by whole grid bins *outward* from the mark's own bin, side 0 down and side 1 up.
    """

    close_ns: int
    """When all of it was known."""
    mark: float
    mark_low: float
    """Least and greatest mark since the snapshot kept before, as far as that was written."""
    mark_high: float
    mark_bin: int
    """Absolute bin of the mark: floor(ln mark / bin_log)."""
    bin_log: float
    open_interest_base: float
    """Of all venues."""
    liquidation: np.ndarray
    """Prior-weighted coins that would be liquidated, all venues."""
    volume: np.ndarray
    """Coins traded, of the first venue's first window."""
    interest: np.ndarray
    """Coins of open interest opened, of the first venue's second window."""
    book: np.ndarray
    """USD that rest, summed over venues that cover the bin."""
    coins: np.ndarray
    """(flow, side): coins the liquidation maps hold, then what went in and out since their start, prior-weighted."""

    @property
    def liquidation_usd(self) -> np.ndarray:
        """(side, bin): `liquidation` at the mark."""
        usd: np.ndarray = self.liquidation * self.mark
        return usd

    def prices(self) -> np.ndarray:
        """(side, bin): the middle of each bin."""
        outward = np.array([[-1.0], [1.0]]) * np.arange(self.liquidation.shape[1])
        middles: np.ndarray = np.exp((self.mark_bin + outward + 0.5) * self.bin_log)
        return middles


def snapshot_of(state: MarketState, frame: Frame) -> Snapshot | None:
    """What the maps show after `state` made `frame`; None for a step without a mark, or before open interest is known.

    Without an atlas in the spec there is the liquidation map alone, and the others are NaN.
    """
    mark, spec = frame.mark, state.spec
    bin_log = spec.map.bin_log
    if math.isnan(mark.close) or not state.map.open_interest_base > 0:
        return None
    bins = round(spec.frame.zone_reach_log / bin_log)
    nothing = np.full((2, bins), np.nan, np.float32)
    here = math.floor(math.log(mark.close) / bin_log)
    if state.atlas is None or state.atlas.scene is None:
        mass, _ = state.map.profile(mark.close, bins)
        return Snapshot(
            frame.close_ns, mark.close, mark.low, mark.high, here, bin_log, state.map.open_interest_base,
            mass.astype(np.float32), nothing, nothing, nothing, state.map.coins @ state.map.prior,
        )  # fmt: skip
    scene = state.atlas.scene
    total = float(scene.now["open_interest_base"][0])
    held = [venue.liquidation for venue in state.atlas.venues if venue.open_interest_base > 0]
    return Snapshot(
        frame.close_ns, mark.close, mark.low, mark.high, here, bin_log, total, (scene.heat * total).astype(np.float32),
        scene.volume.astype(np.float32), scene.interest.astype(np.float32), scene.book.astype(np.float32),
        np.sum([one.coins @ one.prior for one in held], axis=0),
    )  # fmt: skip


NUMBERS = {f.name: f.type for f in fields(Snapshot) if f.type in (int, float) and f.name != "bin_log"}
DTYPES = {int: np.dtype(np.int64), float: np.dtype(np.float64)}


def table_of(held: Sequence[Snapshot], symbol: str) -> Any:
    """One row for each; the metadata have a digest of all values: Parquet's own checksums leave its headers out."""
    import pyarrow as pa

    columns = {name: np.array([getattr(one, name) for one in held], DTYPES[kind]) for name, kind in NUMBERS.items()}
    for name in (*MAPS, "coins"):
        columns[name] = np.stack([getattr(one, name) for one in held]).reshape(len(held), -1)
    arrays = {
        name: pa.array(cells) if cells.ndim == 1 else pa.FixedSizeListArray.from_arrays(cells.ravel(), cells.shape[1])
        for name, cells in columns.items()
    }
    bin_log = held[0].bin_log
    meta = {"maps": VERSION, "symbol": symbol, "bin_log": repr(bin_log), "digest": _digest(columns, bin_log)}
    return pa.table(arrays).replace_schema_metadata(meta)


def snapshots_of(table: Any, symbol: str) -> list[Snapshot]:
    """What `table_of` put in; `ValueError` or `KeyError` for anything else."""
    meta = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    if meta.get("maps") != VERSION or meta["symbol"] != symbol:
        raise ValueError(f"expected maps of {symbol} in version {VERSION}, got {meta}")
    count = len(table)
    columns = {name: table[name].to_numpy() for name in NUMBERS}
    for name in (*MAPS, "coins"):
        columns[name] = table[name].combine_chunks().flatten().to_numpy().reshape(count, -1)
    bin_log = float(meta["bin_log"])
    if _digest(columns, bin_log) != meta["digest"]:
        raise ValueError("its values are not those that were written")
    numbers = {name: columns[name].tolist() for name in NUMBERS}
    shaped = {name: columns[name].reshape(count, 2, -1) for name in MAPS}
    shaped["coins"] = columns["coins"].reshape(count, FLOWS, 2)
    return [
        Snapshot(bin_log=bin_log, **{name: column[i] for name, column in (numbers | shaped).items()})
        for i in range(count)
    ]


def _digest(columns: dict[str, np.ndarray], bin_log: float) -> str:
    """SHA-256, in hex, of names and values."""
    digest = hashlib.sha256(repr(bin_log).encode())
    for name, cells in columns.items():
        digest.update(name.encode() + np.ascontiguousarray(cells, cells.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()

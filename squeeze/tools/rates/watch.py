"""Simulated markets folded as the live path would fold them: which flags were up at each close, and what came after.

All that a frame says was known at its close. What comes after is looked up in the simulator's own record.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import msgspec
import numpy as np
from jaxtyping import Bool, Float, Int, Int64

from squeeze.market.events import DAY_NS, MINUTE_NS
from squeeze.patterns.catalogue import NAMES
from squeeze.simulator.market import SimulatedMarket, simulate
from squeeze.simulator.publish import Publication, market_events
from squeeze.simulator.spec import BINANCE, BYBIT, OKX, SimulatorSpec, Stops, Thinning, Walls
from squeeze.simulator.truth import Cascade, onsets
from squeeze.spec import Spec
from squeeze.state import BLIND
from squeeze.tools.fold import folded, simulated_spec
from squeeze.tools.rates.walls import Compared, WallBook

HORIZON_MINUTES = 60
"""A cascade follows a flag if it begins within this time."""
APART_MINUTES = 5
"""The simulator takes cascades less far apart for one: so soon after an end none can begin."""
PARTS = 20
"""Parts of outside volatility within which times are alike."""
EXCITED = (0.05, 1.0, 4.0)
"""Borders of how many orders of a side were forced lately, one counting for less and less."""

Zones = Literal["matter", "do_not_matter"]

LEVERS: dict[str, tuple[str, int | None]] = {
    "accumulation": ("least_growth", None),
    "stacked_zones": ("least_zones", 0),
    "thinning": ("least_thinning", None),
    "migration": ("least_drift_log", None),
    "asymmetry": ("least_asymmetry", None),
    "voids": ("least_length_log", 1),
    "depletion": ("least_confirmed", 0),
    "heat_divergence": ("least_asymmetry", 0),
    "venue_divergence": ("nearest_gap_log", 1),
    "convergence": ("least_votes", 0),
    "spoofed_wall": ("least_pulls", 0),
    "absorbed_wall": ("least_traded_share", 0),
    "iceberg": ("least_traded_share", 0),
    "shielded_cluster": ("least_ratio", 0),
    "stale_timeframe": ("most_old_share", 0),
    "trend_alignment": ("least_deviations", None),
    "approach_velocity": ("least_sigmas", 2),
}
"""The threshold that does the most, and the number of the evidence that is held against it; None is the score."""


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """Steps of one market, or of several one after the other, in which the map was warm."""

    day: Int[np.ndarray, " step"]
    """No two markets share one."""
    told: Bool[np.ndarray, "step pattern side"]
    flag: Bool[np.ndarray, "step pattern side"]
    rose: Bool[np.ndarray, "step pattern side"]
    """The flag is up and was down in the step before."""
    lever: Float[np.ndarray, "step pattern side"]
    """What the threshold of `LEVERS` is held against; NaN where it is not known, or there is none."""
    ahead: Bool[np.ndarray, "step side"]
    """Whether a cascade of the side begins within the horizon: this looks ahead."""
    free: Bool[np.ndarray, "step side"]
    """Whether one can begin: none is running, and the record goes on for the horizon."""
    volatility: Int[np.ndarray, " step"]
    """Which of `PARTS` the hidden outside volatility falls into, by all steps of its market."""
    excited: Int[np.ndarray, "step side"]
    """Between which of `EXCITED` the orders lie that were forced lately."""


def market_spec(zones: Zones, days: int) -> SimulatorSpec:
    """A market of three venues in which zones matter, holders leave and half of the walls are spoofs; or none of these.

    Venues share one price, without a basis.
    """
    null = zones == "do_not_matter"
    return SimulatorSpec(
        days=days, venues=(BYBIT, BINANCE, OKX), stops=Stops(), zones=zones, detail=True,
        walls=Walls(genuine_share=1.0 if null else 0.5), thinning=None if null else Thinning(),
    )  # fmt: skip


def spec_of(warm_up_days: int) -> Spec:
    """What these markets are folded with: all defaults, with the atlas."""
    spec = simulated_spec()
    return msgspec.structs.replace(spec, market=msgspec.structs.replace(spec.market, warm_up_hours=24.0 * warm_up_days))


def measure(
    zones: Zones, days: int, warm_up_days: int, seeds: Sequence[int], tell: Callable[[str], None]
) -> tuple[Watched, list[Compared]]:
    """Markets of so many days after the warm-up, one for each seed, simulated and watched; walls by market."""
    watched, walls = [], []
    for number, seed in enumerate(seeds):
        tell(f"zones {zones.replace('_', ' ')}, seed {seed}")
        market = simulate(market_spec(zones, days + warm_up_days), seed)
        one, compared = watch(market, spec_of(warm_up_days))
        watched.append(replace(one, day=one.day - one.day.min(initial=0) + number * (days + 1)))
        walls.append(compared)
    return joined(watched), walls


def watch(market: SimulatedMarket, spec: Spec) -> tuple[Watched, Compared]:
    """Fold all that a market publishes: trades, a book a minute and the rest. Steps without a warm map are left out."""
    closes, scores, flags, values, book = [], [], [], [], WallBook()
    end_ns = int(market.minute_ns[-1]) + MINUTE_NS
    for _, _, frame in folded(spec, market_events(market, Publication(prices="trades", book_minutes=1))):
        if frame.unhealthy & BLIND or frame.page is None or frame.close_ns > end_ns:
            continue
        closes.append(frame.close_ns)
        scores.append(frame.page.found["score"].copy())
        flags.append(frame.page.found["flag"] > 0)
        values.append(levers(frame.page.found))
        book.note(frame.page.scene.walls, frame.close_ns)
    shape = (len(closes), len(NAMES), 2)
    closes_ns, flag = np.array(closes, np.int64), np.array(flags, bool).reshape(shape)
    ahead, free = cascades_ahead(closes_ns, onsets(market), end_ns)
    minute = (closes_ns - int(market.minute_ns[0])) // MINUTE_NS - 1
    watched = Watched(
        day=(closes_ns - MINUTE_NS) // DAY_NS,
        told=~np.isnan(np.array(scores, float).reshape(shape)),
        flag=flag,
        rose=rises(flag),
        lever=np.array(values, float).reshape(shape),
        ahead=ahead,
        free=free,
        volatility=parts(outside_volatility(market)[minute], PARTS),
        excited=np.searchsorted(EXCITED, excitement(market)[minute]).astype(np.int64),
    )
    return watched, book.compared(market, closes_ns, spec.map.bin_log, spec.market.venue_names())


def levers(found: np.ndarray) -> Float[np.ndarray, "pattern side"]:
    """What each pattern's main threshold is held against."""
    out = np.full(found.shape, np.nan)
    for i, name in enumerate(NAMES):
        if name in LEVERS:
            place = LEVERS[name][1]
            out[i] = found[i]["score"] if place is None else found[i]["evidence"][:, place]
    return out


def joined(watched: Sequence[Watched]) -> Watched:
    """Several as one."""
    return Watched(*(np.concatenate([getattr(one, field.name) for one in watched]) for field in fields(Watched)))


def rises(flag: Bool[np.ndarray, "step *rest"]) -> Bool[np.ndarray, "step *rest"]:
    """Steps in which a flag goes up; one that is up from the first step on has not risen.

    >>> rises(np.array([True, False, True, True, False, True])).astype(int).tolist()
    [0, 0, 1, 0, 0, 1]
    """
    out = np.zeros_like(flag)
    out[1:] = flag[1:] & ~flag[:-1]
    return out


def cascades_ahead(
    closes_ns: Int64[np.ndarray, " step"], cascades: Sequence[Cascade], end_ns: int
) -> tuple[Bool[np.ndarray, "step side"], Bool[np.ndarray, "step side"]]:
    """Whether a cascade begins within the horizon after each close, and whether one can: see `Watched`."""
    ahead, free = np.zeros((len(closes_ns), 2), bool), np.zeros((len(closes_ns), 2), bool)
    horizon_ns, apart_ns = HORIZON_MINUTES * MINUTE_NS, APART_MINUTES * MINUTE_NS
    for side in range(2):
        own = [each for each in cascades if each.side == side]
        begins, ends = (np.array([getattr(each, name) for each in own], np.int64) for name in ("onset_ns", "end_ns"))
        next_ns = np.append(begins, np.iinfo(np.int64).max)[np.searchsorted(begins, closes_ns, "right")]
        ahead[:, side] = next_ns <= closes_ns + horizon_ns
        running = np.searchsorted(begins, closes_ns, "right") > np.searchsorted(ends + apart_ns, closes_ns, "right")
        free[:, side] = ~running & (closes_ns + horizon_ns <= end_ns)
    return ahead, free


def outside_volatility(market: SimulatedMarket) -> Float[np.ndarray, " minute"]:
    """The hidden volatility outside at each close, which forced orders follow where zones do not matter."""
    detail, substeps = market.detail(), market.spec.substeps
    last = detail.first_step + substeps * (1 + np.arange(len(market.minute_ns))) - 1
    return np.asarray(detail.outside.sigma[last])


def excitement(market: SimulatedMarket) -> Float[np.ndarray, "minute side"]:
    """Orders of each side forced by each close, fading with the half-life of the null: there, all that else counts."""
    decay = 0.5 ** (1 / market.spec.null.half_life_minutes)
    minute = (market.liquidation_ns - market.minute_ns[0]) // MINUTE_NS
    left = 1.0 - (market.liquidation_ns - market.minute_ns[minute]) / MINUTE_NS
    cells = 2 * minute + market.liquidation_side
    fresh = np.bincount(cells, decay**left, 2 * len(market.minute_ns)).reshape(-1, 2)
    out = np.zeros_like(fresh)
    out[0] = fresh[0]
    for i in range(1, len(fresh)):
        out[i] = decay * out[i - 1] + fresh[i]
    return out


def parts(values: Float[np.ndarray, " step"], count: int) -> Int[np.ndarray, " step"]:
    """Which of so many equal parts of all values each falls into.

    >>> parts(np.array([1.0, 9.0, 4.0, 7.0]), 2).tolist()
    [0, 1, 0, 1]
    """
    borders = np.quantile(values, np.arange(1, count) / count) if len(values) else np.zeros(0)
    return np.asarray(np.searchsorted(borders, values, "right"))

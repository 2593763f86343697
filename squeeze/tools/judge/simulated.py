"""The map judged where the truth is known: on simulated markets of seeds and parameters that nothing was chosen on.

Each market is 90 days: 14 to warm the map up, weights fitted on what follows, and the last 45 days judged.
"""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np

from squeeze.errors import DataError
from squeeze.heatmaps.weights import fit
from squeeze.market.events import MINUTE_NS
from squeeze.simulator import (
    BINANCE,
    BYBIT,
    OKX,
    CrossMargin,
    SimulatedMarket,
    SimulatorSpec,
    Stops,
    Thinning,
    simulate,
)
from squeeze.simulator.truth import Ledger, ledger, true_map
from squeeze.spec import MapSpec
from squeeze.tools.judge import captures, thinning, volumes
from squeeze.tools.judge.estimators import Drawing, Finding
from squeeze.tools.judge.findings import FITTED, PRIOR, TILTED, findings
from squeeze.tools.judge.levels import LEVELS, WIDTH_LOG, ByLevel, freeze, mixed, moments, of_prints
from squeeze.tools.judge.past import OF_SPEC, POPULAR, Past, judged_spec, swept_of
from squeeze.tools.judge.past import simulated as told
from squeeze.tools.judge.pool import EVEN, Pool

WARM_UP_DAYS, JUDGED_SHARE = 14, 0.5
HORIZONS_MINUTES = (60, 1440)
TRUTH_HOURS = 4
CHOSEN_ON, JUDGED_ON = (0, 1), (101, 102)
TURNOVERS = (0.02, 0.05, 0.10, 0.25)
TILTS = ((0.0, 0.0), (1.0, 0.0), (3.0, 0.0), (10.0, 0.0), (0.0, 1.0), (0.0, 3.0), (3.0, 3.0))
ZONES_OF_MARKETS = "thinning: zones of markets with leavers from those without"
ZONES_OF_ONE = "thinning: zones that leavers left from those none left"

MARKETS = {
    "as chosen on": SimulatorSpec(),
    "more leverage, deeper book": SimulatorSpec(
        taker_leverage=20.0, maker_leverage=8.0, closes_per_day=1.2, depth_usd=50e6, daily_volatility=0.018
    ),
    "cross margin and stops": SimulatorSpec(cross=CrossMargin(), stops=Stops()),
    "three venues": SimulatorSpec(venues=(BYBIT, BINANCE, OKX), venue_basis_bps=2.0),
    "leavers": SimulatorSpec(thinning=Thinning()),
}
"""Markets in which zones matter; all but the first have other parameters than those on which anything was chosen."""
MIXED, NULL = "zones matter by half", "zones do not matter"
GROUPS = {
    "zones matter": MARKETS,
    MIXED: {MIXED: SimulatorSpec(zones="mixed")},
    NULL: {NULL: SimulatorSpec(zones="do_not_matter")},
}

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A simulated market, and what of it is judged."""

    market: SimulatedMarket
    positions: Ledger
    past: Past
    judged_from: int
    """Its first minute."""

    @property
    def since_ns(self) -> int:
        """When judging begins."""
        return int(self.market.minute_ns[self.judged_from])


def case_of(spec: SimulatorSpec, seed: int, days: int) -> Case:
    """A market played with all its truth; `DataError` for one too short to warm up, fit and judge."""
    if days < WARM_UP_DAYS + 16:
        raise DataError(f"--days: a market is judged over {WARM_UP_DAYS + 16} days or more, got {days}")
    market = simulate(msgspec.structs.replace(spec, days=days, detail=True), seed)
    judged_from = 1440 * round(days * (1 - JUDGED_SHARE))
    return Case(market, ledger(market), told(market, WARM_UP_DAYS), judged_from)


def truth_at(case: Case, rows: np.ndarray) -> ByLevel:
    """The true map, USD by levels outward from the mark, at the close of each of these minutes; all venues' sum."""
    steps = WIDTH_LOG * np.arange(-LEVELS, LEVELS + 1)
    found = np.empty((len(rows), 2, LEVELS))
    for i, row in enumerate(rows.tolist()):
        edges = case.past.mark[row, 2] * np.exp(steps)
        held = true_map(case.market, row, edges, case.positions).sum(axis=0)
        found[i] = held[0, LEVELS - 1 :: -1], held[1, LEVELS:]
    return found


def liquidated_base(market: SimulatedMarket) -> np.ndarray:
    """Base coins liquidated by minute and side."""
    minute = (market.liquidation_ns - market.minute_ns[0]) // MINUTE_NS
    cells, count = 2 * minute + market.liquidation_side, len(market.minute_ns)
    coins = market.liquidation_usd / market.liquidation_mark
    return np.asarray(np.bincount(cells, coins, 2 * count).reshape(count, 2))


def choose(days: int, drawing: Drawing, tell: Tell) -> list[Finding]:
    """Turnover κ and tilt of closes, on the seeds kept for choosing: mean rank correlation over bands and sides."""
    asked: dict[str, dict[str, float]] = {f"κ = {kappa:g}": {"turnover": kappa} for kappa in TURNOVERS}
    for near, profit in TILTS:
        asked[f"tilt near {near:g}, profit {profit:g}"] = {"close_tilt_near": near, "close_tilt_profit": profit}
    default, found = "tilt near 0, profit 0", []
    for name in ("as chosen on", "leavers"):
        pool, measure = Pool(drawing), "mean rank correlation of five bands and two sides"
        for seed in CHOSEN_ON:
            tell(f"choosing on {name}, seed {seed}")
            case = case_of(MARKETS[name], seed, days)
            rows = moments(case.past, 60 * TRUTH_HOURS, case.since_ns)
            truth, days_of = truth_at(case, rows), case.past.closes_ns[rows] // (1440 * MINUTE_NS)
            for label, changes in asked.items():
                spec = judged_spec(MapSpec(), **changes)
                rho = captures.mean_rank_correlation(mixed(freeze(case.past, spec, rows), _prior(spec)), truth)
                pool.add(measure, label, rho, np.ones(len(rho)), days_of)
            pool.next_market()
        found += [pool.ratio(measure, f"{name}, seeds 0 and 1", label, default) for label in asked]
    return found


def judge(days: int, tilt: tuple[float, float], drawing: Drawing, tell: Tell) -> list[Finding]:
    """Everything but thinning, by group of markets and for each market of the first group."""
    found = []
    for group, markets in GROUPS.items():
        whole = Pool(drawing)
        for name, spec in markets.items():
            own = Pool(drawing)
            for seed in JUDGED_ON:
                tell(f"judging {name}, seed {seed}")
                case = case_of(spec, seed, days)
                pools = [whole] if len(markets) == 1 else [whole, own]
                add_case(pools, case, tilt)
            if len(markets) > 1:
                found += findings(own, name)
        found += findings(whole, group)
    return found


def add_case(pools: list[Pool], case: Case, tilt: tuple[float, float]) -> None:
    """All rows of one market."""
    plain = judged_spec(MapSpec())
    tilted = judged_spec(MapSpec(), close_tilt_near=tilt[0], close_tilt_profit=tilt[1])
    swept, actual = swept_of(case.past, plain), liquidated_base(case.market)
    first, until = 1440 * WARM_UP_DAYS, case.judged_from
    fitted = np.zeros(swept.shape[2])
    fit_of = fit(
        swept[first:until][..., OF_SPEC], actual[first:until], case.past.closes_ns[first:until], MapSpec().prior_weights
    )
    fitted[list(OF_SPEC)] = fit_of.weights
    weights = {FITTED: fitted, **{name: np.array(popular) for name, popular in POPULAR.items()}, PRIOR: _prior(plain)}
    expected = {name: swept @ each for name, each in weights.items()}
    expected[FITTED] = expected[FITTED] + fit_of.background[0]
    expected[TILTED] = swept_of(case.past, tilted) @ _prior(plain)
    days, row = case.past.days, np.arange(len(swept))
    for pool in pools:
        warm = slice(first, None)
        inputs = ({name: each[warm] for name, each in expected.items()}, actual[warm], volumes.beyond(case.past)[warm])
        volumes.add(pool, *inputs, days[warm], row[warm] >= until, FITTED)
    market = case.market
    prints = (market.liquidation_ns, market.liquidation_side, market.liquidation_usd, market.liquidation_mark)
    for horizon in HORIZONS_MINUTES:
        rows = moments(case.past, horizon, case.since_ns)
        snapshots = of_prints(case.past, plain, rows, horizon, *prints)
        scores = {name: mixed(snapshots.heat, each) for name, each in weights.items()}
        scores[TILTED] = mixed(freeze(case.past, tilted, rows), weights[PRIOR])
        scores[captures.TRUTH] = truth_at(case, rows)
        for pool in pools:
            captures.add(pool, snapshots, scores, horizon)
    rows = moments(case.past, 60 * TRUTH_HOURS, case.since_ns)
    named = {name: weights[name] for name in (FITTED, PRIOR)}
    heat, old = freeze(case.past, plain, rows), 7 * 24 // TRUTH_HOURS
    ranked = captures.rank_correlations(heat, truth_at(case, rows), named, old)
    ranked |= captures.rank_correlations(
        freeze(case.past, tilted, rows), truth_at(case, rows), {TILTED: weights[PRIOR]}, old, is_control=False
    )
    for pool in pools:
        for (measure, scores_name), rho in ranked.items():
            pool.add(measure, scores_name, rho, np.ones(len(rho)), days[rows][old:])
        pool.next_market()


def judge_thinning(days: int, tilt: tuple[float, float], drawing: Drawing, tell: Tell) -> list[Finding]:
    """AUC of the pattern's score: zones of markets with leavers from those without, and within the former."""
    pool = Pool(drawing)
    maps = {"thinning score": (0.0, 0.0), "thinning score, tilted closes": tilt}
    for seed in JUDGED_ON:
        tell(f"judging thinning, seed {seed}")
        for number, name in enumerate(("as chosen on", "leavers")):
            case = case_of(MARKETS[name], seed, days)
            for label, (near, profit) in maps.items():
                spec = judged_spec(MapSpec(), close_tilt_near=near, close_tilt_profit=profit)
                zones = thinning.thinned_zones(case.market, case.past, spec, case.positions, case.judged_from)
                _add_zones(pool, zones, label, number, is_plain=near == profit == 0)
        pool.next_market()
    return [
        pool.separation(measure, f"seeds {JUDGED_ON[0]} and {JUDGED_ON[1]}", scores, EVEN)
        for measure in pool.measures()
        for scores in pool.keys(measure)
    ]


def _add_zones(pool: Pool, zones: thinning.ThinnedZones, label: str, has_leavers: int, is_plain: bool) -> None:
    known = np.isfinite(zones.score) & np.isfinite(zones.left_share)
    yes = zones.left_share >= thinning.LEAVERS_SHARE
    sure = known & (yes | (zones.left_share < thinning.NONE_SHARE))
    scores = {label: zones.score}
    if is_plain:
        scores |= {"nearness": zones.nearness, "what truly left": zones.left_share}
    for name, values in scores.items():
        pool.add(ZONES_OF_MARKETS, name, values[known], np.full(int(known.sum()), float(has_leavers)), zones.day[known])
        if has_leavers:
            pool.add(ZONES_OF_ONE, name, values[sure], yes[sure].astype(float), zones.day[sure])


def _prior(spec: MapSpec) -> np.ndarray:
    return np.array(spec.prior_weights)

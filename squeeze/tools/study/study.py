"""One study: the market folded once, cascades found, every question asked, of all times and by tercile."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from jaxtyping import Float, Int64

from squeeze.market.events import DAY_NS
from squeeze.market.lake import Lake, read_events
from squeeze.market.steps import steps
from squeeze.outcomes import (
    Bars,
    CascadeSpec,
    Liquidations,
    OpenInterest,
    PriceCascadeSpec,
    cascades,
    price_cascades,
    watched,
)
from squeeze.spec import Spec
from squeeze.strict import Strict
from squeeze.tools.study import cascade_measures, funding_measures, zone_measures
from squeeze.tools.study.cascade_measures import Events
from squeeze.tools.study.compare import DRAWS, ENOUGH_EVENTS, Sample, compare
from squeeze.tools.study.history import History, fold, setting
from squeeze.tools.study.question import Market, Question
from squeeze.tools.study.task import liquidations
from squeeze.tools.study.walls import Wall, aalen_johansen

END_SHARES = (0.1, 0.2, 0.4)
TERCILES = ("low", "middle", "high")
Tell = Callable[[str], None]


class StudySpec(Strict, frozen=True, kw_only=True):
    """The constants of a study, fixed before it looks."""

    cascade: CascadeSpec = CascadeSpec()
    """Cascades by prints or sums."""
    price: PriceCascadeSpec = PriceCascadeSpec()
    """Cascades by price and open interest."""
    reversal: float = 0.01
    """A zigzag extreme is left by this: 1 % for BTC, 2 % for DOT."""
    wall_base: float = 500.0
    """A wall holds at least so many coins."""
    draws: int = DRAWS
    """Of whole days, for each interval."""
    seed: int = 0
    """Of the draws, and of the choice of pseudo-zones."""


def spec_of(symbol: str, draws: int = DRAWS, seed: int = 0) -> StudySpec:
    """The constants of domain.md §5: those of BTC, or those of DOT for DOT."""
    if not symbol.startswith("DOT"):
        return StudySpec(draws=draws, seed=seed)
    small = CascadeSpec(floor_usd=20_000.0), PriceCascadeSpec(least_move=0.012)
    return StudySpec(cascade=small[0], price=small[1], reversal=0.02, draws=draws, seed=seed)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the study. `low` and `high` bound estimate - null, the lift bounds estimate / null."""

    statistic: str
    figure: str
    events: str
    unit: str
    group: str
    n: int
    matched: int
    estimate: float
    null: float
    low: float
    high: float
    lift: float
    lift_low: float
    lift_high: float
    claim: float | None
    verdict: str
    note: str


@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """All that a study looks at, known before `until_ns`."""

    held: History
    found: Liquidations | None
    interest: OpenInterest | None
    taker_base: Float[np.ndarray, "step 2"] | None
    funding_ns: Int64[np.ndarray, " settlement"]
    funding_per_8h: Float[np.ndarray, " settlement"]

    @property
    def bars(self) -> Bars:
        """The steps that have a price."""
        held = self.held
        known = np.isfinite(held.close)
        return Bars(held.closes_ns[known], held.high[known], held.low[known], held.close[known], held.length_ns)


def gather(lake: Lake, spec: Spec, start_ns: int | None, until_ns: int | None) -> Recorded:
    """Fold a market's history, and read beside it what the outcomes need."""
    market = spec.market
    length_ns = market.step_seconds * 1_000_000_000
    held = fold(steps(read_events(lake, market, start_ns, until_ns), market.symbol, length_ns), spec)
    venue = market.bars.venue
    interest = funding = None
    if lake.partitions("open_interest", venue, market.symbol):
        rows = lake.read("open_interest", venue, market.symbol, start_ns, until_ns)
        order = np.argsort(rows["event_ns"], kind="stable")
        interest = OpenInterest(rows["event_ns"][order], rows["open_interest_base"][order])
    funding_ns, per_8h = np.zeros(0, np.int64), np.zeros(0)
    if lake.partitions("funding", venue, market.symbol):
        funding = lake.read("funding", venue, market.symbol, start_ns, until_ns)
        funding_ns = funding["event_ns"]
        per_8h = (
            funding["funding_rate"] * 8 / np.where(np.isnan(funding["interval_hours"]), 8, funding["interval_hours"])
        )
    taker = _taker(lake, spec, held, start_ns, until_ns)
    return Recorded(held, liquidations(lake, spec, start_ns, until_ns), interest, taker, funding_ns, per_8h)


def _taker(lake: Lake, spec: Spec, held: History, start_ns: int | None, until_ns: int | None) -> np.ndarray | None:
    """What takers sold and bought in each step; None unless bars of the step's length tell."""
    rows = lake.columns_of(spec.market.bars, spec.market.symbol, start_ns, until_ns)
    out = np.full((len(held.close), 2), np.nan)
    for bars in rows.values():
        place = held.step_at(bars["event_ns"])
        fits = (bars["cadence_ns"] == held.length_ns) & (place >= 0)
        fits &= held.closes_ns[np.maximum(place, 0)] == bars["event_ns"]
        buys = bars["taker_buy_base"][fits]
        out[place[fits]] = np.stack([bars["volume_base"][fits] - buys, buys], axis=1)
    return out if np.isfinite(out).any() else None


def all_events(recorded: Recorded, spec: StudySpec) -> list[Events]:
    """Cascades by liquidations where they are recorded, then by price with open interest, then by price alone."""
    held, bars = recorded.held, recorded.bars
    events = []
    if recorded.found is not None and len(recorded.found.times_ns):
        found = cascades(recorded.found, bars, recorded.interest, spec.cascade)
        could = np.stack([watched(recorded.found, s, held.closes_ns + 1, spec.cascade) for s in range(2)], axis=1)
        cadence_ns = recorded.found.cadence_ns
        if cadence_ns:
            could &= (held.closes_ns % cadence_ns == 0)[:, None]
        ends_need = f"prints; sums of {cadence_ns // 10**9} s do not say when a cascade ended" if cadence_ns else ""
        events.append(Events("L1, liquidations", found, could, ends_need))
    known = np.isfinite(held.close)
    taker = None if recorded.taker_base is None else recorded.taker_base[known]
    both = np.stack([known, known], axis=1)
    if recorded.interest is not None and len(recorded.interest.times_ns):
        found = price_cascades(bars, recorded.interest, taker, spec.price)
        first, last = recorded.interest.times_ns[[0, -1]]
        inside = (held.closes_ns >= (first // DAY_NS + 2) * DAY_NS) & (held.closes_ns <= last)
        events.append(Events("L2, price and open interest", found, both & inside[:, None]))
    events.append(Events("L2, price alone", price_cascades(bars, None, None, spec.price), both))
    return events


def ask(recorded: Recorded, spec: StudySpec, events: Sequence[Events], tell: Tell) -> tuple[Market, list[Question]]:
    """Every question that the recording can be asked; those without an answer say what is missing."""
    market = Market(recorded.held, setting(recorded.held))
    asked: list[Question] = []
    for each in events:
        tell(f"asking about {each.name}")
        asked += cascade_measures.near_zones(market, each)
        asked += cascade_measures.volume(market, each)
        asked += cascade_measures.onward(market, each)
    if events[0].name.startswith("L1") and recorded.found is not None:
        asked += cascade_measures.hit_to_end(market, _by_rule(recorded, spec, events[0]))
    else:
        needs = "recorded liquidations"
        asked.append(Question("hit_to_end", "hit to completion", "seconds", None, "L1", 42.0, needs, 0))
    tell("asking about zones")
    asked += zone_measures.reversals(market, spec.reversal)
    asked += zone_measures.punched_through(market, spec.seed)
    asked += zone_measures.swept_with_trend(market)
    asked += zone_measures.heavier_side(market)
    asked += zone_measures.thinning(market)
    if len(recorded.funding_ns):
        for each in events:
            found = funding_measures.funding_extremes(market, recorded.funding_ns, recorded.funding_per_8h, each)
            asked += found if each is events[0] else [q for q in found if "cascade" in q.figure]
    else:
        asked.append(Question("funding", "after funding extremes", "log return", None, "", None, "settled funding", 0))
    needs = "liquidation maps of at least two venues, from each venue's own bars and open interest; venues folded"
    asked.append(Question("divergence", "cross-exchange divergence at local extremes", "share", needs=needs, n=1))
    return market, asked


def _by_rule(recorded: Recorded, spec: StudySpec, events: Events) -> dict[float, Events]:
    found = recorded.found
    if found is None:
        return {}
    rules = {share: msgspec.structs.replace(spec.cascade, end_share=share) for share in END_SHARES}
    return {
        share: Events(
            events.name, cascades(found, recorded.bars, recorded.interest, rule), events.could, events.ends_need
        )
        for share, rule in rules.items()
    }


def answers(market: Market, question: Question, spec: StudySpec) -> list[Answer]:
    """A question's answer over all times, then by volatility and by trend tercile."""
    sample, days = question.sample, market.held.days
    if sample is None:
        return [_unanswered(question)]
    terciles = {"volatility": market.setting.volatility_tercile, "trend": market.setting.trend_tercile}
    groups = [("all", sample)] + [
        (f"{name} {TERCILES[part]}", Sample(
            sample.events.where(ranks[sample.events.step] == part),
            sample.matched.where(ranks[sample.matched.step] == part),
            sample.is_median,
        ))
        for name, ranks in terciles.items()
        for part in range(3)
    ]  # fmt: skip
    return [_answer(question, group, part, days, spec) for group, part in groups]


def _answer(question: Question, group: str, sample: Sample, days: np.ndarray, spec: StudySpec) -> Answer:
    sample = sample.usable()
    figures = compare(sample, days, spec.draws, spec.seed)
    return Answer(
        statistic=question.statistic, figure=question.figure, events=question.events, unit=question.unit, group=group,
        n=figures.n, matched=len(sample.matched.step), estimate=figures.estimate, null=figures.null, low=figures.low,
        high=figures.high, lift=figures.lift, lift_low=figures.lift_low, lift_high=figures.lift_high,
        claim=question.claim, verdict=figures.verdict, note=question.note,
    )  # fmt: skip


def _unanswered(question: Question) -> Answer:
    nan = float("nan")
    return Answer(
        statistic=question.statistic, figure=question.figure, events=question.events, unit=question.unit, group="all",
        n=question.n, matched=0, estimate=nan, null=nan, low=nan, high=nan, lift=nan, lift_low=nan, lift_high=nan,
        claim=question.claim, verdict=f"not answerable: needs {question.needs}; there are {question.n}",
        note=question.note,
    )  # fmt: skip


def wall_answers(found: Sequence[Wall], seconds: int, spec: StudySpec) -> list[Answer]:
    """Share of ended walls that were pulled, of all and of those within 0.5 % of the middle at some time.

    With too few walls, or no book at all, it says so; a session gives no interval by days.
    """
    answered = []
    for name, near in (("all", 1.0), ("within 0.5 % of the middle at some time", 0.005)):
        own = [wall for wall in found if wall.nearest <= near]
        gone = [wall for wall in own if wall.outcome in ("pulled", "filled")]
        figure = f"walls of {spec.wall_base:g} coins pulled, {name}"
        needs = f"50 ended walls in recorded books; in {seconds} recorded seconds walls seen"
        question = Question("walls", figure, "share", None, "walls", 0.87, needs, len(own))
        row = _unanswered(question)
        if gone:
            share = sum(wall.outcome == "pulled" for wall in gone) / len(gone)
            lasted = np.array([(wall.end_ns - wall.begin_ns) / 1e9 for wall in own])
            incidence = aalen_johansen(lasted, [wall.outcome for wall in own], "pulled")
            verdict = f"inconclusive: {len(gone)} of {ENOUGH_EVENTS} events" if len(gone) < ENOUGH_EVENTS else "no null"
            note = f"{len(own)} walls in {seconds} s; incidence of pulling {incidence:.3f} (Aalen-Johansen)"
            row = msgspec.structs.replace(row, n=len(gone), estimate=share, verdict=verdict, note=note)
        answered.append(row)
    return answered


def conduct(
    recorded: Recorded, spec: StudySpec, found_walls: Sequence[Wall], book_seconds: int, tell: Tell
) -> tuple[list[Answer], list[dict[str, Any]]]:
    """All answers, and how many events of each kind there were."""
    events = all_events(recorded, spec)
    market, asked = ask(recorded, spec, events, tell)
    rows: list[Answer] = []
    for number, question in enumerate(asked, 1):
        tell(f"{number} of {len(asked)}: {question.figure}")
        rows += answers(market, question, spec)
    rows += wall_answers(found_walls, book_seconds, spec)
    return rows, [cascade_measures.counts(each) for each in events]

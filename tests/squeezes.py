"""A market of one line of prices with a zone stack on each side, told second by second: what the signal machine sees.

Longs' zones lie 0.6 % and 1.3 % below 100, shorts' as far above, so that a market that plays the other side is the
mirror of the first. `story` leads a machine through a whole squeeze.
"""

import copy
import functools
import math

import msgspec

from squeeze.market.events import MINUTE_NS, SECOND_NS
from squeeze.signals.machine import SignalMachine
from squeeze.signals.strategy import StrategySpec
from squeeze.signals.view import View, Word, ZoneView
from squeeze.spec import LabelSpec, MarketSpec, SignalSpec, Spec, StreamSpec

START_NS = 1_800_000_000 * SECOND_NS
SIGMA_LOG, ATR_5M_LOG, ATR_15M_LOG = 0.001, 0.0025, 0.004
USUAL_USD = 1e6
RATES = {"long": (0.01, 0.02), "short": (0.01, 0.02)}
MODEL = "0123456789abcdef"
EDGES = {"1": (0.006, 0.009), "2": (0.013, 0.016)}
"""Near and far edge of each zone, in log price from 100."""


def spec_of(**signal):
    bars = StreamSpec(venue="v", kinds=("bar_1m",), stale_minutes=5)
    stamps = StreamSpec(venue="v", kinds=("open_interest",), stale_minutes=5)
    return Spec(
        market=MarketSpec(symbol="TESTUSDT", step_seconds=60, bars=bars, open_interest=stamps),
        label=LabelSpec(name="n", threshold_usd=1.0, horizons_minutes=(5, 15), every_minutes=1, recorded="days"),
        signal=SignalSpec(**{"horizon_minutes": 15, "cooldown_minutes": 10.0, "clock_seconds": 1.0} | signal),
    )


def strategy_of(**parts):
    """A strategy for a market near 100; a key is a part, a value its fields."""
    account = {"price_step": 0.01, "quantity_step": 0.001, "least_quantity": 0.001} | parts.pop("account", {})
    return msgspec.convert({"account": account} | parts, StrategySpec)


def machine_of(strategy=None, signal=None, alarms=(), model=MODEL):
    return SignalMachine(strategy or strategy_of(), spec_of(**(signal or {})), model, RATES, alarms)


class Market:
    """Second by second; `side` is whose squeeze is played, and only mirrors the prices and swaps the sides."""

    def __init__(self, side=0, start_ns=START_NS):
        self.now_ns = start_ns
        self.turn(side)
        self.logs = [0.0] * 200
        self.liquidated = [(0, 0.0, 0)] * 60
        self.volumes = [USUAL_USD / 60] * 60
        self.totals = [0.0, 0.0]
        self.interest = 1e7
        self.probability = 0.1
        self.looked = 0

    def turn(self, side):
        """Play a side from now on."""
        self.side, self.sign = side, (-1 if side == 0 else 1)

    @property
    def outward(self):
        """How far the price went in the squeeze's direction, in log price."""
        return self.sign * self.logs[-1]

    def advance(self, seconds=1, per_minute=0.0, usd=0.0, prints=0, volume=USUAL_USD):
        """Let time go on: log price outward a minute, volume a minute, and what is liquidated of the side in a second
        that the mark spends beyond the first edge.
        """
        for _ in range(seconds):
            self.now_ns += SECOND_NS
            self.logs.append(self.logs[-1] + self.sign * per_minute / 60)
            own, number = (usd, prints) if self.outward >= EDGES["1"][0] else (0.0, 0)
            self.liquidated.append((self.side, own, number))
            self.volumes.append(volume / 60)
            self.totals[self.side] += own
            self.interest -= own / 100
            self.looked += 1

    def view(self, **changes):
        """What a look sees now; `changes` are fields of the view."""
        mark = 100 * math.exp(self.logs[-1])
        seen = [100 * math.exp(x) for x in self.logs[-self.looked - 1 :]]
        self.looked = 0
        last = self.logs[-180:]
        own = (0.5 * self.probability, self.probability)
        tens, minute = (self._sums(seconds) for seconds in (10, 60))
        fields = {
            "now_ns": self.now_ns,
            "word": Word(ts_ns=self.now_ns // MINUTE_NS * MINUTE_NS, probabilities=self.pair(own, (0.01, 0.02))),
            "mark": mark,
            "mark_ns": self.now_ns,
            "mark_made_ns": self.now_ns,
            "mark_low": min(seen),
            "mark_high": max(seen),
            "bid": mark * math.exp(-5e-5),
            "ask": mark * math.exp(5e-5),
            "sigma_1m_log": SIGMA_LOG,
            "velocity_log": 2 * (self.logs[-1] - self.logs[-31]),
            "atr_5m_log": ATR_5M_LOG,
            "atr_15m_log": ATR_15M_LOG,
            "range_3m_log": max(last) - min(last),
            "volume_60s_usd": sum(self.volumes[-60:]),
            "volume_minute_usd": USUAL_USD,
            "taker_imbalance": self.sign * 0.2,
            "taker_sells_10s_usd": self.pair(sum(self.volumes[-10:]), 0.0)[0],
            "taker_buys_10s_usd": self.pair(sum(self.volumes[-10:]), 0.0)[1],
            "liquidated_10s_usual_usd": (20_000.0, 20_000.0),
            "onset_usd": (250_000.0, 250_000.0),
            "open_interest_base": self.interest,
            "open_interest_change_1h": 0.0,
            "funding_8h": 1e-4,
            "spread_bp": 1.0,
            "spread_median_60m_bp": 1.0,
            "spread_worst_30s_bp": 1.1,
            "depth_usd": 9e5,
            "depth_median_60m_usd": 1e6,
            "volatility_1h_rank": 0.5,
            "return_4h_log": 0.0,
            "sigma_4h_log": 0.01,
            "zones": self.zones(),
            "patterns": {"stacked_zones": (False, False), "stale_timeframe": (False, False)},
            "venue_age_ns": {"v": 0},
        }
        fields |= {"liquidated_10s_usd": tens[0], "prints_10s": tens[1], "liquidated_total_usd": tuple(self.totals)}
        fields |= {"liquidated_60s_usd": minute[0], "prints_60s": minute[1]}
        return View(**fields | changes)

    def _sums(self, seconds):
        """USD and prints by side of the last seconds."""
        usd, prints = [0.0, 0.0], [0.0, 0.0]
        for side, own, number in self.liquidated[-seconds:]:
            if number:
                usd[side] += own
                prints[side] += number
        return tuple(usd), tuple(prints)

    def pair(self, own, other):
        """By side."""
        return (own, other) if self.side == 0 else (other, own)

    def zones(self):
        """Both sides' stacks, each side's nearest first; their names do not say which came first."""
        return tuple(self.zone(side, name) for side in (0, 1) for name in EDGES)

    def zone(self, side, name, **changes):
        near, far = EDGES[name]
        sign, x = (-1 if side == 0 else 1), self.logs[-1]
        low, high = sorted((100 * math.exp(sign * near), 100 * math.exp(sign * far)))
        fields = {
            "id": f"{'long' if side == 0 else 'short'}-{name}", "side": side, "low": low, "high": high,
            "centroid": 100 * math.exp(sign * (near + far) / 2), "near_log": near - sign * x, "far_log": far - sign * x,
            "mass_share": 0.02, "mass_usd": 4e6, "peak_6h_share": 0.02, "thickness_rank": 0.75, "age_hours": 5.0,
            "born_ns": START_NS - 3600 * SECOND_NS, "major": True, "stack": 2,
        }  # fmt: skip
        return ZoneView(**fields | changes)


STORY = (
    ("zone_ahead", {"seconds": 2}),
    ("approach", {"seconds": 60, "per_minute": 0.0015}),
    ("triggered", {"seconds": 300, "per_minute": 0.0015, "usd": 4_000.0, "prints": 1, "volume": 2e6}),
    ("cascade", {"seconds": 60, "per_minute": 0.001, "usd": 20_000.0, "prints": 2, "volume": 6e6}),
    ("aftermath", {"seconds": 240, "volume": 0.9e6}, {"spread_worst_30s_bp": 5.0}),
    ("entry", {"seconds": 240, "volume": 0.9e6}),
    ("managed", {"seconds": 60, "volume": 0.9e6}),
)
"""What the market does until each state is reached."""


def story(until, side=0, strategy=None, **kwargs):
    """A machine that has just come to a state on a second's clock, its market, and what it said on the way.

    The way is that of the default strategy; another one takes over where it ends.
    """
    snapshot, market, said = _story(until, side)
    machine = machine_of(strategy, **kwargs)
    machine.restore(snapshot | {"config": machine.strategy.digest()})
    return machine, copy.deepcopy(market), list(said)


@functools.cache
def _story(until, side):
    machine, market, said = machine_of(), Market(side), []
    for state, conduct, *shown in STORY:
        for _ in range(conduct["seconds"]):
            market.advance(**conduct | {"seconds": 1})
            said += machine.look(market.view(**dict(*shown)))
            if state_of(machine, side) == state:
                break
        else:
            raise AssertionError(f"the story did not reach {state}: {machine.states}, {said[-1].reason_codes}")
        if state == until:
            return machine.snapshot(), market, tuple(said)
    raise AssertionError(f"no such chapter: {until}")


def state_of(machine, side=0):
    return machine.states[("long", "short")[side]]

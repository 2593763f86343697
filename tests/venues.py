"""Three venues that trade about one price, made up, with everything an exchange says; and the spec that listens."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from squeeze.atlas_spec import AtlasSpec
from squeeze.heatmaps.stops import StopsSpec
from squeeze.market.depth import BANDS_BPS, ORDERS_USD, BookSummary
from squeeze.market.events import HOUR_NS, MINUTE_NS, Funding, FundingForecast, Liquidation, OpenInterest, Quality
from squeeze.market.steps import Step
from squeeze.market.venue_step import Candle, PriceFlow, VenueStep
from squeeze.spec import FrameSpec, LabelSpec, MapSpec, MarketSpec, SignalSpec, Spec, StreamSpec, VenueSpec

VENUES = ("a", "b", "c")
START_NS = 20_000 * 24 * HOUR_NS
BIN_LOG = 1e-3
KINDS = ("trade", "mark_bar_1m", "open_interest", "funding", "funding_forecast", "liquidation", "book")


AWAY = (0.2, 0.1, 0.05, 0.016, 0.006)
"""Log distances from entry to liquidation, alike on both sides, as the mirror law asks; so are stops without numbers
that are round: what is round is not round in the mirror."""


def spec(venues: tuple[str, ...] = VENUES) -> Spec:
    def stream(kind: str) -> StreamSpec:
        return StreamSpec(venue=venues[0], kinds=(kind,))

    return Spec(
        market=MarketSpec(
            symbol="S",
            bars=stream("bar_1m"),
            mark=stream("mark_bar_1m"),
            open_interest=stream("open_interest"),
            funding=stream("funding"),
            liquidations=stream("liquidation"),
            warm_up_hours=0.0,
            venues=tuple(
                VenueSpec(venue=venue, kinds=KINDS, distances_log=(tuple(-x for x in AWAY), AWAY)) for venue in venues
            ),
        ),
        map=MapSpec(bin_log=BIN_LOG),
        frame=FrameSpec(price_bins=16, zone_floor_share=1e-5, zone_mass_share=1e-4),
        atlas=AtlasSpec(stops=StopsSpec(round_weight=0.0)),
        label=LabelSpec(name="x", threshold_usd=1e6, horizons_minutes=(60,), every_minutes=1, recorded="days"),
        signal=SignalSpec(horizon_minutes=60),
    )


def book(
    rng: np.random.Generator, mid: float, close_ns: int, bin_log: float = BIN_LOG, a_side: int = 20
) -> BookSummary:
    first = math.floor(math.log(mid) / bin_log) - a_side
    mid_bin = a_side
    usd = rng.gamma(1.0, 2e5, (2, 2 * a_side + 1))
    usd[0, mid_bin + 1 :] = 0.0
    usd[1, :mid_bin] = 0.0
    if rng.random() < 0.5:
        usd[0, mid_bin - 5] = usd[1, mid_bin + 7] = 5e6
    bands = tuple(rng.gamma(2.0, 1e6, len(BANDS_BPS)).tolist())
    asks = tuple(rng.gamma(2.0, 1e6, len(BANDS_BPS)).tolist())
    cost = tuple(rng.random(len(ORDERS_USD)).tolist())
    return BookSummary(
        event_ns=close_ns, bid=mid * 0.9999, ask=mid * 1.0001, spread_bps=2.0, bid_depth_usd=bands,
        ask_depth_usd=asks, imbalance=tuple((b - a) / (b + a) for b, a in zip(bands, asks, strict=True)),
        buy_cost_bps=cost, sell_cost_bps=cost[::-1], bin_log=bin_log, first_bin=first,
        bids_usd=tuple(usd[0].tolist()), asks_usd=tuple(usd[1].tolist()),
    )  # fmt: skip


def history(
    seed: int, venues: tuple[str, ...] = VENUES, bin_log: float = BIN_LOG, book_bins: int = 20
) -> Iterator[Step]:
    """Three venues that trade about one price, with everything an exchange says, holes included."""
    rng = np.random.default_rng(seed)
    log_price, interest, close_ns = 11.0, np.full(len(venues), 1e5), START_NS
    while True:
        close_ns += MINUTE_NS
        opened, log_price = log_price, log_price + rng.normal(0, 1e-3)
        parts = {}
        for i, venue in enumerate(venues):
            basis = rng.normal(0, 1e-4)
            path = np.array([opened, log_price]) + basis
            low, high = path.min() - rng.random() * 1e-3, path.max() + rng.random() * 1e-3
            candle = Candle(*(math.exp(x) for x in (path[0], high, low, path[1])), close_ns)
            interest[i] *= math.exp(rng.normal(0, 2e-3))
            bins = (math.floor(low / bin_log), math.floor(high / bin_log))
            sides = rng.gamma(1.0, 40.0, (2, bins[1] - bins[0] + 1))
            at = {"venue": venue, "symbol": "S", "event_ns": close_ns, "known_at_ns": close_ns}
            part: dict[str, Any] = {
                "last": candle,
                "mark": candle,
                "volume_base": float(sides.sum()),
                "taker_buy_base": float(sides[0].sum()),
                "flow": PriceFlow(bin_log, bins[0], tuple(sides[0].tolist()), tuple(sides[1].tolist())),
                "liquidations_completeness": Quality.GOOD,
            }
            if rng.random() < 0.5:
                part["open_interest"] = (OpenInterest(**at, open_interest_base=float(interest[i])),)
            if close_ns % (8 * HOUR_NS) == 0:
                part["funding"] = (Funding(**at, funding_rate=float(rng.normal(0, 2e-4)), interval_hours=8.0),)
            if rng.random() < 0.3:
                part["forecast"] = FundingForecast(
                    **at, funding_rate=float(rng.normal(0, 2e-4)), interval_hours=8.0, settles_ns=close_ns + HOUR_NS
                )
            if rng.random() < 0.2:
                usd = float(rng.exponential(5e4))
                part["liquidations"] = (Liquidation(**at, side=int(rng.integers(2)), usd=usd),)
            if rng.random() < 0.9:
                part["book"] = book(rng, math.exp(path[1]), close_ns, bin_log, book_bins)
            if rng.random() < 0.97 or i == 0:
                parts[venue] = VenueStep(**part)
        yield Step("S", close_ns, MINUTE_NS, parts)

"""The order book of a simulated market: what rests there is what forced orders meet.

The kernel moves the price by `0.01 · share · calm^thinning · (1 + drained) / (1 + (impact / bargain)²)` for an order of
`share · depth_usd`. As many small orders in a row, with what each does to `impact` and `drained`, that is a curve of
USD against distance: the depth that is published. Walls stand on it.
"""

import math

import numpy as np
from jaxtyping import Float

from squeeze.market.events import MINUTE_NS, BookUpdate
from squeeze.market.rows import Columns
from squeeze.simulator.kernel import ASK, BID, DRAINED, IMPACT, Rules
from squeeze.simulator.market import SimulatedMarket
from squeeze.simulator.truth import close_step

LEVELS = 300
"""Levels a side; with those of walls the depth that a published book carries."""
SPACING_LOG = 1e-4
"""Between levels: 1 basis point."""


def depth_usd(
    rules: Rules, calm: float, impact: float, drained: float, side: int, distance: Float[np.ndarray, " level"]
) -> Float[np.ndarray, " level"]:
    """USD that forced orders must take, one small one after the other, to move the price by `distance` in log price.

    Bids (side 0) are met by sales, which push `impact` down.

    >>> from squeeze.simulator.rules import rules_of
    >>> from squeeze.simulator.spec import SimulatorSpec
    >>> depth_usd(rules_of(SimulatorSpec()), 1.0, 0.0, 0.0, 0, np.array([0.001, 0.01])).round(-3).tolist()
    [2867000.0, 24346000.0]
    """
    fading = (1.0 - rules.permanent) * (-1.0 if side == BID else 1.0)
    if fading == 0.0:
        resisted = distance * (1.0 + (impact / rules.bargain) ** 2)
    else:
        pushed = impact + fading * distance
        resisted = distance + (pushed**3 - impact**3) / (3.0 * rules.bargain**2 * fading)
    spent = resisted / (0.01 * calm**rules.thinning)  # the integral of 1 + drained over share
    free = 1.0 - drained  # after this share the book is as thin as it gets
    until = (1.0 + drained) * free + free**2 / 2.0
    before = np.sqrt((1.0 + drained) ** 2 + 2.0 * np.minimum(spent, until)) - (1.0 + drained)
    return np.asarray(rules.depth_usd * (before + np.maximum(spent - until, 0.0) / 2.0))


def order_book(market: SimulatedMarket, minute: int, venue: int = 0, noise_sd: float = 0.3) -> BookUpdate:
    """The book of a venue (by place) at the close of a minute, known then, as a snapshot: see `book_rows`."""
    rows = book_rows(market, minute, venue, noise_sd)
    ((bid_prices, bid_sizes), (ask_prices, ask_sizes)) = (
        (rows["price"][rows["side"] == side].tolist(), rows["size_base"][rows["side"] == side].tolist())
        for side in (BID, ASK)
    )
    return BookUpdate(
        venue=market.venues[venue].name,
        symbol=market.spec.symbol,
        event_ns=int(rows["event_ns"][0]),
        known_at_ns=int(rows["known_at_ns"][0]),
        is_snapshot=True,
        bids=list(zip(bid_prices, bid_sizes, strict=True)),
        asks=list(zip(ask_prices, ask_sizes, strict=True)),
        last_id=minute + 1,
        depth=LEVELS,
    )


def book_rows(market: SimulatedMarket, minute: int, venue: int, noise_sd: float) -> Columns:
    """A venue's book at the close of a minute, as the lake's rows. The stamp is the venue's lag before the close.

    A venue holds its share of the depth, and the walls that were placed there. Sizes scatter around the curve by
    `noise_sd`, the standard deviation of their logarithm; their mean is the curve.
    """
    detail = market.detail()
    rules, state = detail.rules, detail.played.hidden[minute]
    calm = detail.outside.sigma[close_step(market, minute) + detail.first_step] / rules.sigma
    share = float(np.diff(detail.venues.cumulative, prepend=0.0)[venue])
    scatter = np.exp(noise_sd * book_noise(market, minute, venue) - noise_sd**2 / 2)
    last = math.log(market.venues[venue].last[minute, 3])
    decimals = decimals_of(market)
    borders = SPACING_LOG * np.arange(LEVELS + 1)
    standing = detail.played.standing[minute]
    standing = standing[(standing[:, 2] > 0.0) & (standing[:, 5] == venue)]
    prices, usd, sides = [], [], []
    for side, sign in ((BID, -1.0), (ASK, 1.0)):
        away = sign * (standing[:, 0] - last)  # a wall stays where it is, whatever the venue's basis does
        shown = (standing[:, 1] == side) & (away > 0.0)
        distance = np.append(borders[:-1] + SPACING_LOG / 2, away[shown])
        curve = depth_usd(rules, calm, state[IMPACT], state[DRAINED], side, borders)
        rests = np.append(share * np.diff(curve) * scatter[side], standing[shown, 2])
        at, place = np.unique(np.exp(last + sign * distance).round(decimals), return_inverse=True)
        nearest_first = slice(None, None, -1) if side == BID else slice(None)
        prices.append(at[nearest_first])
        usd.append(np.bincount(place, rests)[nearest_first])  # what rests at one price is one level
        sides.append(np.full(len(at), side))
    price = np.concatenate(prices)
    close_ns = int(market.minute_ns[minute]) + MINUTE_NS
    lag_ns = int(market.spec.all_venues()[venue].lag_ms * 1e6)
    whole = {"event_ns": close_ns - lag_ns, "known_at_ns": close_ns, "depth": LEVELS, "last_id": minute + 1}
    whole |= {"is_change": 0, "first_id": -1, "previous_id": -1}
    rows = {name: np.full(len(price), value, np.int64) for name, value in whole.items()}
    rows |= {"quality": np.zeros(len(price), np.int32), "place": np.arange(len(price))}
    return rows | {"side": np.concatenate(sides), "price": price, "size_base": np.concatenate(usd) / price}


def book_noise(market: SimulatedMarket, minute: int, venue: int) -> Float[np.ndarray, "side level"]:
    """Standard normal draws of one published book."""
    return np.random.default_rng((market.seed, minute, venue)).standard_normal((2, LEVELS))


def decimals_of(market: SimulatedMarket) -> int:
    """Of published prices: six digits, so that a contract of 60,000 has a tick of 0.1."""
    return 5 - math.floor(math.log10(market.spec.price))

"""The market that is read: of a run file, or of all that a lake holds of a symbol."""

import re
from pathlib import Path

from squeeze.errors import ConfigError, DataError
from squeeze.market.events import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS
from squeeze.market.lake import Lake
from squeeze.market.partitions import date_of
from squeeze.spec import LabelSpec, MapSpec, MarketSpec, SignalSpec, Spec, StreamSpec, VenueSpec
from squeeze.tools.reading.profile import Profile
from squeeze.tools.study.task import load_task

UNITS_NS = {"ns": 1, "s": SECOND_NS, "m": MINUTE_NS, "h": HOUR_NS, "d": DAY_NS}
BESIDE = ("open_interest", "funding", "funding_forecast", "liquidation", "book")
"""What a venue says beside prices, and a map is made of."""


def spec_of(config: Path | None, symbol: str, lake: Lake, profile: Profile, at_ns: int | None = None) -> Spec:
    """A run file's spec, whose symbol must be the one asked for; without one, a spec of what the lake holds."""
    if config is None:
        return found_spec(lake, symbol, profile, at_ns)
    spec = load_task(config).spec
    if spec.market.symbol != symbol:
        raise ConfigError(f"{config}: is about {spec.market.symbol}, asked for was {symbol}")
    return spec


def found_spec(lake: Lake, symbol: str, profile: Profile, at_ns: int | None = None) -> Spec:
    """Every venue that has prices of the symbol; the one with most kinds of streams comes first, of equals by name.

    With `at_ns` only streams count that have a day within the profile's history before it. Steps are the profile's, or
    as long as the finest bars. `DataError` where the lake has no prices of the symbol then, or only bars longer than an
    hour.
    """
    held: dict[str, set[str]] = {}
    for kind, venue, name in lake.names():
        if name == symbol and _speaks(lake, kind, venue, symbol, profile, at_ns):
            held.setdefault(venue, set()).add(kind)
    priced = {venue: kinds for venue, kinds in held.items() if _bars(kinds)}
    if not priced:
        there = ", ".join(sorted({name for _, _, name in lake.names()})[:12]) or "nothing"
        raise DataError(f"{lake.root}: no trades or bars of {symbol}; there is {there}")
    first = min(priced, key=lambda venue: (-len(priced[venue]), venue))
    kinds = priced[first]
    finest_ns = min(_length_ns(kind) for kind in _bars(kinds))
    if finest_ns > HOUR_NS:
        raise DataError(f"{lake.root}: the bars of {first} {symbol} are longer than an hour")

    def stream(*names: str, venue: str = first) -> StreamSpec | None:
        there = tuple(name for name in names if name in held[venue])
        return StreamSpec(venue=venue, kinds=there) if there else None

    market = MarketSpec(
        symbol=symbol,
        step_seconds=max(profile.finest_seconds, finest_ns // SECOND_NS),
        bars=StreamSpec(venue=first, kinds=_bars(kinds)),
        mark=stream(*_marks(kinds)),
        open_interest=stream("open_interest"),
        funding=stream("funding"),
        liquidations=stream("liquidation") or _elsewhere(held, first),
        venues=tuple(
            VenueSpec(venue=venue, kinds=(_bars(own)[0], *_marks(own)[:1], *(k for k in BESIDE if k in own)))
            for venue, own in sorted(priced.items())
        ),
        warm_up_hours=0.0,
    )
    label = LabelSpec(name="none", threshold_usd=1e6, horizons_minutes=(60,), every_minutes=60, recorded="days")
    kept = MapSpec(open_interest="volume") if market.open_interest is None else MapSpec()
    return Spec(market=market, map=kept, label=label, signal=SignalSpec(horizon_minutes=60))


def _speaks(lake: Lake, kind: str, venue: str, symbol: str, profile: Profile, at_ns: int | None) -> bool:
    """Whether a stream has a day in the time that will be folded."""
    if at_ns is None:
        return True
    first = date_of(at_ns - round(profile.history_days * DAY_NS))
    return any(first <= day <= date_of(at_ns) for day in lake.partitions(kind, venue, symbol))


def _elsewhere(held: dict[str, set[str]], first: str) -> StreamSpec | None:
    """Liquidations of no priced venue's own: prints of another, or sums of several, the shortest."""
    found = [
        (kind != "liquidation", 0 if kind == "liquidation" else _length_ns(kind), venue != first, venue, kind)
        for venue, kinds in held.items()
        for kind in kinds
        if kind.startswith("liquidation")
    ]
    return StreamSpec(venue=min(found)[3], kinds=(min(found)[4],)) if found else None


def _bars(kinds: set[str]) -> tuple[str, ...]:
    """Trades if there are any, else bars, the shortest first."""
    if "trade" in kinds:
        return ("trade",)
    return tuple(sorted((kind for kind in kinds if kind.startswith("bar_")), key=_length_ns))


def _marks(kinds: set[str]) -> tuple[str, ...]:
    bars = sorted((kind for kind in kinds if kind.startswith("mark_bar_")), key=_length_ns)
    return ("price_mark",) if "price_mark" in kinds else tuple(bars)


def _length_ns(kind: str) -> int:
    """Of what a kind's name says: `bar_5m`; of trades a second."""
    match = re.fullmatch(r".*_(\d+)(ns|s|m|h|d)", kind)
    return int(match[1]) * UNITS_NS[match[2]] if match else SECOND_NS

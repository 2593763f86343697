"""What a contract is: steps, contract value, margin tiers, as records that say when they were true.

Venues change contract values, tiers and funding intervals without renaming the contract, so nothing here is a constant:
a record holds as of `as_of_ns`, and history is read with the record of its time. How a venue's own answers become
records is in `venues.bybit_metadata`, `okx_metadata`, `binance_metadata`.
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from squeeze.errors import DataError
from squeeze.files import whole

NAN = math.nan

VENUES = ("binance", "bybit", "okx")

QUOTES = ("USDT", "USDC", "USD")
"""What OKX's contracts are quoted in; tried in this order at the end of a symbol."""

OKX_PAIR = re.compile(r"([^-_]+)-([^-_]+?)(-SWAP)?")
"""A perpetual or an index. Dated futures have a third part, and the margin family `BTC-USD_UM` is a market of its own.
"""


OKX_OWN = re.compile(r"[^-]+(-[^-]+){2,}")
"""What else OKX trades: dated futures, and the perpetuals of another margin family."""


class Tier(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What margin a position up to a limit needs. The limit itself belongs to the tier.

    Of the two limits exactly one is recorded, the other is NaN: OKX gives its tiers in contracts, whose USD depend on
    the price of the moment, and `Instrument.tier` asks for that price.
    """

    up_to_usd: float
    """Notional limit of the tier; infinite for none, NaN where the venue gives contracts."""
    maintenance_rate: float
    """Maintenance margin as a fraction of notional."""
    max_leverage: float
    deduction_usd: float = 0.0
    """Taken off notional × rate, so that the requirement is continuous (Binance `cum`, Bybit `mmDeduction`); 0 at OKX,
    whose tier holds for the whole position.
    """
    up_to_contracts: float = NAN
    """Limit in the venue's contracts; infinite for none, NaN where the venue gives USD."""

    def __post_init__(self) -> None:
        usd, contracts = self.up_to_usd, self.up_to_contracts
        if math.isnan(usd) == math.isnan(contracts):
            raise ValueError(f"one of up_to_usd and up_to_contracts must be given, got {usd} and {contracts}")
        _require("up_to_contracts" if math.isnan(usd) else "up_to_usd", "positive", self.limit, self.limit > 0)
        _require("maintenance_rate", "above 0 and at most 1", self.maintenance_rate, 0 < self.maintenance_rate <= 1)
        _require("max_leverage", "positive and finite", self.max_leverage, 0 < self.max_leverage < math.inf)
        _require("deduction_usd", "finite and not negative", self.deduction_usd, 0 <= self.deduction_usd < math.inf)

    @property
    def limit(self) -> float:
        """The recorded limit, in its own unit."""
        return self.up_to_contracts if math.isnan(self.up_to_usd) else self.up_to_usd


class Instrument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One contract as of a moment. A number that was not recorded is NaN, never a usual value."""

    venue: str
    native: str
    """The venue's own name: `BTC-USDT-SWAP`."""
    symbol: str
    """Ours: base and quote written together, `BTCUSDT`; see `ours`."""
    as_of_ns: int
    """When the record was true, or was fetched."""
    tick_size: float
    """Smallest step of the price, in quote currency."""
    lot_size_base: float
    """Smallest step of an order in base coins; NaN for an inverse contract, whose step is fixed in quote currency."""
    minimum_size_base: float
    """Smallest order in base coins; NaN for an inverse contract."""
    contract_value: float = 1.0
    """Base coins per contract; for an inverse contract quote currency per contract."""
    is_inverse: bool = False
    """Margined and settled in the base coin."""
    minimum_notional_usd: float = NAN
    funding_interval_hours: float = NAN
    """Between two settlements; never assumed to be 8."""
    taker_fee: float = NAN
    """As a fraction of notional."""
    tiers: tuple[Tier, ...] = ()
    """Rising; empty where they were not recorded."""
    source: str
    """Where the numbers come from and how far they are confirmed."""

    def __post_init__(self) -> None:
        for name in ("venue", "native", "symbol", "source"):
            _require(name, "a name", getattr(self, name), bool(getattr(self, name).strip()))
        _require("as_of_ns", "nanoseconds since 1970", self.as_of_ns, 0 <= self.as_of_ns < 2**63)
        for name in ("tick_size", "contract_value"):
            _require(name, "positive and finite", getattr(self, name), 0 < getattr(self, name) < math.inf)
        for name in ("lot_size_base", "minimum_size_base"):
            size = getattr(self, name)
            if self.is_inverse:
                _require(name, "left out of an inverse contract", size, math.isnan(size))
            else:
                _require(name, "positive and finite", size, 0 < size < math.inf)
        notional, hours, fee = self.minimum_notional_usd, self.funding_interval_hours, self.taker_fee
        _require(
            "minimum_notional_usd", "finite, not negative", notional, _unknown_or(0 <= notional < math.inf, notional)
        )
        _require("funding_interval_hours", "positive and finite", hours, _unknown_or(0 < hours < math.inf, hours))
        _require("taker_fee", "at least 0 and below 1", fee, _unknown_or(0 <= fee < 1, fee))
        try:
            require_whole(self.tiers)
        except ValueError as error:
            raise ValueError(f"{self.venue} {self.native}: {error}") from None

    def to_base(self, contracts: float, price: float = NAN) -> float:
        """A number of contracts in base coins; it keeps its sign. Only an inverse contract needs a price, and without
        a positive one raises `ValueError`.

        >>> step = {"tick_size": 0.1, "lot_size_base": 0.0001, "minimum_size_base": 0.0001, "contract_value": 0.01}
        >>> swap = Instrument(venue="okx", native="BTC-USDT-SWAP", symbol="BTCUSDT", as_of_ns=0, source="test", **step)
        >>> swap.to_base(250.0), swap.to_base(727.0)
        (2.5, 7.27)
        """
        if not self.is_inverse:
            # 727 * 0.01 is 7.2700000000000005, 727 / 100 is 7.27: a part of a coin is divided by, so nothing is bent.
            per_coin = round(1 / self.contract_value)
            return contracts / per_coin if per_coin * self.contract_value == 1 else contracts * self.contract_value
        _require("price", f"positive for inverse {self.native}", price, 0 < price < math.inf)
        return contracts * self.contract_value / price

    def tier(self, notional_usd: float, price: float = NAN) -> Tier:
        """The tier of a position; one that is exactly at a limit is in the lower tier.

        Beyond the last limit, where the venue opens nothing, the last tier is returned: the strictest rate that is
        known. Tiers of linear contracts that are given in contracts need the price. Raises `ValueError` where no tiers
        were recorded, or for a notional or a price that cannot be.
        """
        _require("tiers", "recorded", f"none of {self.venue} {self.native}", bool(self.tiers))
        _require("notional_usd", "finite and not negative", notional_usd, 0 <= notional_usd < math.inf)
        position = notional_usd
        if math.isnan(self.tiers[0].up_to_usd):
            if not self.is_inverse:
                _require("price", "positive for tiers in contracts", price, 0 < price < math.inf)
            position /= self.contract_value * (1.0 if self.is_inverse else price)
        return next((tier for tier in self.tiers if position <= tier.limit), self.tiers[-1])


class Instruments:
    """Dated records of many contracts; adding some gives a new collection.

    A record that equals the one before it in time, but for `as_of_ns`, is not kept: the older one already says so.
    Of two for the same moment the one given last is kept.
    """

    def __init__(self, records: Iterable[Instrument] = ()) -> None:
        dated = {(r.venue, r.native, r.as_of_ns): r for r in records}
        self._records: dict[tuple[str, str], tuple[Instrument, ...]] = {}
        for (venue, native, _), record in sorted(dated.items(), key=lambda item: item[0]):
            known = self._records.get((venue, native), ())
            if not known or _contents(known[-1]) != _contents(record):
                self._records[venue, native] = (*known, record)

    def __iter__(self) -> Iterator[Instrument]:
        return (record for records in self._records.values() for record in records)

    def __len__(self) -> int:
        return sum(map(len, self._records.values()))

    def get(self, venue: str, native: str, at_ns: int | None = None) -> Instrument | None:
        """The newest record that was true by `at_ns`, or the newest of all; None for an unknown contract.

        Before the first record, the first is returned although it looks ahead: contract values change rarely, so it is
        better than nothing, and `as_of_ns` shows what was done.
        """
        records = self._records.get((venue, native))
        if records is None:
            return None
        if at_ns is None:
            return records[-1]
        return next((r for r in reversed(records) if r.as_of_ns <= at_ns), records[0])

    def with_(self, records: Iterable[Instrument]) -> "Instruments":
        """These records and more. A record replaces the older ones whole: what it leaves out is unknown from then."""
        return Instruments([*self, *records])

    @classmethod
    def load(cls, path: Path) -> "Instruments":
        """The records of a file that `save` wrote; `DataError` naming the file and the record otherwise."""
        try:
            return cls(_read(path.read_bytes(), str(path)))
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}") from None

    def save(self, path: Path) -> None:
        """Write the records as JSON: what is NaN is left out, an infinite limit is null."""
        text = msgspec.json.format(msgspec.json.encode([_plain(record) for record in self]), indent=2)
        with whole(path) as part:
            part.write_bytes(text + b"\n")

    @staticmethod
    def shipped() -> "Instruments":
        """The records that come with the package; read once. Each says where it is from: refresh them from the venue.

        >>> swap = Instruments.shipped().get("okx", "BTC-USDT-SWAP")
        >>> swap.symbol, swap.contract_value
        ('BTCUSDT', 0.01)
        """
        return _shipped()


def ours(venue: str, native: str) -> str:
    """Our symbol of a venue's contract or index: base and quote written together.

    Binance's and Bybit's names are ours already. OKX's perpetuals and indices lose their dashes; its dated futures, and
    the perpetuals of another margin family, keep their own name. Raises `DataError` for an unknown venue or no name.

    >>> ours("bybit", "DOTUSDT"), ours("okx", "BTC-USDT-SWAP"), ours("okx", "BTC-USDT"), ours("okx", "BTC-USD-261030")
    ('DOTUSDT', 'BTCUSDT', 'BTCUSDT', 'BTC-USD-261030')
    """
    _require_name(venue, native)
    pair = OKX_PAIR.fullmatch(native) if venue == "okx" else None
    return native if pair is None else pair[1] + pair[2]


def native(venue: str, symbol: str) -> str:
    """The venue's name of the contract that we call `symbol`: the way back from `ours`, to the perpetual.

    At OKX the quote is looked for at the end. Raises `DataError` for an unknown venue, and for a symbol that OKX cannot
    have.

    >>> native("binance", "DOTUSDT"), native("okx", "BTCUSDT"), native("okx", "BTCUSD"), native("okx", "BTC-USD-261030")
    ('DOTUSDT', 'BTC-USDT-SWAP', 'BTC-USD-SWAP', 'BTC-USD-261030')
    """
    _require_name(venue, symbol)
    if venue != "okx" or (OKX_OWN.fullmatch(symbol) and ours(venue, symbol) == symbol):
        return symbol
    for quote in QUOTES:
        base = symbol.removesuffix(quote)
        if base != symbol and base.isalnum():
            return f"{base}-{quote}-SWAP"
    raise DataError(f"okx: a symbol must end in {', '.join(QUOTES)} after its base coin, got {symbol!r}")


def require_whole(tiers: Sequence[Tier]) -> None:
    """Raise `ValueError`, naming the tier, from 1, where a table of tiers is out of order or has a hole.

    Limits rise, in one unit, and maintenance rates do not fall. Where deductions are given, each follows from the tier
    below: if one does not, a tier is missing.
    """
    for number, (low, high) in enumerate(pairwise(tiers), 2):
        unit, its = ("contracts" if math.isnan(tier.up_to_usd) else "USD" for tier in (low, high))
        _require(f"tier {number}: the limit", f"in {unit} as the one below", its, unit == its)
        _require(f"tier {number}: the limit", f"above {low.limit}", high.limit, low.limit < high.limit)
        low_rate, high_rate = low.maintenance_rate, high.maintenance_rate
        _require(f"tier {number}: maintenance_rate", f"at least {low_rate}", high_rate, low_rate <= high_rate)
    if not any(tier.deduction_usd for tier in tiers):
        return
    follows = [0.0, *(deduction_after(low, high.maintenance_rate) for low, high in pairwise(tiers))]
    for number, (tier, usd) in enumerate(zip(tiers, follows, strict=True), 1):
        got, slack = tier.deduction_usd, 1.0 + usd / 1000  # venues round to whole USD
        expected = f"{usd:.2f} to go on from the tier below (is one missing?)"
        _require(f"tier {number}: deduction_usd", expected, got, abs(got - usd) <= slack)


def deduction_after(below: Tier, maintenance_rate: float) -> float:
    """The deduction in USD with which a tier of that rate goes on from the one below.

    The requirement, notional × rate − deduction, is then the same on both sides of the limit between them.

    >>> deduction_after(Tier(1_000_000.0, 0.25, 2.0), 0.5)
    250000.0
    """
    return below.deduction_usd + below.limit * (maintenance_rate - below.maintenance_rate)


def _require(field: str, expected: str, got: object, holds: bool) -> None:
    if not holds:
        raise ValueError(f"{field} must be {expected}, got {got}")


def _unknown_or(holds: bool, value: float) -> bool:
    return holds or math.isnan(value)


def _require_name(venue: str, name: str) -> None:
    if venue not in VENUES:
        raise DataError(f"the venue must be one of {', '.join(VENUES)}, got {venue!r}")
    if not name:
        raise DataError(f"{venue}: expected the name of a contract, got none")


def _plain(value: Any) -> Any:
    """A record as JSON can hold it."""
    if isinstance(value, msgspec.Struct):
        fields = {name: getattr(value, name) for name in value.__struct_fields__}
        return {n: _plain(v) for n, v in fields.items() if not (isinstance(v, float) and math.isnan(v))}
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return None if value == math.inf else value


def _contents(record: Instrument) -> dict[str, Any]:
    """All of a record but its time; NaN equals NaN."""
    plain: dict[str, Any] = _plain(record)
    return {name: value for name, value in plain.items() if name != "as_of_ns"}


def _read(data: bytes, place: str) -> list[Instrument]:
    try:
        rows = msgspec.json.decode(data, type=list[dict[str, Any]])
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: expected a list of records, got other JSON: {error}") from None
    return [_record(row, f"{place}: record {k} ({row.get('native')!r})") for k, row in enumerate(rows)]


def _record(row: dict[str, Any], place: str) -> Instrument:
    sizes = {"lot_size_base": NAN, "minimum_size_base": NAN}  # checked by the record: only inverse contracts have none
    tiers = row.get("tiers", [])
    if isinstance(tiers, list):
        tiers = [_limits(tier) if isinstance(tier, dict) else tier for tier in tiers]
    try:
        return msgspec.convert({**sizes, **row, "tiers": tiers}, Instrument, strict=True)
    except ValueError as error:
        raise DataError(f"{place}: {error}") from None


def _limits(tier: dict[str, Any]) -> dict[str, Any]:
    limits = [name for name in ("up_to_usd", "up_to_contracts") if name in tier]
    given = {name: math.inf if tier[name] is None else tier[name] for name in limits}
    return {"up_to_usd": NAN} | tier | given


@cache
def _shipped() -> Instruments:
    file = resources.files("squeeze.market").joinpath("instruments.json")
    return Instruments(_read(file.read_bytes(), "squeeze/market/instruments.json"))

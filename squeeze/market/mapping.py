"""What an import mapping may say: which column of which file is which field, in which unit and with which delay.

Every key of the YAML files in `configs/import/` is a field here; an unknown key or an impossible value is refused with
its place.
"""

import re
from datetime import date
from pathlib import Path
from typing import Literal

import msgspec
import yaml

from squeeze.errors import ConfigError, one_line
from squeeze.market.events import DAY_NS, HOUR_NS, MINUTE_NS, NAME, SECOND_NS, cadence_name
from squeeze.market.partitions import MAX_LAG_NS
from squeeze.strict import Strict, convert, require

OHLC = ("open", "high", "low", "close")
FIELDS = {
    "bar": (OHLC, ("volume_base", "taker_buy_base")),
    "mark_bar": (OHLC, ()),
    "open_interest": (("open_interest_base",), ()),
    "funding": (("funding_rate",), ("interval_hours",)),
    "liquidation": (("usd",), ()),
    "liquidation_sum": (("long_usd", "short_usd"), ()),
}
"""The fields that each kind must have, and those it may have."""

INTERVAL_KINDS = ("bar", "mark_bar", "liquidation_sum")
DURATION = re.compile(r"(\d+)(ms|s|m|h|d)")
UNITS = {"ms": SECOND_NS // 1000, "s": SECOND_NS, "m": MINUTE_NS, "h": HOUR_NS, "d": DAY_NS}


class Stamps(Strict, frozen=True, kw_only=True):
    """The column that holds the time."""

    column: str
    means: Literal["open", "close", "event"]
    """Whether an interval opened or closed then, or something happened then."""
    unit: Literal["datetime", "s", "ms", "us", "ns", "auto"] = "datetime"
    """Of a number, since 1970; `auto` goes by its size. A `datetime` must say that it is UTC."""


class Sides(Strict, frozen=True, kw_only=True):
    """The column that says whose position was liquidated, and the words it uses."""

    column: str
    values: dict[str, Literal["long", "short"]]
    """Careful: venues that give the side of the *order* sell to close a long (domain.md §1.5)."""


class Product(Strict, frozen=True, kw_only=True):
    """USD as quantity in base coins times price, for sources that give the two."""

    qty: str
    price: str


class SymbolColumn(Strict, frozen=True, kw_only=True):
    """The column that holds the symbol, in a file of many."""

    column: str


class FileMapping(Strict, frozen=True, kw_only=True):
    """One file: what it holds and what its columns mean."""

    file: str
    """Relative to the data folder: .csv, .csv.gz, .zip with one CSV inside, .parquet or .feather."""
    kind: Literal["bar", "mark_bar", "open_interest", "funding", "liquidation", "liquidation_sum"]
    venue: str
    """`binance`, or `binance+bybit+okx` where the source publishes one sum for several."""
    symbol: str | SymbolColumn
    ts: Stamps
    columns: dict[str, str] = msgspec.field(default_factory=dict)
    """Column of the file by field of the event."""
    cadence: str | None = None
    """`5m`, `1h`: the length of an interval, or the spacing of open-interest stamps; times must lie on its grid in
    UTC."""
    irregular_ts_seconds: float = 0.0
    """How far a stamp may lie off that grid. An interval is moved onto it, a stamp stays as it is."""
    publication_lag: str = "0s"
    """`known_at` is this long after the event, or after an interval's close."""
    scale: dict[str, float] = msgspec.field(default_factory=dict)
    """Factor by field, to get to base coins, USD or a rate per settlement."""
    side: Sides | None = None
    usd: Product | None = None
    header: tuple[str, ...] | None = None
    """Names of the columns of a CSV that has no header row."""
    plausible: dict[str, tuple[float, float]] = msgspec.field(default_factory=dict)
    """Range of the *median*, by field: tells a unit that is off by 1,000."""
    from_: date | None = msgspec.field(default=None, name="from")
    """First UTC day that is taken."""
    until: date | None = None
    """First UTC day that is no longer taken."""
    sampled: bool = False
    """The source publishes only some of the events."""
    licence: str | None = None
    """What is known about the right to use the file."""

    def __post_init__(self) -> None:
        needed, optional = FIELDS[self.kind]
        require(NAME.fullmatch(self.venue) is not None, f"venue {self.venue!r} may have letters, digits and + . _ -")
        named = isinstance(self.symbol, SymbolColumn) or NAME.fullmatch(self.symbol) is not None
        require(named, f"symbol {self.symbol!r} may have letters, digits and + . _ -")
        for field in needed:
            require(field in self.fields(), f"columns: a {self.kind} needs {field}")
        for key, names in (("columns", self.columns), ("scale", self.scale), ("plausible", self.plausible)):
            for name in names:
                known = name in (*needed, *optional) if key == "columns" else name in self.fields()
                require(known, f"{key}: a {self.kind} has no {name}; expected {', '.join((*needed, *optional))}")
        require(all(low <= high for low, high in self.plausible.values()), "plausible: [low, high] must rise")
        prints = self.kind == "liquidation"
        require((self.side is not None) == prints, "side belongs to kind liquidation, which needs it")
        require(self.usd is None or (prints and "usd" not in self.columns), "usd is a product or a column, of prints")
        interval = self.kind in INTERVAL_KINDS
        require((self.ts.means != "event") == interval, f"ts.means of a {self.kind} must be {self._meanings()}")
        require(not interval or self.cadence is not None, f"a {self.kind} needs a cadence")
        require(not prints or self.cadence is None, "prints have no cadence")
        require(self.cadence is None or self.cadence_ns > 0, "cadence must not be zero")
        require(self.cadence is None or DAY_NS % self.cadence_ns == 0, "cadence must divide a day")
        require(0 <= self.irregular_ts_seconds < 3600, "irregular_ts_seconds lies between 0 and 3600")
        require(self.lag_ns <= MAX_LAG_NS, "publication_lag is at most a day")

    def _meanings(self) -> str:
        return "open or close" if self.kind in INTERVAL_KINDS else "event"

    def fields(self) -> tuple[str, ...]:
        """The value fields that this file gives."""
        return (*self.columns, *(("usd",) if self.usd else ()))

    @property
    def cadence_ns(self) -> int:
        """Length of an interval; 0 where there is none."""
        return duration_ns(self.cadence) if self.cadence else 0

    @property
    def lag_ns(self) -> int:
        """How long after the event it is known."""
        return duration_ns(self.publication_lag)

    @property
    def lake_kind(self) -> str:
        """The kind under which the lake keeps it: `bar_5m`, `liquidation_1h`, `funding`."""
        stem = "liquidation" if self.kind == "liquidation_sum" else self.kind
        return f"{stem}_{cadence_name(self.cadence_ns)}" if self.kind in INTERVAL_KINDS else stem


class Mapping(Strict, frozen=True, kw_only=True):
    """The files of one import."""

    files: tuple[FileMapping, ...]

    def __post_init__(self) -> None:
        require(len(self.files) > 0, "files must not be empty")


def load_mapping(path: Path) -> Mapping:
    """The mapping in a YAML file; `ConfigError` naming the file and the key for what cannot hold."""
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {one_line(error)}") from None
    return convert(value, Mapping, str(path))


def duration_ns(text: str) -> int:
    """Nanoseconds of `250ms`, `60s`, `5m`, `8h` or `1d`.

    >>> duration_ns("5m") // SECOND_NS
    300
    """
    match = DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"expected a duration such as 60s, 5m or 1h, got {text!r}")
    return int(match[1]) * UNITS[match[2]]

"""What training and the live path must agree on, as frozen values; stored whole in every model file.

Every key of a YAML file is a field here (or in `training.config`) with a sentence under it, checked when it is read.
They are `msgspec.Struct`s rather than dataclasses: as frozen, and an unknown key or a wrong type is refused with its
place.
"""

import hashlib
from typing import Literal

import msgspec

from squeeze.atlas_spec import AtlasSpec
from squeeze.label_spec import CascadeSpec, PriceCascadeSpec
from squeeze.strict import Strict, require

SPEC_VERSION = 2
"""Raised whenever a frame computed from the same spec would change; a model of another version is refused."""


class StreamSpec(Strict, frozen=True, kw_only=True):
    """Where one kind of input comes from, and how long its silence may last."""

    venue: str
    """`binance`, or `binance+bybit+okx` where a source publishes one sum for several."""
    kinds: tuple[str, ...]
    """Names in the lake, best first; where the first is absent for a step the next is taken."""
    stale_minutes: float | None = None
    """Silence after which the live path abstains; null where silence is normal or the stream is optional."""


class VenueSpec(Strict, frozen=True, kw_only=True):
    """One venue whose maps are kept apart, beside the inputs of the model."""

    venue: str
    """As the lake calls it."""
    kinds: tuple[str, ...]
    """What is read of it, as the lake names it: `trade`, `mark_bar_1m`, `open_interest`, `book` and so on."""
    distances_log: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    """ln(liquidation price / entry) of longs and of shorts, one for each of `map.leverages`; in a file `shipped` takes
    them from the venue's maintenance tiers that come with the package. Null for the formula with `map.maintenance`.
    """


class MarketSpec(Strict, frozen=True, kw_only=True):
    """One symbol's inputs and the step clock."""

    symbol: str
    """As the lake calls it."""
    step_seconds: int = 60
    """Length of a step, from 1 s to 1 h; must divide a day."""
    bars: StreamSpec
    """Bars of the last price, with their volume; the one input that every market must have."""
    mark: StreamSpec | None = None
    """Mark-price bars; without them the mark is taken to be the last price, and frames say so."""
    open_interest: StreamSpec | None = None
    """Stamps of open interest, each contract counted once."""
    funding: StreamSpec | None = None
    """Settled funding rates."""
    liquidations: StreamSpec | None = None
    """Liquidated USD, as prints or as sums; its first kind also gives the labels."""
    venues: tuple[VenueSpec, ...] = ()
    """What the atlas reads beside these; the venue of `bars` comes first there, whether it is named here or not."""
    gap_reset_hours: float = 24.0
    """A hole in the bars longer than this empties the map and starts the warm-up again."""
    warm_up_hours: float = 336.0
    """How long the map must have run before a frame is healthy (domain.md §3.5: 14 days for BTC)."""

    def __post_init__(self) -> None:
        require(1 <= self.step_seconds <= 3600 and 86400 % self.step_seconds == 0, "step_seconds must divide a day")
        require(self.warm_up_hours >= 0 and self.gap_reset_hours > 0, "warm_up_hours and gap_reset_hours are positive")
        require(len({v.venue for v in self.venues}) == len(self.venues), "venues: each is named once")

    def streams(self) -> dict[str, StreamSpec]:
        """The configured inputs of the model by name."""
        named = {n: getattr(self, n) for n in ("bars", "mark", "open_interest", "funding", "liquidations")}
        return {name: stream for name, stream in named.items() if stream is not None}

    def inputs(self) -> dict[str, StreamSpec]:
        """Everything that is read, by name: the model's inputs, and what the atlas reads beside them."""
        found = self.streams()
        read = {(stream.venue, kind) for stream in found.values() for kind in stream.kinds}
        for venue in self.venues:
            for kind in venue.kinds:
                if (venue.venue, kind) not in read:
                    found[f"{kind} of {venue.venue}"] = StreamSpec(venue=venue.venue, kinds=(kind,))
        return found

    def kinds(self) -> dict[str, set[str]]:
        """What is read of each venue, and no more: live as from the lake. Holes are always read."""
        found: dict[str, set[str]] = {}
        for stream in self.inputs().values():
            found.setdefault(stream.venue, {"gap"}).update(stream.kinds)
        return found

    def venue_names(self) -> tuple[str, ...]:
        """The `venue` axis of the atlas: that of `bars`, then the others as configured."""
        return tuple(dict.fromkeys((self.bars.venue, *(v.venue for v in self.venues))))


class MapSpec(Strict, frozen=True, kw_only=True):
    """The liquidation heatmap (domain.md §3.5)."""

    bin_log: float = 5e-4
    """Width of a price bin in log price: 5 basis points."""
    leverages: tuple[float, ...] = (5.0, 10.0, 20.0, 50.0, 100.0)
    """One bucket of the map for each."""
    prior_weights: tuple[float, ...] = (0.10, 0.15, 0.15, 0.10, 0.05)
    """Share of open interest in each leverage bucket; the rest is never liquidated. The network's mixing layer starts
    here.
    """
    maintenance: float = 0.0045
    """Maintenance margin plus close fee, as a fraction of notional: the middle of the three venues' first tiers."""
    turnover: float = 0.10
    """κ: share of churn that opens or closes positions that last."""
    swept: float = 0.95
    """ρ: share of a bin's mass liquidated when mark goes through it."""
    taker_tilt: float = 1.3
    """τ: how much more levered takers are than makers; moves mass between levered and null, never its total."""
    smear: float = 0.08
    """Standard deviation of a deposit, as a share of its distance from entry; at least half a bin."""
    open_interest: Literal["stamps", "live", "volume"] = "stamps"
    """`stamps`: deposits wait for the next stamp, as of five minutes. `live`: every step deposits, from the newest
    stamp of a fast feed. `volume`: degraded, deposits follow volume at a slow reference. Train and serve with the same.
    """
    live_silence_minutes: float = 5.0
    """In `live` mode a step without a stamp counts as one without change for this long; then deposits wait."""
    jump_share: float | None = 0.45
    """A stamp this far from the last one, as a share of it, is a change of counting: the map is scaled with it, nothing
    opens or closes; null to believe every stamp.
    """
    reference_turnover_days: float = 0.6
    """In `volume` mode open interest is taken to be this many days of mean volume."""
    reference_half_life_hours: float = 720.0
    """How slowly that mean moves."""
    ageing_half_life_hours: float | None = None
    """Decay on top of closes; null for none, since turnover already ages the map."""
    close_tilt_near: float = 0.0
    """How much more readily a position closes that is about to be liquidated; 0 for all alike (`heatmaps.liquidation`
    has the formula).
    """
    close_tilt_profit: float = 0.0
    """The same for one whose profit has reached its margin."""
    shape: Literal["leverage", "uniform"] = "leverage"
    """Where deposits go. `leverage`: about the liquidation price of each bucket. `uniform`: evenly over `uniform_log`,
    whatever the bucket; opened, swept and closed as otherwise. A control, which knows nothing of leverage.
    """
    uniform_log: tuple[float, float] = (0.0025, 0.2)
    """From how near to how far from entry a `uniform` map spreads a deposit, in log price, on both sides alike."""
    view_hours: tuple[float, ...] = (24.0, 168.0, 720.0)
    """Views of the map: what was opened within the last so many hours. None of them changes the map."""
    view_parts: int = 8
    """A view is exact to this part of its length."""

    def __post_init__(self) -> None:
        require(len(self.leverages) == len(self.prior_weights) > 0, "as many prior_weights as leverages")
        require(all(lev > 1 for lev in self.leverages), "leverages must exceed 1")
        require(
            all(w >= 0 for w in self.prior_weights) and sum(self.prior_weights) <= 1,
            "prior_weights: none negative, at most 1 in all",
        )
        require(0 < self.bin_log < 0.05, "bin_log lies between 0 and 0.05")
        require(0 <= self.turnover <= 1 and 0 < self.swept <= 1, "turnover and swept are shares")
        require(1 <= self.taker_tilt <= 2, "taker_tilt lies between 1 and 2")
        require(0 <= self.maintenance < 1 / max(self.leverages), "maintenance must be below 1 / the highest leverage")
        require(self.live_silence_minutes >= 0, "live_silence_minutes is not negative")
        require(self.jump_share is None or self.jump_share > 0, "jump_share is positive, or null")
        require(min(self.close_tilt_near, self.close_tilt_profit) >= 0, "close_tilt_near and _profit are not negative")
        require(
            self.shape == "leverage" or max(self.close_tilt_near, self.close_tilt_profit) == 0,
            "close_tilt: a uniform map has no distance at entry that closes could depend on",
        )
        near, far = self.uniform_log
        require(0 <= near < far <= 1000 * self.bin_log, "uniform_log rises, from 0 to at most 1000 bins of bin_log")
        require(
            all(hours > 0 for hours in self.view_hours) and len(set(self.view_hours)) == len(self.view_hours),
            "view_hours are positive, none twice",
        )
        require(self.view_parts > 0, "view_parts is at least 1")


class FrameSpec(Strict, frozen=True, kw_only=True):
    """What the network sees of one step. All windows are in minutes."""

    price_bins: int = 32
    """Bins per side, outward from the mark."""
    bin_sigmas: float = 0.25
    """Width of such a bin in standard deviations of the log price over `sigma_minutes`."""
    bin_log: float | None = None
    """Its width in log price where it is to be the same in calm and storm; null for `bin_sigmas`."""
    sigma_minutes: float = 60.0
    """Horizon of that standard deviation."""
    windows_minutes: tuple[float, ...] = (15.0, 60.0, 240.0, 1440.0)
    """Trailing windows of volatility, range, return, volume and extremes."""
    sigma_windows_minutes: tuple[float, float] = (240.0, 1440.0)
    """The fast and the slow window of the volatility that other scalars are measured in."""
    map_sigma_windows_minutes: tuple[float, float] = (60.0, 360.0)
    """Windows whose mean variance scales the price bins."""
    fresh_skip_minutes: float = 15.0
    """A fresh extreme is measured against the extreme as it stood this long ago."""
    velocity_half_life_minutes: float = 15.0
    """Smoothing of approach velocity."""
    mass_distances_log: tuple[float, ...] = (0.0025, 0.005, 0.01, 0.02, 0.04)
    """Distances from the mark within which the map's mass is summed, in log price."""
    swept_half_lives_minutes: tuple[float, ...] = (15.0, 60.0, 240.0, 1440.0)
    """Memories of the mass the mark went through."""
    open_interest_windows_minutes: tuple[float, ...] = (60.0, 240.0, 1440.0)
    """Windows over which the change of open interest is taken."""
    liquidation_half_lives_minutes: tuple[float, ...] = (60.0, 360.0, 1440.0)
    """Memories of liquidated USD."""
    liquidation_scale_usd: float = 1e5
    """Liquidated USD enter as log(1 + USD / this)."""
    zone_reach_log: float = 0.10
    """How far from the mark zones are looked for, in log price."""
    zone_quantile: float = 0.90
    """A zone's bins exceed this quantile of the side's bins within reach (domain.md §4.1)."""
    zone_floor_share: float = 2e-4
    """... and this share of open interest per bin."""
    zone_mass_share: float = 3e-3
    """... and a zone holds at least this share of open interest."""
    channels: tuple[str, ...] = ()
    """The atlas's channels that join the model's own maps: names, or shell patterns such as `book_usd_*`."""

    def __post_init__(self) -> None:
        require(4 <= self.price_bins <= 256, "price_bins lies between 4 and 256")
        require(self.bin_sigmas > 0 and self.sigma_minutes > 0, "bin_sigmas and sigma_minutes are positive")
        require(self.bin_log is None or 0 < self.bin_log < 0.1, "bin_log lies between 0 and 0.1, or is null")
        require(len(self.windows_minutes) >= 2, "windows_minutes needs two windows or more")
        require(tuple(sorted(self.windows_minutes)) == self.windows_minutes, "windows_minutes must rise")
        require(self.windows_minutes[0] > 0, "windows_minutes must be positive")


class LabelSpec(Strict, frozen=True, kw_only=True):
    """The event a model predicts, per side and horizon; both sides may come true in one interval.

    `threshold`: more than `threshold_usd` of the side liquidated in [t, t + horizon). `onset` (L1, domain.md §5.1): a
    cascade of the side by prints begins in (t + guard, t + horizon]. `price` (L2, §5.2): one by price, and by open
    interest, taker flow and basis where they are recorded, begins there.
    """

    name: str
    """What is predicted, in words; people see it in figures and in `squeeze info`."""
    event: Literal["threshold", "onset", "price"] = "threshold"
    """What comes true; the constants of the others are null."""
    threshold_usd: float | None = None
    """Of `threshold`: more than this of one side must be liquidated."""
    onset: CascadeSpec | None = None
    """Of `onset`: `{}` for the defaults, those of BTC."""
    price: PriceCascadeSpec | None = None
    """Of `price`: `{}` for the defaults, those of BTC."""
    guard_seconds: float = 5.0
    """An onset so soon after the decision does not count: nobody could have acted on it."""
    after_minutes: float = 5.0
    """Rows inside an event, and up to this after it, are left out where an onset is predicted."""
    gap_share: float = 0.1
    """A row is left out where more than this share of a horizon was not recorded: it is not a zero."""
    horizons_minutes: tuple[int, ...]
    """Rising; P(horizon) rises with it by construction."""
    every_minutes: int
    """Rows are made at multiples of this, in UTC."""
    recorded: Literal["rows", "days"]
    """`rows`: an interval without a record was not recorded. `days`: silence is zero within a run of days with prints.
    """

    def __post_init__(self) -> None:
        given = {"threshold": self.threshold_usd, "onset": self.onset, "price": self.price}
        for event, constants in given.items():
            name = "threshold_usd" if event == "threshold" else event
            require(
                (constants is not None) == (event == self.event),
                f"{name} is given just where the event is {event}, and here it is {self.event}",
            )
        require(self.threshold_usd is None or self.threshold_usd > 0, "threshold_usd is positive")
        require(len(self.horizons_minutes) > 0, "horizons_minutes must not be empty")
        require(tuple(sorted(set(self.horizons_minutes))) == self.horizons_minutes, "horizons_minutes must rise")
        require(
            self.horizons_minutes[0] > 0 and self.every_minutes > 0, "horizons_minutes and every_minutes are positive"
        )
        require(0 <= self.guard_seconds < 60 * self.horizons_minutes[0], "guard_seconds is shorter than any horizon")
        require(self.after_minutes >= 0 and 0 <= self.gap_share < 1, "after_minutes is not negative, gap_share a share")


class SignalSpec(Strict, frozen=True, kw_only=True):
    """What the model's makers say of its signals; the rest is the user's (`squeeze.signals.strategy.StrategySpec`)."""

    horizon_minutes: int
    """Whose probability the machine watches."""
    arm_ratio: float = 3.0
    """A probability alarms at this many times the base rate, where the card holds no threshold for the budget."""
    confirm_seconds: float = 5.0
    """How long it must stay over the threshold."""
    cooldown_minutes: float = 60.0
    """How long a side rests after a signal has ended."""
    clock_seconds: float = 60.0
    """How often the machine looks at its clock in a replay."""

    def __post_init__(self) -> None:
        require(self.arm_ratio > 0, "arm_ratio is positive")
        require(
            self.confirm_seconds >= 0 and self.cooldown_minutes >= 0 and self.clock_seconds > 0, "times are positive"
        )


class Spec(Strict, frozen=True, kw_only=True):
    """Everything that a frame, a label and a signal depend on."""

    market: MarketSpec
    """Where the inputs come from, and the step clock."""
    map: MapSpec = MapSpec()
    """How the liquidation heatmap is kept."""
    frame: FrameSpec = FrameSpec()
    """What of it, and beside it, the network sees."""
    atlas: AtlasSpec | None = None
    """The other heatmaps, tracked zones and patterns; null for none of them."""
    label: LabelSpec
    """What is predicted."""
    signal: SignalSpec
    """What is made of the probabilities."""
    version: int = SPEC_VERSION
    """Of the spec's meaning; a file that names another is refused."""

    def __post_init__(self) -> None:
        require(self.version == SPEC_VERSION, f"this release speaks spec version {SPEC_VERSION}, not {self.version}")
        step = self.market.step_seconds
        require(
            all(60 * h % step == 0 for h in (*self.label.horizons_minutes, self.label.every_minutes)),
            "horizons_minutes and every_minutes must be whole steps",
        )
        require(
            self.signal.horizon_minutes in self.label.horizons_minutes,
            "signal.horizon_minutes must be one of the label's horizons",
        )
        require(not self.frame.channels or self.atlas is not None, "frame.channels are the atlas's: it needs an atlas")
        for venue in self.market.venues:
            require(
                venue.distances_log is None
                or all(len(side) == len(self.map.leverages) for side in venue.distances_log),
                f"venues: {venue.venue} has other distances_log than map.leverages",
            )
        require(
            self.map.open_interest == "volume" or self.market.open_interest is not None,
            "map.open_interest: stamps needs market.open_interest",
        )
        require(
            self.frame.zone_reach_log <= 1000 * self.map.bin_log,
            "frame.zone_reach_log must be at most 1000 bins of map.bin_log",
        )

    def digest(self) -> str:
        """First 16 hex digits of the SHA-256 of the spec's canonical JSON."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()[:16]

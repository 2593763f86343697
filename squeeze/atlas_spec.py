"""What the atlas keeps: the specs of every map, of zones, walls and patterns, in one value."""

from squeeze.heatmaps.flow import FlowSpec
from squeeze.heatmaps.funding import FundingSpec
from squeeze.heatmaps.open_interest import OpenInterestSpec
from squeeze.heatmaps.order_book import OrderBookSpec
from squeeze.heatmaps.stops import StopsSpec
from squeeze.heatmaps.volume_profile import VolumeProfileSpec
from squeeze.patterns.spec import PatternsSpec
from squeeze.strict import Strict, require
from squeeze.zones.spec import TrackSpec
from squeeze.zones.wall_spec import WallSpec


class AtlasSpec(Strict, frozen=True, kw_only=True):
    """Beside the model's liquidation map; bins, step and venues follow the rest of the spec, whatever is said here."""

    volume_profile: VolumeProfileSpec = VolumeProfileSpec()
    """One of each venue."""
    open_interest: OpenInterestSpec = OpenInterestSpec()
    """One of each venue."""
    order_book: OrderBookSpec = OrderBookSpec()
    """One of each venue."""
    flow: FlowSpec = FlowSpec()
    """One of each venue."""
    stops: StopsSpec = StopsSpec()
    """From the last price of the first venue."""
    funding: FundingSpec = FundingSpec()
    """One of all venues."""
    track: TrackSpec = TrackSpec()
    """How zones of all venues' liquidation map are followed."""
    walls: WallSpec = WallSpec()
    """What counts as a wall in the books."""
    patterns: PatternsSpec = PatternsSpec()
    """Thresholds of every pattern."""
    nodes_minutes: float = 15.0
    """Nodes of the volume profile are looked for this often, at multiples of it since 1970."""

    silent_minutes: float = 60.0
    """A venue that has not fed its map for so long is no part of what all venues add up to, nor compared with them."""

    def __post_init__(self) -> None:
        require(self.nodes_minutes > 0, "nodes_minutes is positive")
        require(self.silent_minutes > 0, "silent_minutes is positive")

"""Thresholds of every pattern, in one value; a key for each pattern of the catalogue, in its order."""

from squeeze.patterns.absorbed_wall import Thresholds as AbsorbedWall
from squeeze.patterns.accumulation import Thresholds as Accumulation
from squeeze.patterns.approach_velocity import Thresholds as ApproachVelocity
from squeeze.patterns.asymmetry import Thresholds as Asymmetry
from squeeze.patterns.convergence import Thresholds as Convergence
from squeeze.patterns.depletion import Thresholds as Depletion
from squeeze.patterns.funding_asymmetry import Thresholds as FundingAsymmetry
from squeeze.patterns.funding_extreme import Thresholds as FundingExtreme
from squeeze.patterns.heat_divergence import Thresholds as HeatDivergence
from squeeze.patterns.iceberg import Thresholds as Iceberg
from squeeze.patterns.migration import Thresholds as Migration
from squeeze.patterns.node_retest import Thresholds as NodeRetest
from squeeze.patterns.shielded_cluster import Thresholds as ShieldedCluster
from squeeze.patterns.spoofed_wall import Thresholds as SpoofedWall
from squeeze.patterns.stacked_zones import Thresholds as StackedZones
from squeeze.patterns.stale_timeframe import Thresholds as StaleTimeframe
from squeeze.patterns.thinning import Thresholds as Thinning
from squeeze.patterns.trend_alignment import Thresholds as TrendAlignment
from squeeze.patterns.venue_divergence import Thresholds as VenueDivergence
from squeeze.patterns.voids import Thresholds as Voids
from squeeze.strict import Strict


class PatternsSpec(Strict, frozen=True, kw_only=True):
    """Thresholds of every pattern."""

    accumulation: Accumulation = Accumulation()
    """The heaviest zone within reach gains mass, and how that has gone over 1, 6 and 24 hours."""
    stacked_zones: StackedZones = StackedZones()
    """Several zones close behind each other, so that clearing one carries the price into the next."""
    thinning: Thinning = Thinning()
    """A zone that the mark never reached loses mass, more than the whole market closes."""
    migration: Migration = Migration()
    """A zone, or the whole map of a side, has moved within 24 hours without losing its mass."""
    asymmetry: Asymmetry = Asymmetry()
    """One side of the mark holds more of the liquidation map than the other."""
    voids: Voids = Voids()
    """Stretches with little to liquidate, little traded and little resting, and the price entering one."""
    depletion: Depletion = Depletion()
    """Whether a swept zone was really liquidated, was never there, or was opened anew."""
    heat_divergence: HeatDivergence = HeatDivergence()
    """The map leans to one side while the crowd it is made of leaves, or others open against it."""
    venue_divergence: VenueDivergence = VenueDivergence()
    """The exchanges' liquidation maps do not say the same."""
    convergence: Convergence = Convergence()
    """Several maps point at one level."""
    node_retest: NodeRetest = NodeRetest()
    """A level of the volume profile was broken, and the price comes back to it from the other side."""
    spoofed_wall: SpoofedWall = SpoofedWall()
    """A large resting order that melts as the price comes near, or is pulled again and again."""
    absorbed_wall: AbsorbedWall = AbsorbedWall()
    """Takers trade much of a wall within a minute, and it still stands."""
    iceberg: Iceberg = Iceberg()
    """Takers traded more at a level than was ever shown there, and it still stands."""
    shielded_cluster: ShieldedCluster = ShieldedCluster()
    """Walls that are meant stand between the mark and the nearest zone."""
    funding_extreme: FundingExtreme = FundingExtreme()
    """One side is so crowded that it pays to stay."""
    funding_asymmetry: FundingAsymmetry = FundingAsymmetry()
    """Who pays, together with whose liquidations lie heavier near by."""
    stale_timeframe: StaleTimeframe = StaleTimeframe()
    """The map is too old for the horizon that is asked about."""
    trend_alignment: TrendAlignment = TrendAlignment()
    """The nearest zone lies where the price is going anyway."""
    approach_velocity: ApproachVelocity = ApproachVelocity()
    """The price runs toward the nearest zone and will soon be there."""

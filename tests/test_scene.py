"""What is read from a scene as a whole."""

import numpy as np
import pytest

from squeeze.patterns.scene import ZONE, mass_by_venue
from squeeze.signals.machine_facts import by_venue
from squeeze.signals.message import ZoneFacts
from tests.scenes import MARK_BIN, market, rows, zone


def two_venues(side: int, near_log: float = 0.01):
    """One zone of four bins; the first venue has nine tenths of open interest, and half as dense a map."""
    seen = market(venues=2)
    seen.venue_heat[:] = 0.0
    seen.venue_heat[0, side, 20:24], seen.venue_heat[1, side, 20:24] = 0.01, 0.02
    seen.venue_heat[:, 1 - side, 20:24] = 0.5
    seen.venues["open_interest_base"] = 90_000.0, 10_000.0
    return seen._replace(zones=rows(ZONE, zone(side, near_log, id=7), zone(1 - side, near_log, id=8)))


@pytest.mark.parametrize("side", [0, 1])
def test_a_zones_mass_is_told_by_venue_in_coins(side):
    np.testing.assert_allclose(mass_by_venue(two_venues(side), side, 7), [3600.0, 800.0])


@pytest.mark.parametrize("side", [0, 1])
def test_of_a_zone_that_the_mark_went_into_what_lies_ahead_counts(side):
    seen = two_venues(side)
    seen.now["mark_bin"] = MARK_BIN + (22 if side else -22)  # the third of its bins is the mark's own
    seen.venue_heat[:, side] = 0.0
    seen.venue_heat[0, side, :2], seen.venue_heat[1, side, :2] = 0.01, 0.02
    np.testing.assert_allclose(mass_by_venue(seen, side, 7), [1800.0, 400.0])


def test_a_message_tells_each_venues_part_of_its_zone_and_of_one_that_is_gone_what_it_was():
    told = ZoneFacts(
        id="long-7", side="long", low="1", high="2", centroid="1.5", usd=1e6, share_open_interest=0.04,
        thickness_rank=None, age_hours=1.0, stack=1,
    )  # fmt: skip
    seen, swept = two_venues(0), market(venues=2)
    shares = pytest.approx({"a": 3600 / 4400, "b": 800 / 4400})
    assert by_venue(told, ("a", "b"), (seen, None)).venue_shares == shares
    assert by_venue(told, ("a", "b"), (swept, seen)).venue_shares == shares
    assert by_venue(told, ("a", "b"), (swept, None)) == told


def test_a_zone_that_is_gone_and_a_venue_of_unknown_open_interest_hold_nothing():
    seen = two_venues(0)
    assert mass_by_venue(seen, 0, 8).tolist() == [0.0, 0.0], "that number is one of the other side"
    seen.venues["open_interest_base"][1] = np.nan
    np.testing.assert_allclose(mass_by_venue(seen, 0, 7), [3600.0, 0.0])

import math

import numpy as np
import pytest

from squeeze.heatmaps.funding import PREDICTED, SETTLED, FundingMap, FundingSpec
from squeeze.market.events import HOUR_NS, MINUTE_NS, Funding, FundingForecast, OpenInterest
from squeeze.market.venue_step import Candle, VenueStep

NAN = math.nan
START = 1_000 * 24 * HOUR_NS
VENUES = ("bybit", "okx", "binance")
SPEC = FundingSpec(venues=VENUES, hours=1000, z_hours=720, z_least=3)
MARK = Candle(100.0, 100.0, 100.0, 100.0, 0)


def settled(hour: float, rate: float, interval: float = NAN) -> Funding:
    event_ns = START + round(hour * HOUR_NS)
    return Funding(
        venue="", symbol="S", event_ns=event_ns, known_at_ns=event_ns, funding_rate=rate, interval_hours=interval
    )


def forecast(hour: float, rate: float, interval: float = NAN, settles: float = 0.0) -> FundingForecast:
    event_ns = START + round(hour * HOUR_NS)
    return FundingForecast(
        venue="",
        symbol="S",
        event_ns=event_ns,
        known_at_ns=event_ns,
        funding_rate=rate,
        interval_hours=interval,
        settles_ns=START + round(settles * HOUR_NS) if settles else 0,
    )


def fed(*steps: tuple[float, dict[str, VenueStep]], spec: FundingSpec = SPEC) -> FundingMap:
    """A map after steps that close at so many hours."""
    heat = FundingMap(spec)
    for hour, parts in steps:
        heat.step(parts, MARK, START + round(hour * HOUR_NS))
    return heat


def one(*records: Funding) -> dict[str, VenueStep]:
    return {"bybit": VenueStep(funding=records)}


@pytest.mark.parametrize(("interval", "rate"), [(8.0, 1e-4), (4.0, 2e-4), (2.0, 4e-4), (1.0, 8e-4), (6.0, 4e-4 / 3)])
def test_a_rate_is_brought_to_eight_hours(interval, rate):
    heat = fed((8.5, one(settled(8, 1e-4, interval))))
    assert heat.current(SETTLED)[0] == pytest.approx(rate)
    assert np.isnan(heat.current(SETTLED)[1:]).all()
    assert np.isnan(heat.current(PREDICTED)).all()


def test_without_an_interval_a_rate_is_unknown_until_two_settlements_show_it():
    heat = fed((8.1, one(settled(8, 1e-4))))
    assert np.isnan(heat.current(SETTLED)).all()
    heat.step(one(settled(12, 3e-4)), MARK, START + 13 * HOUR_NS)
    assert heat.current(SETTLED)[0] == pytest.approx(6e-4)
    # The first, of 08:00, stays unknown: it was when it was read.
    np.testing.assert_allclose(heat.matrix(SETTLED, 6)[0], [NAN, NAN, NAN, NAN, 6e-4, NAN])


@pytest.mark.parametrize("hour", [8 + 16, 8 + 3.5, 8 + 0.2])
def test_settlements_too_far_apart_or_off_the_hour_show_no_interval(hour):
    heat = fed((8.1, one(settled(8, 1e-4))), (40.0, one(settled(hour, 1e-4))))
    assert np.isnan(heat.rate[SETTLED, 0])


def test_a_settlement_stamped_seconds_late_still_shows_the_hours():
    heat = fed((8.1, one(settled(8, 1e-4))), (20.0, one(settled(16 + 0.005, 1e-4))))
    assert heat.rate[SETTLED, 0] == pytest.approx(1e-4)


def test_an_interval_that_changes_is_followed_and_counted():
    rates = [settled(8, 1e-4), settled(16, 1e-4), settled(24, 1e-4), settled(25, 1e-4), settled(26, 1e-4)]
    heat = fed((30.0, one(*rates)))
    assert heat.rate[SETTLED, 0] == pytest.approx(8e-4)
    assert heat.interval_changes.tolist() == [[1, 0, 0], [0, 0, 0]]
    heat.step(one(settled(34, 1e-4)), MARK, START + 35 * HOUR_NS)
    assert heat.rate[SETTLED, 0] == pytest.approx(1e-4)
    assert heat.interval_changes[SETTLED, 0] == 2


def test_what_the_venue_says_of_its_interval_comes_before_what_settlements_show():
    said = {"bybit": VenueStep(forecast=forecast(7, 2e-4, 1.0))}
    heat = fed((7.0, said), (9.0, one(settled(8, 1e-4))))
    assert heat.rate[SETTLED, 0] == pytest.approx(8e-4)
    heat.step(one(settled(16, 1e-4, 8.0)), MARK, START + 17 * HOUR_NS)
    assert heat.rate[SETTLED, 0] == pytest.approx(1e-4)
    # A forecast that says nothing takes the interval of the last settlement.
    heat.step({"bybit": VenueStep(forecast=forecast(17, 5e-4))}, MARK, START + 18 * HOUR_NS)
    assert heat.rate[PREDICTED, 0] == pytest.approx(5e-4)


def test_settled_and_predicted_are_kept_apart_by_hour():
    parts = {"okx": VenueStep(funding=(settled(8, 1e-4, 8.0),), forecast=forecast(8.2, -1e-4, 8.0))}
    heat = fed((7.5, {}), (8.25, parts), (8.75, {"okx": VenueStep(forecast=forecast(8.7, -2e-4, 8.0))}), (10.0, {}))
    np.testing.assert_allclose(heat.matrix(SETTLED, 3)[1], [1e-4, NAN, NAN])  # 08:00 ends the hour of 7
    np.testing.assert_allclose(heat.matrix(PREDICTED, 3)[1], [NAN, -2e-4, NAN])
    assert np.isnan(heat.matrix(PREDICTED, 3)[0]).all()
    with pytest.raises(ValueError, match="hours must lie between"):
        heat.matrix(PREDICTED, 1001)


def test_the_ring_forgets_after_its_hours():
    spec = FundingSpec(venues=VENUES, hours=10, z_hours=5)
    heat = fed((8.5, one(settled(8, 1e-4, 8.0))), (17.0, {}), spec=spec)
    assert heat.matrix(SETTLED, 10)[0, 0] == 1e-4
    heat.step({}, MARK, START + 18 * HOUR_NS)
    assert np.isnan(heat.matrix(SETTLED, 10)).all()
    heat.step(one(settled(8.5, 1e-4, 8.0)), MARK, START + 19 * HOUR_NS)
    assert np.isnan(heat.matrix(SETTLED, 10)).all(), "a settlement older than the ring has no place in it"


def test_records_that_are_not_newer_or_no_numbers_are_ignored():
    heat = fed((9.0, one(settled(8, 1e-4, 8.0), settled(8, 5e-4, 8.0), settled(7, 5e-4, 8.0), settled(8.5, NAN, 8.0))))
    assert heat.rate[SETTLED, 0] == 1e-4
    heat.step(one(settled(9.5, 1e-4, 0.0)), MARK, START + 10 * HOUR_NS)
    assert np.isnan(heat.rate[SETTLED, 0]), "an interval of nothing is none"


def stamp(coins: float, hour: float) -> OpenInterest:
    event_ns = START + round(hour * HOUR_NS)
    return OpenInterest(venue="", symbol="S", event_ns=event_ns, known_at_ns=event_ns, open_interest_base=coins)


def test_means_and_spread_over_venues():
    parts = {
        "bybit": VenueStep(forecast=forecast(1, 1e-4, 8.0), open_interest=(stamp(300.0, 1),)),
        "okx": VenueStep(forecast=forecast(1, 5e-4, 8.0), open_interest=(stamp(100.0, 1),)),
        "binance": VenueStep(forecast=forecast(1, -3e-4, 8.0)),
    }
    heat = fed((1.1, parts))
    np.testing.assert_allclose(heat.mean(PREDICTED), (1e-4, 2e-4))
    assert heat.spread(PREDICTED) == pytest.approx(8e-4)
    assert math.isnan(heat.spread(SETTLED))
    assert np.isnan(heat.mean(SETTLED)).all()
    named = dict(zip(heat.scalar_names, heat.scalars().T.tolist(), strict=True))
    assert named["funding_predicted_weighted_mean_bp"] == pytest.approx([2.0, -2.0])
    assert named["funding_predicted_spread_bp"] == pytest.approx([8.0, 8.0])
    assert named["funding_predicted_bp_binance"] == pytest.approx([-3.0, 3.0])
    assert named["funding_predicted_age_minutes_okx"] == pytest.approx([6.0, 6.0])
    one_alone = fed((1.1, {"okx": parts["okx"]}))
    assert math.isnan(one_alone.spread(PREDICTED))


def test_a_stale_forecast_is_not_believed():
    heat = fed((1.0, {"okx": VenueStep(forecast=forecast(1, 5e-4, 8.0))}), (2.0, {}))
    assert heat.current(PREDICTED)[1] == 5e-4
    heat.step({}, MARK, START + 2 * HOUR_NS + 1)
    assert np.isnan(heat.current(PREDICTED)).all()
    assert np.isnan(heat.outward(100.0, 0.01, 3)).all()


def test_a_forecast_that_is_only_carried_on_does_not_fill_the_next_hours():
    carried = {"okx": VenueStep(forecast=forecast(1, 5e-4, 8.0))}
    heat = fed((1.0, carried), (2.0, carried), (3.0, carried))
    np.testing.assert_allclose(heat.matrix(PREDICTED, 3)[1], [5e-4, NAN, NAN])


def test_minutes_to_settlement_are_as_forecast_else_reckoned_else_unknown():
    parts = {
        "bybit": VenueStep(forecast=forecast(1, 1e-4, settles=8.0)),
        "okx": VenueStep(funding=(settled(0, 1e-4, 4.0),)),
        "binance": VenueStep(funding=(settled(0, 1e-4),)),
    }
    heat = fed((1.0, parts))
    np.testing.assert_allclose(heat.minutes_to_settlement(), [420.0, 180.0, NAN])
    heat.step({}, MARK, START + 4 * HOUR_NS)
    np.testing.assert_allclose(heat.minutes_to_settlement(), [240.0, NAN, NAN])
    heat.step({}, MARK, START + 9 * HOUR_NS)
    assert np.isnan(heat.minutes_to_settlement()).all()


def test_the_z_score_is_against_the_trailing_rates():
    steps = [(n, {"okx": VenueStep(forecast=forecast(n, r, 8.0))}) for n, r in enumerate((1e-4, 2e-4, 6e-4), 1)]
    heat = fed(*steps)
    np.testing.assert_allclose(heat.z_score(PREDICTED), [NAN, 3e-4 / np.std([1e-4, 2e-4, 6e-4]), NAN])
    assert np.isnan(fed(*steps[:2]).z_score(PREDICTED)).all(), "too few"
    same = [(n, {"okx": VenueStep(forecast=forecast(n, 1e-4, 8.0))}) for n in range(1, 6)]
    assert np.isnan(fed(*same).z_score(PREDICTED)).all(), "a rate that never moved has no deviation"


def test_the_view_is_what_each_side_pays_at_every_price():
    heat = fed((1.0, {"okx": VenueStep(forecast=forecast(1, 5e-4, 8.0))}))
    out = heat.outward(100.0, 0.01, 3)
    assert heat.channels[4] == "funding_predicted_okx"
    np.testing.assert_allclose(out[:, 4], [[5e-4] * 3, [-5e-4] * 3])


def test_a_settlement_from_the_future_is_put_in_the_newest_hour():
    heat = fed((1.0, one(settled(1 + 10 * MINUTE_NS / HOUR_NS, 1e-4, 8.0))))
    np.testing.assert_allclose(heat.matrix(SETTLED, 2)[0], [NAN, 1e-4])


def reckoned_z(heat: FundingMap, kind: int) -> list[float]:
    """Each venue's newest rate against all that the matrix holds, looked at anew."""
    found = []
    for rate, row in zip(heat.current(kind), heat.matrix(kind, heat.spec.z_hours), strict=True):
        held = row[np.isfinite(row)]
        known = held.size >= heat.spec.z_least and held.std() > 1e-12
        found.append((rate - held.mean()) / held.std() if known else NAN)
    return found


def test_the_z_score_is_that_of_the_matrix_after_any_step():
    """Steps shorter and longer than an hour, settlements that come late into hours past, venues that fall silent."""
    rng, hour, seen = np.random.default_rng(5), 1.0, 0
    heat = FundingMap(FundingSpec(venues=VENUES, hours=60, z_hours=24, z_least=3))
    for _ in range(1500):
        hour += rng.choice([0.1, 0.3, 1.0, 2.5, 40.0], p=[0.4, 0.3, 0.2, 0.09, 0.01])
        parts = {}
        for venue in VENUES:
            late = settled(hour - rng.choice([0.0, 0.7, 5.0]), rng.normal(0, 1e-4), 8.0)
            parts[venue] = VenueStep(
                funding=(late,) if rng.random() < 0.3 else (),
                forecast=forecast(hour, rng.normal(0, 1e-4), 8.0) if rng.random() < 0.6 else None,
            )
        heat.step(parts, MARK, START + round(hour * HOUR_NS))
        for kind in (SETTLED, PREDICTED):
            want = reckoned_z(heat, kind)
            seen += int(np.isfinite(want).sum())
            np.testing.assert_allclose(heat.z_score(kind), want, rtol=1e-9, atol=1e-12)
    assert seen > 3000


def test_the_summary_is_weighted_where_it_can_be_and_says_who_settles_next():
    parts = {
        "bybit": VenueStep(forecast=forecast(1, 1e-4, 8.0, settles=8.0), open_interest=(stamp(300.0, 1),)),
        "okx": VenueStep(forecast=forecast(1, 5e-4, 8.0, settles=4.0), open_interest=(stamp(100.0, 1),)),
        "binance": VenueStep(forecast=forecast(1, -3e-4, 8.0)),
    }
    heat = fed((2.0, parts))
    np.testing.assert_allclose(heat.summary(PREDICTED), [2e-4, -3e-4, 5e-4, NAN, 120.0])
    np.testing.assert_allclose(heat.summary(SETTLED), [NAN, NAN, NAN, NAN, 120.0])
    without = {name: VenueStep(forecast=part.forecast) for name, part in parts.items()}
    assert fed((2.0, without)).summary(PREDICTED)[0] == pytest.approx(1e-4), "plain where no open interest is known"
    np.testing.assert_allclose(fed((2.0, {})).summary(PREDICTED), [NAN] * 5)
    rates = (1e-4, 2e-4, 6e-4)
    steps = [(n, {v: VenueStep(forecast=forecast(n, r, 8.0)) for v in VENUES[:2]}) for n, r in enumerate(rates, 1)]
    assert fed(*steps).summary(PREDICTED)[3] == pytest.approx(3e-4 / np.std(rates)), "of the venues that have a score"

"""The best probability there is: calibrated, and blind to what comes after."""

import msgspec
import numpy as np
import pytest

from squeeze.simulator import BINANCE, BYBIT, OKX, CrossMargin, SimulatorSpec, Stops, Thinning, Walls, simulate
from squeeze.simulator.oracle import book_at, probabilities
from squeeze.simulator.truth import close_step, ledger

SPEC = SimulatorSpec(days=3, warm_up_days=2, daily_volatility=0.025, detail=True)
ALL = {
    "venues": (BYBIT, OKX, BINANCE),
    "venue_basis_bps": 2.0,
    "cross": CrossMargin(),
    "stops": Stops(),
    "thinning": Thinning(),
    "walls": Walls(),
}


@pytest.mark.parametrize("switched", [{}, ALL, {"zones": "do_not_matter"}], ids=["plain", "all", "null"])
def test_as_many_cascades_come_as_the_oracle_says(switched):
    market = simulate(SimulatorSpec(days=10, warm_up_days=2, daily_volatility=0.02, detail=True, **switched), 9)
    expected, happened, spread = 0.0, 0.0, 0.0
    paths = 30
    for minute in range(120, len(market.minute_ns) - 61, 200):
        p = probabilities(market, minute, (60,), 500_000.0, paths)[:, 0]
        y = market.liquidated_usd(60)[minute + 1] > 500_000.0
        expected, happened = expected + p.sum(), happened + y.sum()
        smooth = (p * paths + 0.5) / (paths + 1)  # a share of 0 is not certainty
        spread += (smooth * (1 - smooth) * (1 + 1 / paths)).sum() * 1.5  # both sides of one hour go together a little
    assert expected > 5
    assert abs(happened - expected) < 3.5 * np.sqrt(spread)


def test_the_oracle_ranks_what_happens():
    market = simulate(SimulatorSpec(days=10, warm_up_days=2, daily_volatility=0.02, detail=True), 9)
    rows = []
    for minute in range(120, len(market.minute_ns) - 16, 120):
        p = probabilities(market, minute, (15,), 150_000.0, 30)[:, 0]
        rows.extend(zip(p, market.liquidated_usd(15)[minute + 1] > 150_000.0, strict=True))
    scores, labels = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    assert labels.sum() > 5
    assert (scores[labels][:, None] > scores[~labels][None]).mean() > 0.75


def test_the_future_changes_no_probability():
    short, long = (simulate(msgspec.structs.replace(SPEC, days=days, **ALL), 2) for days in (2, 3))
    for minute in (500, 2_000, 2_879):
        ours, theirs = (probabilities(market, minute, (5, 15, 60), 200_000.0, 20) for market in (short, long))
        assert np.array_equal(ours, theirs)


def test_probabilities_rise_with_the_horizon_and_fall_with_the_threshold():
    market = simulate(SPEC, 1)
    low, high = (probabilities(market, 2_000, (15, 60, 240), usd, 100) for usd in (1e5, 1e6))
    assert (np.diff(low, axis=1) >= 0).all()
    assert (low >= high).all()
    assert (low <= 1.0).all()
    assert (high >= 0.0).all()


def test_the_book_is_built_anew_from_the_ledger():
    market = simulate(msgspec.structs.replace(SPEC, **ALL), 3)
    held = ledger(market)
    for minute in (0, 1_234, 4_319):
        book = book_at(market, minute)
        alive = held.alive(close_step(market, minute))
        for row in range(6):
            count, own = book.alive[row], alive & (held.venue == row // 2) & (held.side == row % 2)
            assert count == len(np.unique(held.origin[own]))
            lots = np.bincount(held.origin[own], held.lots[own])
            assert np.array_equal(np.sort(book.lots[row, :count]), np.sort(lots[lots > 0]))
            found = np.exp(book.liquidation[row, :count])
            np.testing.assert_allclose(np.unique(found), np.unique(held.liquidation[own]), rtol=1e-12)
            assert book.lots[row, :count].sum() == book.total[row // 2, row % 2]
            edge = book.liquidation[row, :count].max() if row % 2 == 0 else book.liquidation[row, :count].min()
            assert book.edge[row] == edge

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeeze.errors import StepError
from squeeze.heatmaps.order_book import OrderBookMap, OrderBookSpec
from squeeze.market.depth import BookSummary
from squeeze.market.events import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS, Quality
from squeeze.market.venue_step import Candle, PriceFlow, VenueStep
from squeeze.patterns.scene import EXPIRED, FILLED, OUTCOMES, PULLED, REFILLED, STANDING, WALL
from squeeze.zones.wall_kernel import HELD
from squeeze.zones.walls import Resting, WallSpec, WallTracker, resting
from tests.naive_walls import NaiveWalls

NAN = math.nan
BIN = 5e-4
HERE = 22_000
T0 = 20_000 * DAY_NS
M = 1e6
BELOW, ABOVE = 0, 1


def at(position: float) -> float:
    """A price by its distance from HERE in bins."""
    return math.exp((HERE + position) * BIN)


def candle(low: float = 0.5, high: float = 0.5, close: float = 0.5) -> Candle:
    return Candle(at(close), at(max(high, close)), at(min(low, close)), at(close), 0)


def book(bids: dict[int, float], asks: dict[int, float], usual: float = 0.1 * M, reach: int = 40) -> np.ndarray:
    """USD by bins from HERE; what is not said is as usual."""
    usd = np.zeros((2, 2 * reach + 1))
    usd[0, : reach + 1] = usd[1, reach:] = usual
    for side, amounts in enumerate((bids, asks)):
        for place, amount in amounts.items():
            usd[side, place + reach] = amount
    return usd


class Script:
    """A market told step by step, in which one venue was seen to be quiet for long enough; `side` swaps it."""

    def __init__(self, side: int, seconds: float = 5.0, **spec: float) -> None:
        self.side, self.step_ns = side, round(seconds * SECOND_NS)
        self.tracker = WallTracker(WallSpec(least_history_minutes=1.0, **spec), BIN, 1)
        self.now = T0
        for _ in range(max(1, round(60 / seconds))):
            assert self({}).size == 0

    def __call__(
        self, wall: dict[int, float], traded: dict[int, float] | None = None, *, move: float = 0.0, past: float = 0.0,
        shown: bool = True, known: bool = True, newer: bool = True, wait: int = 1, reach: int = 40,
        usual: float = 0.1 * M, hit: bool = True,
    ) -> np.ndarray:  # fmt: skip
        """USD at bins outward from HERE, and traded there; the mark `move` bins outward, its wick `past` further.

        `hit`: by takers who hit this side of the book.
        """
        self.now += wait * self.step_ns
        sign = 1 if self.side == ABOVE else -1
        amounts = {sign * place: usd for place, usd in wall.items()}
        usd = book({}, amounts, usual, reach) if self.side == ABOVE else book(amounts, {}, usual, reach)
        coins = np.zeros((2, 201))
        for place, amount in (traded or {}).items():
            coins[1 - self.side if hit else self.side, sign * place + 100] = amount / at(sign * place + 0.5)
        close, wick = 0.5 + sign * move, 0.5 + sign * (move + past)
        self.out = self.tracker.step(
            [Resting(usd, HERE - reach, self.now if newer else T0, shown, coins, HERE - 100, known)],
            candle(min(close, wick), max(close, wick), close),
            self.now,
            self.step_ns,
        )
        return self.out

    def stand(self, usd: float = 4 * M, place: int = 6, **more) -> np.void:
        """A wall that was seen for fifteen seconds or two steps."""
        for _ in range(max(2, round(15 * SECOND_NS / self.step_ns) + 1)):
            self({place: usd}, **more)
        (wall,) = self.out
        assert (wall["outcome"], wall["ended_ns"]) == (STANDING, 0)
        return wall

    def end(self, usd: float, traded: float, place: int = 6) -> str:
        (wall,) = self({place: usd}, {place: traded})
        return OUTCOMES[wall["outcome"]]


sides = pytest.mark.parametrize("side", [BELOW, ABOVE], ids=["bids", "asks"])

# --- what is a wall


@sides
def test_a_wall_is_told_once_it_was_seen_for_ten_seconds(side):
    say = Script(side)
    first = say.now + say.step_ns
    assert say({6: 4 * M}).size == 0
    assert say({6: 4 * M}).size == 0
    (wall,) = say({6: 4 * M})
    sign = 1 if side == ABOVE else -1
    assert (wall["side"], wall["venue"], wall["bin"], wall["born_ns"]) == (side, 0, HERE + sign * 6, first)
    assert (wall["usd"], wall["peak_usd"], wall["traded_usd"], wall["pulls_1h"]) == (4 * M, 4 * M, 0, 0)
    assert wall["distance_log"] == pytest.approx(6 * BIN)
    assert wall["moved_beyond_log"] == 0.0
    assert wall["seen_ns"] == say.now


@sides
@pytest.mark.parametrize(
    ("usd", "usual"),
    [(2 * M - 1, 0.1 * M), (4 * M - 1, 0.5 * M)],
    ids=["under the floor", "under eight medians"],
)
def test_what_is_not_large_is_no_wall(side, usd, usual):
    say = Script(side)
    for _ in range(3):
        say({}, usual=usual)
    for _ in range(6):
        say({6: usd}, usual=usual)
    assert say.out.size == 0


@sides
def test_the_thresholds_themselves_are_enough(side):
    for usd, usual in ((2 * M, 0.1 * M), (4 * M, 0.5 * M)):
        say = Script(side)
        for _ in range(4):
            say({6: usd}, usual=usual)
        assert say.out.size == 1


@sides
def test_what_is_large_every_day_is_no_wall(side):
    say = Script(side)
    for _ in range(30):
        say({place: 4 * M for place in (6, 7, 8)}, newer=False)  # noted, not judged
    for _ in range(4):
        say({6: 3.4 * M})
    assert say.out.size == 0
    for _ in range(4):
        say({6: 4 * M})
    assert say.out.size == 1


@sides
def test_an_order_that_shrinks_within_ten_seconds_begins_anew(side):
    say = Script(side)
    for usd in (4, 4, 1, 4, 4):
        assert say({6: usd * M}).size == 0
    assert say({6: 4 * M}).size == 1


@sides
def test_ten_seconds_are_those_between_books(side):
    say = Script(side)
    say({6: 4 * M})
    for _ in range(5):
        assert say({6: 4 * M}, newer=False).size == 0
    assert say({6: 4 * M}).size == 1


def test_before_an_hour_of_books_nothing_is_a_wall():
    tracker = WallTracker(WallSpec(), BIN, 1)
    for number in range(1, 65):
        now = T0 + number * MINUTE_NS
        resting = Resting(book({}, {6: 4 * M}), HERE - 40, now, True, np.zeros((2, 0)), 0, True)
        out = tracker.step([resting], candle(), now, MINUTE_NS)
        assert out.size == (number >= 62), number  # 60 minutes seen, then the first sight, then 10 s later


@sides
def test_walls_beyond_reach_and_without_room_are_not_followed(side):
    say = Script(side, walls_per_side=2)
    for _ in range(4):
        say({39: 4 * M, 8: 4 * M, 6: 4 * M, 4: 4 * M})
    assert sorted(abs(say.out["bin"] - HERE)) == [4, 6]
    say = Script(side)
    for _ in range(4):
        say({39: 4 * M, 40: 4 * M})
    assert abs(say.out["bin"] - HERE).tolist() == [39]


# --- what became of it


@sides
@pytest.mark.parametrize(
    ("usd", "traded", "outcome"),
    [
        (0.8, 2.0, "filled"),
        (0.8, 1.99, "expired"),
        (0.8, 0.81, "expired"),
        (0.8, 0.8, "pulled"),
        (0.0, 0.0, "pulled"),
        (0.81, 0.0, "standing"),
        (0.81, 3.99, "standing"),
        (0.81, 4.01, "refilled"),
        (4.0, 4.01, "refilled"),
        (4.0, 4.0, "standing"),
        (0.8, 4.01, "filled"),
    ],
)
def test_the_outcome_at_every_threshold(side, usd, traded, outcome):
    say = Script(side)
    say.stand(4 * M)
    # A hundredth of a cent more or less: coins are rounded.
    assert say.end(usd * M, traded * M + (1e-4 if outcome == "filled" else -1e-4 if traded else 0.0)) == outcome
    (wall,) = say.out
    assert wall["ended_ns"] == (0 if outcome in ("standing", "refilled") else say.now)
    assert wall["traded_usd"] == pytest.approx(traded * M)
    assert say({6: 0.1 * M}).size == (outcome in ("standing", "refilled")), "what has ended is told once"


@sides
def test_only_takers_on_its_side_and_in_its_bin_count(side):
    say = Script(side)
    say.stand()
    say({6: 4 * M}, {5: 9 * M, 7: 9 * M})
    assert say.out["traded_usd"] == 0
    say({6: 4 * M}, {6: 9 * M}, hit=False)
    assert say.out["traded_usd"] == 0
    say({6: 4 * M}, {6: 1 * M})
    assert say.out["traded_usd"] == pytest.approx([1 * M])


@sides
def test_a_refilled_wall_stands_on_and_is_filled_in_the_end(side):
    say = Script(side)
    say.stand()
    assert say.end(3 * M, 3 * M) == "standing"
    assert say.end(4 * M, 2 * M) == "refilled"
    assert say.end(4 * M, 0) == "refilled"
    assert say.end(0, 1 * M) == "filled"


@sides
def test_what_was_traded_before_the_first_sight_does_not_count(side):
    say = Script(side)
    say({6: 4 * M}, {6: 9 * M})
    say({6: 4 * M}, {6: 1 * M})
    say({6: 4 * M})
    assert say.out["traded_usd"] == pytest.approx([1 * M])


@sides
def test_trades_that_were_not_recorded_leave_the_end_open(side):
    say = Script(side)
    say.stand()
    say({6: 4 * M}, known=False)
    assert np.isnan([say.out["traded_usd"][0], say.out["traded_60s_usd"][0]]).all()
    say({6: 0.1 * M})
    assert say.out["outcome"] == EXPIRED


@sides
def test_a_hole_between_steps_makes_trades_and_the_mark_unknown(side):
    say = Script(side)
    say.stand()
    say({6: 4 * M}, wait=2)
    assert np.isnan([say.out["traded_usd"][0], say.out["moved_beyond_log"][0]]).all()
    say({6: 4 * M}, past=9)
    assert np.isnan(say.out["moved_beyond_log"][0])


@sides
def test_a_wall_that_no_book_shows_is_neither_pulled_nor_filled_and_comes_back(side):
    say = Script(side)
    say.stand(place=20)
    say({}, reach=10)
    assert np.isnan(say.out["usd"][0])
    assert (say.out["outcome"][0], say.out["peak_usd"][0]) == (STANDING, 4 * M)
    say({20: 0.0}, shown=False)
    assert np.isnan(say.out["usd"][0])
    (wall,) = say({20: 5 * M})
    assert (wall["outcome"], wall["usd"], wall["peak_usd"]) == (STANDING, 5 * M, 5 * M)


@sides
@pytest.mark.parametrize("unseen", [{"shown": False}, {"reach": 10}, {"newer": False}], ids=str)
def test_a_wall_not_seen_for_an_hour_and_a_step_has_expired(side, unseen):
    say = Script(side, seconds=60.0)
    seen_ns = say.stand(place=20)["seen_ns"]
    for _ in range(61):
        (wall,) = say({20: 4 * M} if "reach" not in unseen else {}, **unseen)
        assert wall["outcome"] == STANDING
    (wall,) = say({}, **unseen)
    assert (wall["outcome"], wall["ended_ns"], wall["seen_ns"]) == (EXPIRED, say.now, seen_ns)
    assert say({}).size == 0


@sides
def test_steps_of_an_hour_can_be_followed_but_say_nothing_of_a_minute(side):
    say = Script(side, seconds=3600.0)
    wall = say.stand()
    assert np.isnan([wall["traded_60s_usd"], wall["pull_elasticity"]]).all()
    assert say.end(0, 4 * M) == "filled"


# --- the last minute, the mark, pulls


@sides
def test_the_last_minute_of_trades(side):
    say = Script(side, seconds=1.0)
    say.stand()
    say({6: 4 * M}, {6: 1 * M})
    for _ in range(59):
        say({6: 4 * M})
    assert say.out["traded_60s_usd"] == pytest.approx([1 * M])
    say({6: 4 * M}, {6: 0.5 * M})
    assert say.out["traded_60s_usd"] == pytest.approx([0.5 * M])
    assert say.out["traded_usd"] == pytest.approx([1.5 * M])


@sides
def test_how_far_the_mark_went_past_the_far_edge(side):
    say = Script(side)
    say({6: 4 * M}, past=9.0)
    say.stand()
    say({6: 4 * M}, past=6.49)
    assert say.out["moved_beyond_log"] == 0.0, "6.49 bins from the middle of a bin do not reach the far edge"
    say({6: 4 * M}, past=7.0)
    say({6: 4 * M})
    assert say.out["moved_beyond_log"] == pytest.approx([0.5 * BIN])


@sides
def test_the_elasticity_is_the_slope_of_size_on_distance(side):
    say = Script(side, seconds=5.0)
    say.stand(place=9)
    assert np.isnan(say.out["pull_elasticity"][0]), "the mark did not move"
    for distance in (8.0, 7.0, 6.0, 5.0):
        say({9: 4 * M * (distance / 9) ** 0.7}, move=9 - distance)
    assert say.out["pull_elasticity"][0] == pytest.approx(0.7)
    say({9: 4 * M * (5 / 9) ** 0.7}, move=4, wait=13)
    assert np.isnan(say.out["pull_elasticity"][0]), "more than a minute ago"


@sides
def test_far_away_there_is_no_elasticity(side):
    say = Script(side)
    say.stand(place=16)
    for distance in (15.0, 14.0, 13.0, 12.0, 11.0):
        say({16: 4 * M * distance / 16}, move=16 - distance)
    assert np.isnan(say.out["pull_elasticity"][0])


@sides
def test_pulls_at_a_level_are_counted_for_an_hour(side):
    say = Script(side, seconds=10.0)
    counts = []
    for place in (6, 7, 9, 6):
        say.stand(place=place)
        assert say.end(0, 0, place) == "pulled"
        counts.append(int(say.out["pulls_1h"][0]))
    assert counts == [1, 2, 1, 3]
    say({}, wait=354)
    say.stand()
    assert say.out["pulls_1h"] == 1, "all but the last are more than an hour ago"


# --- laws

TWIN_SPEC = WallSpec(
    median_multiple=3.0,
    quantile=0.9,
    floor_usd=1e5,
    near_log=0.006,
    reach_log=0.009,
    least_history_minutes=0.5,
    walls_per_side=3,
    memory_hours=0.5,
    expire_minutes=2.0,
)


def world(seed: int, steps: int = 120, venues: int = 2) -> list[tuple[tuple[Resting, ...], Candle, int, int]]:
    """Steps of books in which large orders stand, melt, are hit and vanish, with everything missing now and then."""
    rng = np.random.default_rng(seed)
    now, place, out = T0, 0.5, []
    large = [np.ones((2, 81)) for _ in range(venues)]
    book_ns, last = [T0] * venues, [np.full((2, 81), NAN)] * venues
    for _ in range(steps):
        step_ns = int(rng.choice([1, 5, 5, 5, 60])) * SECOND_NS
        now += step_ns + int(rng.random() < 0.02) * 30 * SECOND_NS
        path = place + np.cumsum(rng.normal(0, 0.4, 4))
        place = float(np.clip(path[-1], -15.3, 15.3))
        rows = []
        for venue in range(venues):
            new = rng.random((2, 81)) < 0.01
            large[venue] = np.where(new, rng.uniform(3, 60, (2, 81)), large[venue])
            fading = rng.random((2, 81)) < 0.06
            large[venue] = np.where(fading, np.maximum(large[venue] * rng.choice([0.05, 0.5, 1.5]), 1.0), large[venue])
            if rng.random() < 0.9:
                mid = math.floor(place) + 40
                usd = 3e4 * large[venue] * rng.lognormal(0, 0.3, (2, 81))
                usd[0, mid + 1 :], usd[1, :mid] = 0.0, 0.0
                covered = int(rng.integers(12, 30)) if rng.random() < 0.2 else 60
                usd[:, np.abs(np.arange(81) - mid) > covered] = NAN
                last[venue], book_ns[venue] = usd, now - int(rng.integers(0, SECOND_NS))
            coins = rng.exponential(1.0, (2, 21)) * rng.choice([0.0, 1.0, 6.0])
            first, known = HERE + math.floor(place) - 10, bool(rng.random() < 0.97)
            shown = bool(rng.random() < 0.95)
            rows.append(Resting(last[venue], HERE - 40, book_ns[venue], shown, coins, first, known))
        out.append((tuple(rows), candle(path.min(), path.max(), place), now, step_ns))
    return out


def assert_same(rows: np.ndarray, twin: list[dict]) -> None:
    assert len(rows) == len(twin)
    for row, expected in zip(rows, twin, strict=True):
        for name in WALL.names:
            if WALL[name].kind == "i":
                assert row[name] == expected[name], name
            else:
                np.testing.assert_allclose(row[name], expected[name], rtol=1e-6, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("seed", range(4))
def test_the_tracker_is_its_plain_twin(seed):
    tracker, twin, seen = WallTracker(TWIN_SPEC, BIN, 2), NaiveWalls(TWIN_SPEC, BIN, 2), []
    for step in world(seed):
        rows = tracker.step(*step)
        assert_same(rows, twin.step(*step))
        seen += rows["outcome"].tolist()
    assert len(seen) > 100
    assert {STANDING, PULLED} < set(seen)


def test_the_random_world_knows_every_outcome():
    seen = set()
    for seed in range(4):
        tracker = WallTracker(TWIN_SPEC, BIN, 2)
        seen |= {int(o) for step in world(seed) for o in tracker.step(*step)["outcome"]}
    assert seen == {STANDING, FILLED, PULLED, REFILLED, EXPIRED}


def upside_down(step):
    """Log price p becomes -p; USD stay, so coins are weighed by the square of the price."""
    rows, mark, now, step_ns = step
    turned = []
    for row in rows:
        count, first = row.usd.shape[1], row.traded_first_bin
        places = (first + np.arange(row.traded_base.shape[1]) + 0.5) * BIN
        turned.append(
            row._replace(
                usd=row.usd[::-1, ::-1].copy(),
                first_bin=-(row.first_bin + count),
                traded_base=(row.traded_base * np.exp(2 * places))[::-1, ::-1].copy(),
                traded_first_bin=-(first + len(places)),
            )
        )
    return tuple(turned), Candle(1 / mark.open, 1 / mark.low, 1 / mark.high, 1 / mark.close, 0), now, step_ns


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_a_mirrored_market_has_the_mirrored_walls(seed):
    tracker, mirror = WallTracker(TWIN_SPEC, BIN, 2), WallTracker(TWIN_SPEC, BIN, 2)
    for step in world(seed, 60):
        rows, turned = tracker.step(*step), mirror.step(*upside_down(step))
        expected = turned.copy()
        expected["side"], expected["bin"] = 1 - turned["side"], -turned["bin"] - 1
        expected = expected[np.argsort(2 * expected["venue"] + expected["side"], kind="stable")]
        assert_same(rows, [dict(zip(WALL.names, row.tolist(), strict=True)) for row in expected])


def test_the_whole_state_is_in_its_arrays_and_the_future_changes_nothing():
    steps = world(3)
    tracker, other = WallTracker(TWIN_SPEC, BIN, 2), WallTracker(TWIN_SPEC, BIN, 2)
    first = [tracker.step(*step).tobytes() for step in steps[:60]]
    for name, array in tracker.arrays().items():
        other.arrays()[name][...] = array
    assert [tracker.step(*s).tobytes() for s in steps[60:]] == [other.step(*s).tobytes() for s in steps[60:]]
    again = WallTracker(TWIN_SPEC, BIN, 2)
    assert [again.step(*step).tobytes() for step in steps[:60]] == first


def test_memory_has_a_fixed_size_and_scaled_weights_say_the_same():
    spec = WallSpec(least_history_minutes=1.0, memory_hours=0.01)
    tracker = WallTracker(spec, BIN, 1)
    size = sum(a.nbytes for a in tracker.arrays().values())
    assert HELD.itemsize < 2048
    now = T0
    for number in range(3000):
        now += MINUTE_NS
        usd = {6: 4 * M} if number % 7 else {}
        out = tracker.step(
            [Resting(book({}, usd), HERE - 40, now, True, np.zeros((2, 0)), 0, True)], candle(), now, MINUTE_NS
        )
        assert number < 10 or out.size == (number % 7 != 1), number
    assert np.isfinite(tracker.weight).all()
    assert (tracker.growth < 1e12).all()
    assert sum(a.nbytes for a in tracker.arrays().values()) == size
    tracker.step([Resting(book({}, {}), HERE - 40, 1, True, np.zeros((2, 0)), 0, True)], candle(), 2**62, MINUTE_NS)
    assert np.isfinite(tracker.weight).all()


# --- borders


def wrong_usd(usd):
    return {"usd": book({-3: usd}, {})}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (wrong_usd(-1.0), "USD"),
        (wrong_usd(math.inf), "USD"),
        ({"usd": book({3: 1.0}, {})}, "crossed"),
        ({"traded_base": np.array([[-1.0], [0.0]])}, "coins"),
        ({"traded_base": np.array([[0.0], [NAN]])}, "coins"),
        ({"usd": np.zeros((1, 3))}, "two sides"),
        ({"now": T0}, "follow"),
        ({"now": 0}, "follow"),
        ({"mark": Candle(1.0, 1.0, 2.0, 1.0, 0)}, "mark"),
        ({"mark": Candle(1.0, 1.0, NAN, 1.0, 0)}, "mark"),
        ({"step_ns": 0}, "length"),
        ({"venues": 2}, "1 venues"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_an_impossible_step_is_refused_and_changes_nothing(changes, reason):
    say = Script(ABOVE)
    say.stand()
    before = {name: array.tobytes() for name, array in say.tracker.arrays().items()}
    good = Resting(book({}, {6: 4 * M}), HERE - 40, say.now + 1, True, np.zeros((2, 0)), 0, True)
    wrong = good._replace(**{name: value for name, value in changes.items() if name in good._fields})
    now = {T0: say.now, 0: 0}[changes["now"]] if "now" in changes else say.now + 5 * SECOND_NS
    with pytest.raises(StepError, match=reason):
        say.tracker.step(
            [wrong] * changes.get("venues", 1), changes.get("mark", candle()), now, changes.get("step_ns", SECOND_NS)
        )
    assert {name: array.tobytes() for name, array in say.tracker.arrays().items()} == before


def test_what_is_wrong_in_a_book_that_is_not_shown_is_not_read():
    say = Script(ABOVE)
    spoilt = Resting(book({-3: -1.0}, {}), HERE - 40, say.now + 1, False, np.zeros((2, 0)), 0, True)
    assert say.tracker.step([spoilt], candle(), say.now + SECOND_NS, SECOND_NS).size == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"median_multiple": 0.5},
        {"quantile": 1.0},
        {"floor_usd": 0.0},
        {"near_log": 0.03},
        {"memory_hours": 0.0},
        {"least_history_minutes": -1.0},
        {"least_life_seconds": -1.0},
        {"walls_per_side": 0},
        {"pulled_share": 0.0},
        {"pulled_traded_share": 0.5},
        {"elasticity_log": 0.0},
        {"level_bins": -1},
        {"expire_minutes": 0.0},
    ],
)
def test_an_impossible_spec_is_refused(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        WallSpec(**changes)


# --- from a venue's book and part

FLOW = PriceFlow(bin_log=BIN, first_bin=HERE, buys_base=(1.0, 2.0), sells_base=(3.0, 4.0))


def shown_book() -> OrderBookMap:
    summary = BookSummary(
        event_ns=T0, bid=at(0.1), ask=at(0.2), spread_bps=1.0, bid_depth_usd=(NAN,) * 5, ask_depth_usd=(NAN,) * 5,
        imbalance=(NAN,) * 5, buy_cost_bps=(NAN,) * 3, sell_cost_bps=(NAN,) * 3, bin_log=BIN, first_bin=HERE - 2,
        bids_usd=(1.0, 2.0, 3.0, 0.0, 0.0), asks_usd=(0.0, 0.0, 4.0, 5.0, 6.0),
    )  # fmt: skip
    heat = OrderBookMap(OrderBookSpec(bin_log=BIN))
    heat.step(VenueStep(book=summary), candle(), T0 + SECOND_NS)
    return heat


def test_what_rests_and_what_was_traded_come_from_the_book_map_and_the_part():
    heat = shown_book()
    found = resting(heat, VenueStep(flow=FLOW))
    assert (found.book_ns, found.shown, found.traded_known, found.traded_first_bin) == (T0, True, True, HERE)
    assert found.traded_base.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    here = HERE - found.first_bin
    np.testing.assert_array_equal(found.usd[:, here - 2 : here + 3], [[NAN, 2, 3, 0, NAN], [NAN, 0, 4, 5, NAN]])
    tracker = WallTracker(WallSpec(), BIN, 1)
    assert tracker.step([found], candle(), T0 + SECOND_NS, SECOND_NS).size == 0
    heat.step(VenueStep(), candle(), T0 + HOUR_NS)
    assert not resting(heat, VenueStep()).shown


@pytest.mark.parametrize(
    ("part", "known"),
    [
        (VenueStep(volume_base=0.0), True),
        (VenueStep(), False),
        (VenueStep(last=candle(-2, 2), volume_base=9.0, taker_buy_base=5.0), False),
        (VenueStep(flow=FLOW, quality=Quality.PARTIAL), False),
    ],
    ids=["quiet", "silent", "a bar", "a hole"],
)
def test_trades_are_known_only_if_recorded_one_by_one_without_a_hole(part, known):
    found = resting(shown_book(), part)
    assert (found.traded_known, found.traded_base.size) == (known, 0)

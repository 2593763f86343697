"""Laws that hold for every pattern in the catalogue, whatever it looks for."""

import math

import msgspec
import numpy as np
import pytest

from squeeze.patterns import funding_asymmetry, funding_extreme
from squeeze.patterns.catalogue import PATTERNS, Patterns
from squeeze.patterns.pattern import EVIDENCE_ROOM, FINDING, finding, thresholds_record
from squeeze.patterns.scene import ENDINGS, NODE, NODES, NOW, OUTCOMES, VENUE, WALL, ZONE, Scene
from squeeze.patterns.spec import PatternsSpec
from tests.scenes import BIN_LOG, CLOSE_NS, MINUTE_NS, market, mirrored, rows, zone

EVEN = PatternsSpec(
    funding_extreme=funding_extreme.Thresholds(crowded_long_8h=4e-4, crowded_short_8h=4e-4),
    funding_asymmetry=funding_asymmetry.Thresholds(crowded_long_8h=4e-4, crowded_short_8h=4e-4),
)
"""Thresholds under which longs and shorts are treated alike, as the mirror law asks."""

each = pytest.mark.parametrize("module", PATTERNS, ids=lambda module: module.NAME)


def random_scenes(seed: int, steps: int = 40) -> list[Scene]:
    """A market that wanders a bin or so a minute, with zones, walls and nodes that come and go."""
    rng = np.random.default_rng(seed)
    place, scenes, places = 22_000.5, [], rng.normal(22_000.5, 60, 6)
    for step in range(steps):
        place += rng.normal(0, 2)
        mark_bin = math.floor(place)
        low, high = place - abs(rng.normal(0, 2)), place + abs(rng.normal(0, 2))
        scene = market(
            bins=200,
            venues=2,
            close_ns=CLOSE_NS + step * MINUTE_NS,
            mark_bin=mark_bin,
            mark=math.exp(place * BIN_LOG),
            mark_low=math.exp(low * BIN_LOG),
            mark_high=math.exp(high * BIN_LOG),
            **{name: rng.normal(0, 5e-3) for name in ("velocity", "return_4h", "return_24h", "open_interest_4h")},
            acceleration=rng.normal(0, 1e-3),
            funding_8h=rng.normal(0, 5e-4),
            funding_low_8h=-1e-3,
            funding_high_8h=1e-3,
            funding_z=rng.normal(0, 2),
            longs_opened_4h=rng.random() * 0.1,
            shorts_opened_4h=rng.random() * 0.1,
            map_age_ns=MINUTE_NS,
            open_interest_age_ns=MINUTE_NS,
            book_age_ns=1,
        )
        shapes = {"heat": (2, 200), "venue_heat": (2, 2, 200), "volume": (2, 200), "interest": (2, 200)}
        arrays = {name: rng.gamma(0.5, 1e-3, shape) for name, shape in shapes.items()}
        book = rng.gamma(0.5, 1e6, (2, 200))
        book[:, 90:] = np.nan
        for array in (arrays["heat"], arrays["volume"], arrays["interest"], book, *arrays["venue_heat"]):
            array[1, 0] = array[0, 0]  # both sides begin with the mark's own bin
        alive = [random_zone(rng, side, i + 1, mark_bin) for side in (0, 1) for i in range(int(rng.integers(0, 4)))]
        alive.sort(key=lambda z: (z["side"], z["near_log"]))
        ended = [random_zone(rng, int(rng.integers(2)), 9, mark_bin) | {"ending": int(rng.integers(1, len(ENDINGS)))}]
        nodes = [
            {"kind": int(rng.integers(len(NODES))), "window": 0, "place_log": p * BIN_LOG, "volume_share": 0.5}
            for p in places
        ]
        scenes.append(
            scene._replace(
                zones=rows(ZONE, *alive),
                ended=rows(ZONE, *(ended if rng.random() < 0.3 else [])),
                walls=rows(WALL, *(random_wall(rng, mark_bin) for _ in range(int(rng.integers(0, 4))))),
                nodes=rows(NODE, *nodes),
                venues=rows(
                    VENUE,
                    *(
                        {
                            "open_interest_base": 5e4,
                            "funding_8h": rng.normal(0, 5e-4),
                            "forecast_8h": rng.normal(0, 5e-4),
                            "long_usd": rng.gamma(0.1, 1e6),
                            "short_usd": rng.gamma(0.1, 1e6),
                            "complete": 1,
                        }
                        for _ in range(2)
                    ),
                ),
                book=book,
                **arrays,
            )
        )
    return scenes


def random_zone(rng: np.random.Generator, side: int, number: int, mark_bin: int) -> dict[str, object]:
    near = int(rng.integers(1, 120))
    width = int(rng.integers(1, 8))
    low = mark_bin - near - width + 1 if side == 0 else mark_bin + near
    mass, before = rng.gamma(1, 0.01), rng.gamma(1, 0.01, 4)
    place = (low + width / 2) * BIN_LOG
    made = zone(
        side, near * BIN_LOG, width * BIN_LOG, mass, id=number, low_bin=low, end_bin=low + width, place_log=place
    )
    return made | {
        "peak_6h_share": max(mass, before[0]),
        "peak_6h_base": max(mass, before[0]) * 1e5,
        "mass_1h_share": before[1],
        "mass_6h_share": before[2],
        "mass_24h_share": before[3],
        "place_24h_log": place + rng.normal(0, 0.01),
        "major": int(rng.integers(2)),
        "touched_ns": CLOSE_NS if rng.random() < 0.2 else 0,
    }


def random_wall(rng: np.random.Generator, mark_bin: int) -> dict[str, object]:
    side, away = int(rng.integers(2)), int(rng.integers(1, 60))
    usd = rng.gamma(2, 2e6)
    return {
        "side": side,
        "venue": int(rng.integers(2)),
        "bin": mark_bin - away if side == 0 else mark_bin + away,
        "distance_log": (away + 0.5) * BIN_LOG,
        "usd": usd,
        "peak_usd": usd * (1 + rng.random()),
        "traded_usd": rng.gamma(0.5, 3e6),
        "traded_60s_usd": rng.gamma(0.5, 3e6),
        "moved_beyond_log": 0.0 if rng.random() < 0.7 else 0.001,
        "born_ns": CLOSE_NS - int(rng.integers(1, 60)) * MINUTE_NS,
        "seen_ns": CLOSE_NS,
        "pulls_1h": int(rng.integers(0, 4)),
        "pull_elasticity": rng.normal(0.3, 0.5),
        "outcome": int(rng.integers(len(OUTCOMES))),
    }


def run(module: object, scenes: list[Scene], spec: PatternsSpec = EVEN) -> np.ndarray:
    """(step, side) of FINDING, from an empty memory."""
    rules = thresholds_record(getattr(spec, module.NAME))
    memory, out = np.zeros(1, module.MEMORY), np.zeros((len(scenes), 2), FINDING)
    for scene, row in zip(scenes, out, strict=True):
        module.detect(scene, rules[0], memory[0], row)
    return out


@each
def test_a_mirrored_market_shows_mirrored_patterns(module):
    for seed in range(4):
        scenes = random_scenes(seed)
        here = run(module, scenes)
        there = run(module, [mirrored(scene) for scene in scenes])[:, ::-1]
        np.testing.assert_allclose(there["score"], here["score"], rtol=1e-6, atol=1e-9)
        np.testing.assert_array_equal(there["flag"], here["flag"])
        for i, name in enumerate(module.EVIDENCE):
            if not name.endswith("_usd"):  # the price, and so the USD, is another in the mirror
                got, expected = there["evidence"][..., i], here["evidence"][..., i]
                np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-9, err_msg=name)


@each
def test_what_was_found_does_not_depend_on_what_comes_after(module):
    scenes, others = random_scenes(1), random_scenes(2)
    whole, cut = run(module, scenes), run(module, scenes[:20] + others[20:])
    assert whole[:20].tobytes() == cut[:20].tobytes()


@each
def test_a_market_of_which_nothing_is_recorded_raises_no_flag(module):
    names = [n for n in NOW.names if NOW[n].kind == "f" and n not in ("bin_log", "mark", "mark_low", "mark_high")]
    blind = market(venues=2, map_age_ns=MINUTE_NS, open_interest_age_ns=MINUTE_NS, book_age_ns=1)
    for name in names:
        blind.now[name] = np.nan
    for name in ("open_interest_base", "long_usd", "short_usd"):
        blind.venues[name] = np.nan
    for row in run(module, [blind, blind]).ravel():
        assert not row["flag"]


@each
def test_a_finding_was_known_at_its_close_and_its_flag_says_why(module):
    flagged = 0
    for seed in range(6):
        scenes = random_scenes(seed)
        for scene, row in zip(scenes, run(module, scenes), strict=True):
            for side in range(2):
                assert row[side]["known_at_ns"] == scene.now["close_ns"][0]
                assert row[side]["flag"] in (0, 1)
                if row[side]["flag"]:
                    flagged += 1
                    assert not math.isnan(row[side]["score"])
                    assert "nan" not in finding(module, side, row[side]).reason
    assert len(module.EVIDENCE) <= EVIDENCE_ROOM
    assert len(set(module.EVIDENCE)) == len(module.EVIDENCE)


@each
def test_thresholds_are_numbers_each_with_a_sentence(module):
    spec = module.Thresholds()
    for name in spec.__struct_fields__:
        assert isinstance(getattr(spec, name), int | float)


def test_all_together_find_what_each_finds_alone():
    scenes = random_scenes(3)
    patterns = Patterns(EVEN)
    together = np.stack([patterns.step(scene).copy() for scene in scenes])
    for i, module in enumerate(PATTERNS):
        assert together[:, i].tobytes() == run(module, scenes).tobytes(), module.NAME


def test_going_on_from_its_arrays_changes_nothing():
    scenes = random_scenes(5)
    one, other = Patterns(EVEN), Patterns(EVEN)
    for scene in scenes[:20]:
        one.step(scene)
    held = {name: array.copy() for name, array in one.arrays().items()}
    for name, array in other.arrays().items():
        array[...] = held[name]
    for scene in scenes[20:]:
        assert one.step(scene).tobytes() == other.step(scene).tobytes()


def test_scalars_are_score_and_flag_by_side_and_both_unknown_where_nothing_can_be_told():
    patterns = Patterns(PatternsSpec())
    assert np.isnan(patterns.scalars()).all()
    patterns.step(random_scenes(6, 1)[0])
    scalars = patterns.scalars()
    assert scalars.shape == (2, 2 * len(PATTERNS)) == (2, len(patterns.scalar_names))
    assert (np.isnan(scalars[:, ::2]) == np.isnan(scalars[:, 1::2])).all()


def test_every_pattern_has_a_name_of_its_own_and_its_thresholds_a_key():
    names = [module.NAME for module in PATTERNS]
    assert len(set(names)) == len(names)
    assert tuple(PatternsSpec.__struct_fields__) == tuple(names)
    assert msgspec.convert({}, PatternsSpec) == PatternsSpec()

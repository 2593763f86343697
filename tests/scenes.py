"""Scenes written by hand for the tests of patterns: an empty market, what is put into it, and its mirror image."""

import math
from types import ModuleType
from typing import Any

import numpy as np

from squeeze.patterns.pattern import FINDING, Finding, finding, thresholds_record
from squeeze.patterns.scene import AREA_HIGH, AREA_LOW, NODE, NOW, VENUE, WALL, ZONE, Scene

MINUTE_NS = 60 * 10**9
BIN_LOG = 5e-4
MARK_BIN = 22_000
CLOSE_NS = 1_760_000_040 * 10**9

SIGNED = ("velocity", "acceleration", "return_4h", "return_24h")
"""Numbers of `NOW` that are of the price."""


def rows(dtype: np.dtype, *records: dict[str, Any]) -> np.ndarray:
    """Records by name; whole numbers not given are 0, others NaN."""
    out = np.zeros(len(records), dtype)
    for name in dtype.names:
        if dtype[name].kind == "f":
            out[name] = np.nan
    for i, record in enumerate(records):
        for name, value in record.items():
            out[name][i] = value
    return out


def market(bins: int = 200, venues: int = 1, **now: Any) -> Scene:
    """A quiet market of 60,000: no zones, walls or nodes; maps all NaN; `now` changes its numbers."""
    mark = math.exp((MARK_BIN + 0.5) * BIN_LOG)
    quiet = {
        "close_ns": CLOSE_NS,
        "step_ns": MINUTE_NS,
        "mark": mark,
        "mark_low": mark,
        "mark_high": mark,
        "mark_bin": MARK_BIN,
        "bin_log": BIN_LOG,
        "sigma_1m": 5e-4,
        "sigma_4h": 8e-3,
        "atr_1h": 4e-3,
        "atr_4h": 8e-3,
        "return_4h": 0.0,
        "return_24h": 0.0,
        "velocity": 0.0,
        "acceleration": 0.0,
        "open_interest_base": 1e5,
        "open_interest_usd": 1e5 * mark,
        "open_interest_4h": 0.0,
        "open_interest_24h": 0.0,
        "longs_opened_4h": 0.0,
        "shorts_opened_4h": 0.0,
        "minutes_to_settlement": 120.0,
    }
    nothing = np.full((2, bins), np.nan)
    return Scene(
        now=rows(NOW, quiet | now),
        zones=rows(ZONE),
        ended=rows(ZONE),
        walls=rows(WALL),
        nodes=rows(NODE),
        venues=rows(VENUE, *({"open_interest_base": 1e5 / venues, "complete": 1} for _ in range(venues))),
        heat=nothing.copy(),
        venue_heat=np.full((venues, 2, bins), np.nan),
        volume=nothing.copy(),
        interest=nothing.copy(),
        book=nothing.copy(),
    )


def zone(side: int, near_log: float, width_log: float = 0.002, mass_share: float = 0.01, **more: Any) -> dict[str, Any]:
    """A zone that has stood for a day, unchanged, in a market as `market` makes it."""
    near, width = round(near_log / BIN_LOG), max(1, round(width_log / BIN_LOG))
    low = MARK_BIN - near - width + 1 if side == 0 else MARK_BIN + near
    coins = mass_share * 1e5
    place = (low + width / 2) * BIN_LOG
    shares = {name: mass_share for name in ("peak_6h_share", "mass_1h_share", "mass_6h_share", "mass_24h_share")}
    return {
        "side": side,
        "id": 1,
        "near_log": near * BIN_LOG,
        "far_log": (near + width) * BIN_LOG,
        "centroid_log": (near + width / 2) * BIN_LOG,
        "place_log": place,
        "low_bin": low,
        "end_bin": low + width,
        "peak_share": mass_share / width,
        "mass_share": mass_share,
        "mass_base": coins,
        "peak_6h_base": coins,
        "mass_usd": coins * math.exp(place),
        "age_days": 1.0,
        "born_ns": CLOSE_NS - 2 * 24 * 60 * MINUTE_NS,
        "seen_steps": 2880,
        "place_24h_log": place,
        **shares,
        **more,
    }


def detect(module: ModuleType, *scenes: Scene, **thresholds: float) -> tuple[Finding, Finding]:
    """What a pattern finds on either side in the last of these scenes, from an empty memory."""
    rules = thresholds_record(module.Thresholds(**thresholds))
    memory = np.zeros(1, module.MEMORY)
    out = np.zeros(2, FINDING)
    for scene in scenes:
        module.detect(scene, rules[0], memory[0], out)
    return finding(module, 0, out[0]), finding(module, 1, out[1])


def mirrored(scene: Scene) -> Scene:
    """The same market upside down: log price p becomes -p, longs become shorts."""
    now = scene.now.copy()
    now["mark"], now["mark_low"], now["mark_high"] = 1 / now["mark"], 1 / now["mark_high"], 1 / now["mark_low"]
    now["mark_bin"] = -now["mark_bin"] - 1
    for name in SIGNED:
        now[name] = -now[name]
    now["longs_opened_4h"], now["shorts_opened_4h"] = scene.now["shorts_opened_4h"], scene.now["longs_opened_4h"]
    now["funding_low_8h"], now["funding_high_8h"] = -scene.now["funding_high_8h"], -scene.now["funding_low_8h"]
    now["funding_8h"], now["funding_z"] = -now["funding_8h"], -now["funding_z"]
    venues = scene.venues.copy()
    venues["funding_8h"], venues["forecast_8h"] = -venues["funding_8h"], -venues["forecast_8h"]
    venues["long_usd"], venues["short_usd"] = scene.venues["short_usd"], scene.venues["long_usd"]
    nodes = scene.nodes.copy()
    nodes["place_log"] = -nodes["place_log"]
    nodes["kind"][scene.nodes["kind"] == AREA_LOW] = AREA_HIGH
    nodes["kind"][scene.nodes["kind"] == AREA_HIGH] = AREA_LOW
    walls = scene.walls.copy()
    walls["side"], walls["bin"] = 1 - walls["side"], -walls["bin"] - 1
    return scene._replace(
        now=now,
        zones=_mirrored_zones(scene.zones),
        ended=_mirrored_zones(scene.ended),
        walls=walls,
        nodes=nodes,
        venues=venues,
        heat=scene.heat[::-1].copy(),
        venue_heat=scene.venue_heat[:, ::-1].copy(),
        volume=scene.volume[::-1].copy(),
        interest=scene.interest[::-1].copy(),
        book=scene.book[::-1].copy(),
    )


def _mirrored_zones(zones: np.ndarray) -> np.ndarray:
    out = zones.copy()
    out["side"] = 1 - zones["side"]
    out["low_bin"], out["end_bin"] = -zones["end_bin"], -zones["low_bin"]
    for name in ("place_log", "place_24h_log"):
        out[name] = -zones[name]
    return np.concatenate([out[out["side"] == 0], out[out["side"] == 1]])

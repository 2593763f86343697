"""Figures and the page: made from plausible input without a warning, whole, offline, and safe against hostile text."""

import re
import struct
import sys

import numpy as np
import pytest

from squeeze.errors import UserError
from squeeze.market.events import HOUR_NS
from squeeze.tools.drawing import absolute_map, price_levels, thin_map, thin_starts, trades, wilson
from squeeze.tools.page import write_page
from training.evaluation.alarms import claims, curve, lead_minutes
from training.evaluation.metrics import reliability
from training.figures import (
    heatmap_figure,
    lead_time_figure,
    precision_recall_figure,
    recall_figure,
    reliability_figure,
    save,
    tercile_reliability_figure,
)

MINUTE_NS = 60_000_000_000
START_NS = 1_740_000_000_000_000_000
BASE = {"long": 0.03, "short": 0.03}


def market(steps, bins=32, seed=0):
    """A price that wanders, zones at fixed prices that it sweeps, and probabilities that notice them."""
    rng = np.random.default_rng(seed)
    sigma = 0.0006 * np.exp(0.5 * np.sin(np.arange(steps) / 900))
    mark = 64_000 * np.exp(np.cumsum(rng.normal(0, sigma)))
    widths = 0.25 * sigma * np.sqrt(60)
    zones = np.log(64_000) + rng.uniform(-0.08, 0.08, 40)
    masses = rng.gamma(1.0, 1.0, 40)
    alive = np.ones(40, dtype=bool)
    relative = np.zeros((steps, 2, bins))
    centres = np.arange(bins) + 0.5
    for t in range(steps):
        price = np.log(mark[t])
        alive &= np.abs(zones - price) > 0.002
        alive |= rng.random(40) < 0.0007
        for side, sign in enumerate((-1, 1)):
            prices = price + sign * centres * widths[t]
            near = np.exp(-0.5 * ((prices[:, None] - zones) / 0.0015) ** 2) @ (masses * alive)
            relative[t, side] = (near * 0.02 + 0.002) * widths[t] / 0.001
    risk = np.log(relative[:, :, :4].sum(axis=2) + 1e-6)
    p = 1 / (1 + np.exp(3.6 - 1.5 * (risk - risk.mean(axis=0)) / risk.std(axis=0)))
    probabilities = {side: p[:, i].copy() for i, side in enumerate(("long", "short"))}
    truth = {side: np.zeros(steps, dtype=bool) for side in probabilities}
    for side, series in truth.items():
        for at in np.flatnonzero(rng.random(steps) < probabilities[side] / 40):
            series[max(0, at - 60) : at] = True
    probabilities["long"][steps // 2 : steps // 2 + steps // 50] = np.nan  # the model abstained
    return {
        "times_ns": START_NS + MINUTE_NS * np.arange(steps),
        "mark": mark,
        "relative_map": relative,
        "bin_widths": widths,
        "probabilities": probabilities,
        "label_true": truth,
        "messages": signals(START_NS + MINUTE_NS * np.arange(steps), mark, probabilities),
        "horizon_minutes": 60,
        "base_rates": BASE,
    }


def signals(times_ns, mark, probabilities):
    messages = []
    for side, p in probabilities.items():
        over = np.nan_to_num(p) >= 6 * BASE[side]
        for t in np.flatnonzero(over[1:] & ~over[:-1]) + 1:
            for state, before in (("zone_ahead", "idle"), ("approach", "zone_ahead")):
                messages.append(
                    {
                        "type": "state",
                        "ts_data_us": int(times_ns[t]) // 1000,
                        "stream_seq": 0,
                        "mark": f"{mark[t]:.1f}",
                        "signal_id": f"{t:016x}",
                        "side": side,
                        "state": state,
                        "prev_state": before,
                        "reason_codes": ["major_zone" if state == "zone_ahead" else "approaching"],
                        "probs": {"h60": {side: float(p[t])}},
                        "base_rate": BASE[side],
                    }
                )
    messages.sort(key=lambda m: m["ts_data_us"])
    return [m | {"stream_seq": i} for i, m in enumerate(messages)]


def judged(rows=4000, seed=0):
    """Truths, and the predictions of a calibrated model and of one that shouts."""
    rng = np.random.default_rng(seed)
    p = rng.beta(0.6, 8, rows)
    truth = rng.random(rows) < p
    shouting = np.clip(1.8 * p, 0, 1)
    shouting[::50] = np.nan
    return [truth, truth], [p, shouting], ["network", "ridge-logistic"]


def page(path, **changes):
    truth, probability, names = judged()
    bins = {n: reliability(y, p) for y, p, n in zip(truth, probability, names, strict=True)}
    content = market(400) | {
        "title": "Squeeze predictor",
        "summary": {"data": "simulated market, 14 days", "model": "a1b2c3"},
        "reliability": bins,
        "scores": [
            {"model": "network", "PR-AUC": 0.3123456, "Brier skill": 0.1, "alerts": 1200, "note": None},
            {"model": "base rate", "PR-AUC": 0.05, "Brier skill": float("nan"), "alerts": 0},
        ],
    }
    write_page(path, **(content | changes))
    return path.read_text(encoding="utf-8")


# --- figures --------------------------------------------------------------------------------------------------------


def test_figures_are_written_whole_and_leave_nothing_else(tmp_path):
    figures = {
        "reliability": reliability_figure(*judged()),
        "precision_recall": precision_recall_figure(*judged()),
        "heatmap": heatmap_figure(**market(400)),
    }
    for name, figure in figures.items():
        save(figure, tmp_path / f"{name}.png")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(f"{name}.png" for name in figures)
    assert all((tmp_path / f"{name}.png").stat().st_size > 20_000 for name in figures)
    width, height = struct.unpack(">II", (tmp_path / "heatmap.png").read_bytes()[16:24])
    assert (width, height) == (1600, 1000)


def test_recall_is_drawn_through_the_points_of_its_curve():
    truth, probability, names = judged()
    found = [claims(np.arange(4000) * HOUR_NS, t, p, HOUR_NS, HOUR_NS) for t, p in zip(truth, probability, strict=True)]
    curves = {name: curve(one) for name, one in zip(names, found, strict=True)}
    axes = recall_figure(curves).axes[0]
    for line, name in zip(axes.get_lines(), names, strict=False):
        np.testing.assert_array_equal(line.get_xydata()[1:, 0], curves[name].false_per_day)
        np.testing.assert_array_equal(line.get_xydata()[1:, 1], curves[name].recall)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == names
    leads = {name: lead_minutes(one, 0.05) for name, one in zip(names, found, strict=True)}
    text = [
        t.get_text() for t in lead_time_figure(leads | {"nobody": np.zeros(0)}, 60).axes[0].get_legend().get_texts()
    ]
    assert text[0] == f"network: median 30.0 of {len(leads['network'])}"
    assert text[-1] == "nobody: none"


def test_reliability_by_tercile_has_a_line_for_each_that_has_rows():
    truth, probability, _ = judged()
    third = np.arange(4000) % 3
    both = tercile_reliability_figure(truth[1], probability[1], np.where(third == 1, -1, third), "trend")
    names = [text.get_text() for text in both.axes[0].get_legend().get_texts()]
    assert set(names) == {"trend: toward danger", "trend: away from danger", "calibrated"}


def test_models_that_said_nothing_or_met_nothing_are_drawn_too(tmp_path):
    truth, probability, _ = judged()
    nothing, silent = np.zeros(4000, bool), np.full(4000, np.nan)
    cases = [(truth, [probability[0], silent]), ([nothing] * 2, probability), ([nothing] * 2, [silent] * 2)]
    for i, (y, p) in enumerate(cases):
        save(reliability_figure(y, p, ["one", "other"]), tmp_path / f"{i}.png")
        figure = precision_recall_figure(y, p, ["one", "other"])
        save(figure, tmp_path / f"{i}-pr.png")
        told = " ".join(text.get_text() for text in figure.axes[0].get_legend().get_texts())
        assert "abstained on all" in told or "none of 4000 rows is positive" in told
    save(lead_time_figure({"nobody": np.zeros(0)}, 60), tmp_path / "nobody.png")


def test_a_quiet_market_without_signals_or_events_is_drawn_too(tmp_path):
    quiet = market(50)
    nothing = {side: np.zeros(50) for side in BASE}
    never = {side: np.zeros(50, dtype=bool) for side in BASE}
    save(
        heatmap_figure(**(quiet | {"probabilities": nothing, "label_true": never, "messages": [], "base_rates": None})),
        tmp_path / "quiet.png",
    )
    silent = {side: np.full(50, np.nan) for side in BASE}
    save(heatmap_figure(**(quiet | {"probabilities": silent})), tmp_path / "silent.png")
    text = page(tmp_path / "quiet.html", **(quiet | {"probabilities": silent, "label_true": never, "messages": []}))
    assert "Nothing but probabilities" in text


def test_figures_do_not_touch_pyplot():
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_reliability_bins_are_of_like_size_and_leave_out_what_was_not_said():
    p = np.append(np.linspace(0.01, 1.0, 100), np.nan)
    predicted, observed, count = reliability(p > 0.5, p)
    assert count.tolist() == [10] * 10
    assert np.allclose(predicted, np.arange(10) * 0.1 + 0.055)
    assert observed.tolist() == [0.0] * 5 + [1.0] * 5


def test_a_model_that_always_says_the_same_has_one_bin():
    predicted, observed, count = reliability(np.array([0, 0, 0, 1]), np.full(4, 0.25))
    assert (predicted.tolist(), observed.tolist(), count.tolist()) == ([0.25], [0.25], [4])


# --- the absolute map -----------------------------------------------------------------------------------------------


def test_what_the_map_holds_does_not_depend_on_how_wide_its_bins_are():
    mark, levels = np.array([100.0]), np.linspace(96.0, 104.0, 8001)
    narrow = np.full((1, 2, 20), 0.01)
    wide = narrow.reshape(1, 2, 10, 2).sum(axis=3)
    a = absolute_map(mark, narrow, np.array([1e-3]), levels)
    b = absolute_map(mark, wide, np.array([2e-3]), levels)
    np.testing.assert_allclose(a, b)
    step = levels[1] - levels[0]
    assert np.nansum(a / 100 / 1e-3 * step / levels[:, None]) == pytest.approx(narrow.sum(), rel=1e-3)


def test_longs_are_below_the_price_and_shorts_above():
    relative = np.stack([np.full((3, 8), 0.01), np.full((3, 8), 0.03)], axis=1)
    mark, widths = np.array([99.0, 100.0, 101.0]), np.full(3, 1e-3)
    levels = price_levels(mark, widths, 8, count=200)
    heat = absolute_map(mark, relative, widths, levels)
    under = levels[:, None] < mark
    assert np.nanmax(np.where(under, heat, np.nan)) == pytest.approx(1.0)
    assert np.nanmin(np.where(under, np.nan, heat)) == pytest.approx(3.0)


def test_a_step_without_a_mark_is_blank_and_no_reason_to_lose_its_neighbours():
    m = market(60)
    m["mark"][7] = np.nan
    levels = price_levels(m["mark"], m["bin_widths"], 32)
    assert np.isnan(absolute_map(m["mark"], m["relative_map"], m["bin_widths"], levels)[:, 7]).all()
    thinned = thin_map(m["mark"], m["relative_map"], m["bin_widths"], levels, thin_starts(60, most=6))
    assert np.isfinite(thinned).any(axis=0).all()


def test_intervals_hold_the_share_and_stay_between_0_and_1():
    observed = np.array([0.0, 0.2, 1.0])
    low, high = wilson(observed, np.array([5.0, 50.0, 5.0]))
    assert ((low >= 0) & (low <= observed) & (observed <= high + 1e-12) & (high <= 1)).all()


# --- the page -------------------------------------------------------------------------------------------------------


def test_the_page_asks_nothing_of_the_network(tmp_path):
    text = page(tmp_path / "page.html")
    assert "default-src 'none'" in text
    assert text.count('"showSendToCloud": false') == 2  # both charts
    tags = re.findall(
        r"<(?:script|link|img|iframe)\b[^>]*>", re.sub(r"(<script>).*?(</script>)", r"\1\2", text, flags=re.S)
    )
    assert tags
    assert not any(re.search(r"\b(?:src|href)\s*=", tag) for tag in tags)
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_the_page_shows_scores_messages_and_that_the_data_are_simulated(tmp_path):
    text = page(tmp_path / "page.html")
    assert '<td class="number">0.3123</td>' in text
    assert '<td class="number">1,200</td>' in text
    assert text.count(">–</td>") == 3
    assert "<strong>Simulated data.</strong>" in text
    assert "approaching" in text
    assert "Simulated data." not in page(tmp_path / "real.html", summary={"data": "recorded on Bybit"})


def told(type_, minute, signal_id="0" * 16, **said):
    at_us = (START_NS + minute * MINUTE_NS) // 1000
    return {"type": type_, "signal_id": signal_id, "ts_data_us": at_us, "stream_seq": minute, "side": "long"} | said


def traded(side="buy", r_multiple=-1.0):
    """An entry and its exit, between messages of a setup that was never filled."""
    advice = {"side": side, "entry_low": "63990", "entry_high": "64010", "stop": "63900", "targets": []}
    return [
        told("entry", 10, order_advice=advice),
        told("entry", 20, "1" * 16, order_advice=advice),
        told("cancel", 21, "1" * 16, mark="64000"),
        told("exit", 30, mark="63899.5", r_multiple=r_multiple),
    ]


@pytest.mark.parametrize(("side", "entry"), [("buy", 64010.0), ("sell", 63990.0)])
def test_a_trade_that_was_filled_and_is_over_is_drawn_at_the_worse_end_of_its_band(side, entry):
    (trade,) = trades(traded(side))
    assert (trade.is_buy, trade.entry, trade.stop) == (side == "buy", entry, 63900.0)
    assert (trade.close, trade.r_multiple) == (63899.5, -1.0)
    assert trade.closed_us - trade.opened_us == 20 * 60 * 10**6
    assert trades(traded(side, r_multiple=None)) == [], "what came of it is not known"
    assert trades(traded(side)[:-1]) == [], "it is not over"


def test_the_page_shows_a_trade_with_what_it_brought_and_its_first_stop(tmp_path):
    text = page(tmp_path / "page.html", messages=market(400)["messages"] + traded())
    assert '"closed, -1.00 R"' in text
    assert '"name":"first stop"' in text
    assert '"name":"first stop"' not in page(tmp_path / "other.html")


HOSTILE = "</script><script>alert('x')</script>"


def test_hostile_text_is_escaped_wherever_it_comes_from(tmp_path):
    abstain = {"type": "abstain", "ts_data_us": START_NS // 1000, "stream_seq": 0, "mark": None, "reasons": [HOSTILE]}
    bins = (np.array([0.1]), np.array([0.1]), np.array([10]))
    text = page(
        tmp_path / "page.html",
        title=HOSTILE,
        summary={HOSTILE: HOSTILE},
        messages=[abstain],
        scores=[{HOSTILE: HOSTILE}],
        reliability={HOSTILE: bins},
    )
    assert "<script>alert" not in text
    assert text.count("&lt;script&gt;alert(&#x27;x&#x27;)") >= 6


def test_a_long_history_is_thinned_to_a_page_that_can_be_mailed(tmp_path):
    short = market(1000)
    long = {
        key: np.concatenate([short[key]] * 20) if isinstance(short[key], np.ndarray) else short[key] for key in short
    }
    long["times_ns"] = START_NS + MINUTE_NS * np.arange(20_000)
    for key in ("probabilities", "label_true"):
        long[key] = {side: np.concatenate([series] * 20) for side, series in short[key].items()}
    page(tmp_path / "page.html", **long)
    assert (tmp_path / "page.html").stat().st_size < 8e6


def test_without_plotly_the_page_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(UserError, match=r"pip install 'squeeze-predictor\[app\]'"):
        page(tmp_path / "page.html")
    assert not list(tmp_path.iterdir())

"""What a person reads of signals: every step from the approach on, the result of each trade, and no word too much."""

import math

import pytest

from squeeze.signals.message import ExitMessage, ProbabilityMessage
from squeeze.signals.transition import Envelope
from squeeze.tools.story import STAGES, Story
from tests.squeezes import story as told_until

ENVELOPE = Envelope(producer="p", model_version="m", map_version="a", config_hash="c", stream="T", symbol="T")


def heard(until, *looks, side=0):
    """A story that has heard a squeeze up to a state, then looks whose fields are given; its lines and messages."""
    machine, market, said = told_until(until, side)
    for conduct, changes in looks:
        market.advance(**conduct)
        said += machine.look(market.view(**changes))
    messages = [one.message(ENVELOPE, number) for number, one in enumerate(said)]
    story = Story()
    return story, [line for message in messages for line in story.lines(message)], messages


def stopped(side=0):
    """A trade that loses: the mark jumps two per cent against it."""
    worse = 100 * math.exp(0.02 if side == 0 else -0.02)
    return heard("managed", ({"seconds": 1}, {"mark": worse, "mark_low": worse, "mark_high": worse}), side=side)


@pytest.mark.parametrize("side", [0, 1])
def test_every_step_from_the_approach_to_the_end_has_its_line(side):
    story, lines, _ = stopped(side)
    steps = [line.split()[4] for line in lines if line.startswith("  0")]
    assert steps == ["APPROACH", "TRIGGERED", "CASCADE", "AFTERMATH", "ENTRY", "MANAGED", "EXIT"]
    assert all(line.split()[2] == ("long", "short")[side] for line in lines if line.startswith("  0"))
    own = [count for count in story.account()[1 : 1 + len(STAGES)] if count.split()[0] != "0"]
    assert len(own) == len(STAGES)


def test_an_entry_says_size_stop_and_risk_and_an_exit_what_it_brought():
    _, lines, messages = stopped()
    advice = next(m.order_advice for m in messages if m.order_advice is not None)
    (line,) = (line for line in lines if "of equity" in line)
    assert f"{advice.side} {advice.quantity} at {advice.entry_low} to {advice.entry_high}, stop {advice.stop}" in line
    (end,) = (m for m in messages if isinstance(m, ExitMessage))
    assert end.r_multiple < -1
    assert lines[-1].endswith(f"the stop was hit: {end.r_multiple:+.2f} R after fees")


def test_only_an_exit_tells_a_result():
    _, _, messages = stopped()
    assert [getattr(m, "r_multiple", None) is not None for m in messages] == [
        isinstance(m, ExitMessage) for m in messages
    ]


def test_the_account_adds_up_the_trades_and_claims_nothing():
    story, _, messages = stopped()
    (end,) = (m for m in messages if isinstance(m, ExitMessage))
    (advice,) = (m.order_advice for m in messages if m.order_advice is not None)
    account = story.account()
    percent = end.r_multiple * advice.risk_percent
    assert f"  together {end.r_multiple:+.2f} R over 1 trade, {percent:+.2f} % of equity at the risk advised" in account
    assert "prove nothing" in account[-1]


def test_a_zone_that_is_only_ahead_is_counted_and_not_told():
    story, lines, _ = heard("zone_ahead")
    assert lines == []
    account = story.account()
    assert account[1].split()[0] in ("1", "2")
    assert account[-1] == "trades: none"


def test_an_open_trade_has_no_result_yet():
    story, _, _ = heard("managed")
    assert any(line.endswith("still open") for line in story.account())
    assert not any("together" in line for line in story.account())


def test_what_is_no_signal_is_passed_over():
    message = ProbabilityMessage(
        producer="p", model_version="m", map_version="a", config_hash="c", event_id="e", stream="T", stream_seq=0,
        symbol="T", ts_data_us=0, valid_until_us=1, mark=None, probabilities={}, base_rates={},
    )  # fmt: skip
    assert Story().lines(message) == []

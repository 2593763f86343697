"""Messages: a line in full, what is never sent, and that a transition has the message's fields."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from squeeze.signals.envelope import Envelope
from squeeze.signals.message import (
    AbstainMessage,
    Message,
    ProbabilityMessage,
    SignalMessage,
    decimal_text,
    decode,
    encode,
)
from squeeze.signals.transition import Transition, event_id
from tests.squeezes import MODEL, story

ENVELOPE = Envelope(
    producer="squeeze 1", model_version=MODEL, map_version="h", config_hash="c", stream="TESTUSDT", symbol="TESTUSDT"
)
COMMON = msgspec.structs.asdict(ENVELOPE) | {
    "event_id": "e", "stream_seq": 7, "ts_data_us": 0, "valid_until_us": 60_000_000, "mark": "64000.5",
}  # fmt: skip


def probability(p=0.25, **changes):
    rows = {"long": {"15": 0.1, "60": p}, "short": {"15": 0.0, "60": 0.5}}
    return ProbabilityMessage(**COMMON | {"probabilities": rows, "base_rates": rows} | changes)


def test_a_probability_line_in_full():
    assert encode(probability()) == (
        b'{"type":"probability","schema_version":"1.0","producer":"squeeze 1","model_version":"0123456789abcdef",'
        b'"map_version":"h","config_hash":"c","event_id":"e","stream":"TESTUSDT","stream_seq":7,"symbol":"TESTUSDT",'
        b'"ts_data_us":0,"ts_emit_us":null,"valid_until_us":60000000,"mark":"64000.5",'
        b'"probabilities":{"long":{"15":0.1,"60":0.25},"short":{"15":0.0,"60":0.5}},'
        b'"base_rates":{"long":{"15":0.1,"60":0.25},"short":{"15":0.0,"60":0.5}},"degraded":[],"drift":[]}\n'
    )


def test_an_entry_says_everything_a_bot_needs_and_is_read_back_as_it_was():
    _, _, said = story("entry")
    message = said[-1].message(ENVELOPE, 41)
    plain = msgspec.json.decode(encode(message))
    assert (plain["type"], plain["state"], plain["prev_state"], plain["side"], plain["direction"]) == (
        "entry", "entry", "aftermath", "long", "down",
    )  # fmt: skip
    assert plain["event_id"] == event_id(plain["signal_id"], plain["seq"])
    assert (plain["stream_seq"], plain["ts_emit_us"], plain["schema_version"]) == (41, None, "1.0")
    assert plain["probs"] == {"h5": {"long": 0.05, "short": 0.01}, "h15": {"long": 0.1, "short": 0.02}}
    assert (plain["zone"]["id"], plain["zone"]["thickness_rank"], plain["base_rate"]) == ("long-1", 0.75, 0.02)
    advice = plain["order_advice"]
    assert (advice["side"], advice["entry_low"], advice["stop"], advice["quantity"]) == (
        "sell",
        "99.34",
        "99.66",
        "312.500",
    )
    assert advice["risk_percent"] == 1.0
    assert plain["reasons"][0] == "the zone is cleared and the market is calm"
    assert plain["quality"] == {
        "score": 1.0, "flags": [], "venue_age_ms": {"v": 0}, "liquidation_completeness": {"v": None},
    }  # fmt: skip
    assert plain["market"]["spread_bp"] == 1.0
    assert 0.05 < plain["cascade"]["depletion"] < 0.1
    assert decode(encode(message)) == message


def test_an_exit_says_in_a_number_what_the_trade_brought_and_nothing_else_does():
    machine, market, said = story("managed")
    trade = machine._memory.sides["long"].trade
    market.advance()
    stopped = machine.look(market.view(mark=trade.stop, mark_high=trade.stop))[0].message(ENVELOPE, 0)
    plain = msgspec.json.decode(encode(stopped))
    fees = 2 * machine.strategy.account.taker_fee * trade.entry / trade.unit
    assert plain["type"] == "exit"
    assert plain["r_multiple"] == pytest.approx(-1 - fees)
    assert f"the trade brought {plain['r_multiple']:+.2f} R after fees" in plain["reasons"]
    assert decode(encode(stopped)) == stopped
    assert not any("r_multiple" in msgspec.json.decode(encode(t.message(ENVELOPE, 0))) for t in said)


def test_every_kind_of_line_is_read_back_as_it_was():
    _, _, said = story("managed")
    whole = [t.message(ENVELOPE, number) for number, t in enumerate(said)]
    for message in (probability(), AbstainMessage(**COMMON, reasons=("gap",)), *whole):
        assert decode(encode(message)) == message


def test_a_transition_has_the_fields_of_the_message_and_the_envelope_the_rest():
    ours = set(Transition.__struct_fields__) - {"type", "r_multiple"}
    rest = set(Envelope.__struct_fields__) | {"schema_version", "stream_seq", "ts_emit_us"}
    assert ours | rest == set(SignalMessage.__struct_fields__)
    assert not ours & rest
    assert rest <= set(Message.__struct_fields__)


@pytest.mark.parametrize("p", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_never_sent(p):
    with pytest.raises(ValueError, match=r"probabilities\.long\.60 must be finite"):
        encode(probability(p))


@pytest.mark.parametrize("mark", ["nan", "Infinity", "1e5", "", "64,000", " 1", "1_0"])
def test_a_mark_that_is_no_decimal_is_never_sent(mark):
    with pytest.raises(ValueError, match="mark must be a finite decimal"):
        encode(probability(mark=mark))


@given(st.floats(1e-12, 1e12))
def test_a_price_survives_its_decimal_string(price):
    text = decimal_text(price)
    assert float(text) == price
    assert "e" not in text.lower()


def test_a_price_that_is_not_finite_has_no_decimal_string():
    with pytest.raises(ValueError, match="finite"):
        decimal_text(math.nan)


def test_a_message_says_how_complete_each_venues_liquidations_are():
    machine, market, _ = story("zone_ahead")
    market.advance(1)
    ages = {"bybit": 0, "binance": 0, "okx": 0, "elsewhere": 0}
    said, *_ = machine.look(market.view(venue_age_ns=ages, stale=("price",)))
    assert said.quality.liquidation_completeness == {
        "bybit": "complete", "binance": "sampled", "okx": "undercounted", "elsewhere": None,
    }  # fmt: skip

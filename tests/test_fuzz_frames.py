"""Frames spoilt at random: an adapter raises `FrameError` or says what the frame says, and nothing stays.

`FUZZ_FRAMES` sets how many mutants a venue gets; `FUZZ_FRAMES=1000000 pytest -s tests/test_fuzz_frames.py` is the long
run, about half a minute a venue.
"""

import os

import pytest
from conftest import RECORDINGS
from fuzzing import CONTRACTS, LITERAL, RECEIVED_NS, Oracle, Spoiler, Verdict, judge, recorded, run, said

from squeeze.market.instruments import Instrument, Instruments
from squeeze.market.venues import Binance, Bybit, Okx

COUNT = int(os.environ.get("FUZZ_FRAMES", "20000"))
STEPS = {"tick_size": 0.1, "lot_size_base": 0.01, "minimum_size_base": 0.01}
RECORDS = [
    Instrument(
        venue="okx",
        native=native,
        symbol=native.removesuffix("-SWAP").replace("-", ""),
        as_of_ns=0,
        contract_value=1 / per_coin,
        source="test",
        **STEPS,
    )
    for native, per_coin in CONTRACTS.items()
]
ADAPTERS = {"bybit": Bybit(), "okx": Okx(Instruments(RECORDS)), "binance": Binance()}


@pytest.fixture(scope="module")
def corpus():
    """Documented frames, and real ones where the recordings are."""
    real = recorded(RECORDINGS) if RECORDINGS.is_dir() else {venue: [] for venue in LITERAL}
    return {venue: goods + real[venue] for venue, goods in LITERAL.items()}


@pytest.mark.parametrize("venue", ["bybit", "okx", "binance"])
def test_the_oracle_and_the_adapter_agree_on_every_good_frame(corpus, venue):
    verdict, oracle = Verdict(), Oracle(venue, CONTRACTS)
    for frame, request in corpus[venue]:
        judge(ADAPTERS[venue], oracle, frame, request, verdict)
    assert not verdict.violations, str(verdict)
    assert verdict.counts["accepted"] > len(LITERAL[venue]) - 2


@pytest.mark.parametrize("venue", ["bybit", "okx", "binance"])
def test_a_spoilt_frame_is_refused_or_says_what_it_says(corpus, venue):
    verdict = run(ADAPTERS[venue], Oracle(venue, CONTRACTS), corpus[venue], COUNT, venue)
    print(f"\n{venue}: {COUNT:,} mutants of {len(corpus[venue])} frames: {verdict}")
    assert not verdict.violations, str(verdict)
    assert min(verdict.counts["accepted"], verdict.counts["rejected"]) > COUNT / 10


class Careless:
    """An adapter that gets one thing wrong."""

    def __init__(self, adapter, fault):
        self._adapter, self._fault = adapter, fault

    def decode(self, frame, received_ns, request=""):
        return self._fault(self._adapter.decode(frame, received_ns, request))


@pytest.mark.parametrize(
    "fault",
    [
        lambda events: events[1:],
        lambda events: events[::-1] if len(events) > 1 else events[:0],
        lambda events: events + events[-1:],
        lambda events: [replaced(event, event_ns=event.event_ns + 1) for event in events],
        lambda events: [replaced(event, symbol="BTCUSD") for event in events],
        lambda events: [replaced(event, quality=event.quality ^ 1) for event in events],
    ],
)
@pytest.mark.parametrize("venue", ["bybit", "okx", "binance"])
def test_the_oracle_notices_an_adapter_that_is_careless(venue, fault):
    verdict = Verdict()
    for frame, request in LITERAL[venue]:
        if ADAPTERS[venue].decode(frame, RECEIVED_NS, request):
            judge(Careless(ADAPTERS[venue], fault), Oracle(venue, CONTRACTS), frame, request, verdict)
    assert verdict.violations["SAYS ANOTHER THING"] == verdict.counts.total() > 0


def replaced(event, **changed):
    return type(event)(**{name: getattr(event, name) for name in event.__struct_fields__} | changed)


def test_the_same_seed_spoils_the_same_way_and_another_does_not():
    first, second, other = (Spoiler(LITERAL["bybit"], seed) for seed in ("a", "a", "b"))
    made = [first.spoil() for _ in range(200)]
    assert made == [second.spoil() for _ in range(200)] != [other.spoil() for _ in range(200)]


def test_what_is_not_said_is_none_in_the_oracles_form():
    [event] = ADAPTERS["bybit"].decode(LITERAL["bybit"][2][0], RECEIVED_NS)
    assert said(replaced(event, bid=float("nan")))["bid"] is None

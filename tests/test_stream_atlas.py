"""What a stream with an atlas adds to its messages: the checklist of an entry, and each venue's part of a zone."""

import itertools

import pytest
from msgspec.structs import replace

from squeeze.signals.checklist import QUESTIONS
from squeeze.signals.message import EntryMessage, decode, encode
from squeeze.stream import Stream
from tests.benchmarks.chain import minutes, predictor_of, sized
from tests.squeezes import story
from tests.venues import VENUES


@pytest.fixture(scope="module")
def stream() -> Stream:
    """After two hours of three venues."""
    running = Stream(predictor_of(sized(VENUES)))
    for close_ns, events in itertools.islice(minutes(VENUES), 120):
        for event in events:
            running.on_event(event)
        running.on_clock(close_ns)
    return running


@pytest.fixture
def entry(stream):
    """A machine's entry, moved onto a zone of the stream's own."""
    _, _, said = story("entry")
    zone = stream.lookout.scene.zones[0]
    own = replace(said[-1].zone, id=f"{'short' if zone['side'] else 'long'}-{zone['id']}")
    return replace(said[-1], zone=own)


def test_an_entry_has_the_five_answers_and_each_venues_part_of_its_zone(stream, entry):
    message = decode(encode(stream._said(entry)))
    assert isinstance(message, EntryMessage)
    assert len(message.checklist) == len(QUESTIONS)
    assert set(message.zone.venue_shares) == set(VENUES)
    assert sum(message.zone.venue_shares.values()) == pytest.approx(1.0)
    assert all(0 <= share <= 1 for share in message.zone.venue_shares.values())


def test_of_a_zone_that_is_gone_the_parts_are_those_of_when_it_lay_ahead(stream, entry):
    ahead = stream._said(replace(entry, type="state", state="zone_ahead", order_advice=None))
    shown, empty = stream.lookout.scene, stream.lookout.scene.zones[:0]
    stream.lookout.scene = shown._replace(zones=empty)
    later = stream._said(replace(entry, type="state", state="cascade", order_advice=None))
    stream.lookout.scene = shown
    assert later.zone.venue_shares == ahead.zone.venue_shares is not None

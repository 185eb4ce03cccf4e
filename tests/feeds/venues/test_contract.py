"""What every venue owes, held against its fixtures: one executable contract over the registry."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from book.errors import FrameError
from book.events import BOOK_CHANNELS, BookDelta, BookSnapshot, Event, Gap, Trade
from feeds.session import Credentials
from feeds.venues import VENUES
from tests.feeds.venues.scenario import Half, Play, Scenario, apply, scenarios

SCENARIOS = scenarios()
every_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
every_venue = pytest.mark.parametrize("venue", VENUES.values(), ids=VENUES)

Frames = list[tuple[int, bytes]]


def numbered(scenario: Scenario) -> Frames:
    return list(enumerate(scenario.frames, 1))


def play(scenario: Scenario, frames: Frames) -> Play:
    played = Play(scenario)
    for index, frame in frames:
        played.receive(frame, index)
    return played


def book_frames(scenario: Scenario) -> dict[int, str]:
    """Return which frames moved which live book."""
    played = Play(scenario)
    moved: dict[int, str] = {}
    for index, frame in numbered(scenario):
        before = played.books()
        played.receive(frame, index)
        for stream, (state, sequence, *_) in played.books().items():
            if state == "live" and before[stream][0] == "live" and sequence != before[stream][1]:
                moved[index] = stream
    return moved


def truth(scenario: Scenario) -> dict[tuple[str, str | None], object]:
    """Return every book at every sequence it went through."""
    played = Play(scenario)
    history: dict[tuple[str, str | None], object] = {}
    for index, frame in numbered(scenario):
        played.receive(frame, index)
        for stream, (_, sequence, bids, asks) in played.books().items():
            history[stream, sequence] = (bids, asks)
    return history


def book_events(events: list[Event]) -> dict[str, list[Event]]:
    """Return the events of the book streams, by stream."""
    streams: dict[str, list[Event]] = {}
    for event in events:
        if event.stream.rpartition(":")[2] in BOOK_CHANNELS:
            streams.setdefault(event.stream, []).append(event)
    return streams


@every_venue
def test_every_venue_has_a_fixture(venue):
    """A venue without a fixture, or whose fixture leaves one of its channels out, is not done."""
    shown = {row[2].partition(":")[0] for one in SCENARIOS if one.venue is venue for row in one.meta["subscriptions"]}
    assert shown == venue.channels


@every_scenario
def test_every_frame_gives_the_reviewed_events(scenario):
    """Every fixture frame is understood, and gives exactly the events that a person has reviewed."""
    played = Play(scenario).receive_all()
    assert played.feed.rejected == {}
    assert played.lines() == scenario.expected()


@every_scenario
def test_every_book_ends_live(scenario):
    """Each book of a fixture is live at its end, and its events rebuild it."""
    played = Play(scenario).receive_all()
    for stream, events in book_events(played.events).items():
        rebuilt: list[Half] = [{}, {}]
        for event in events:
            assert isinstance(event, (BookSnapshot, BookDelta))
            if isinstance(event, BookSnapshot):
                rebuilt = [{}, {}]
            rebuilt = [apply(half, levels) for half, levels in zip(rebuilt, (event.bids, event.asks), strict=True)]
        state, _, bids, asks = played.books()[stream]
        assert state == "live"
        assert rebuilt == [bids, asks]
        assert [event.seq for event in events] == list(range(1, len(events) + 1))


@every_scenario
def test_a_lost_frame_gives_a_gap_or_nothing(scenario):
    """
    Without any one book frame, that book says `gap`, or is the true book of its sequence.

    No other book notices.
    """
    history = truth(scenario)
    whole = book_events(play(scenario, numbered(scenario)).events)
    moved = book_frames(scenario)
    assert moved
    for lost, its_stream in moved.items():
        played = play(scenario, [(index, frame) for index, frame in numbered(scenario) if index != lost])
        for stream, events in book_events(played.events).items():
            state, sequence, bids, asks = played.books()[stream]
            if stream != its_stream:
                assert [event for event in events if not isinstance(event, (BookSnapshot, BookDelta))] == []
                assert len(events) == len(whole[stream])
            if state == "live":
                assert (bids, asks) == history[stream, sequence]
            else:
                assert stream == its_stream
                assert any(isinstance(event, Gap) for event in events)


@every_scenario
def test_a_repeated_book_frame_changes_nothing(scenario):
    """A book frame that comes twice leaves every event as it was."""
    whole = Play(scenario).receive_all().lines()
    for repeated in book_frames(scenario):
        frames = [pair for pair in numbered(scenario) for _ in range(1 + (pair[0] == repeated))]
        assert play(scenario, frames).lines() == whole


@every_scenario
def test_truncated_frames_are_refused(scenario):
    """
    Whatever is left of a cut frame is refused, counted, and leaves no trace in books or tickers.

    Trades are another matter: the frame may have held some, and a feed that can fetch them does.
    """
    played = Play(scenario)
    cuts = 0
    for index, frame in numbered(scenario):
        for length in range(0, len(frame), 1 + len(frame) // 97):
            assert played.receive(frame[:length], index) == []
            cuts += 1
        played.receive(frame, index)
    assert played.feed.rejected.total() == cuts
    assert without_trades(played.lines()) == without_trades(scenario.expected())


def without_trades(lines: list[str]) -> list[str]:
    return [line for line in lines if not json.loads(line)["stream"].endswith(":trade")]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
NEST = b"[" * 100_000 + b"]" * 100_000
nonsense = st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode())
# Neither a pong, nor an answer to nobody in particular (a result, or an error with a message), is nonsense.
nonsense = nonsense.filter(lambda frame: frame != b"pong" and b'"message"' not in frame and b'"result"' not in frame)


@every_scenario
@given(frames=st.lists(nonsense, min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_nonsense_is_refused(scenario, frames):
    """Frames of nonsense raise FrameError inside, are counted, and change no book and no event."""
    played = Play(scenario).receive_all()
    before = played.books()
    for frame in frames:
        assert played.receive(frame, len(scenario.frames)) == []
    assert played.feed.rejected.total() == len(frames)
    assert played.books() == before


@every_scenario
@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_damaged_frames_never_break_out(scenario, data):
    """A frame with damaged bytes is taken or refused; no other error leaves the session."""
    session = scenario.venue.session(scenario.venue.Options(), Credentials("key", "secret"))
    session.opened(0)
    session.subscribe(Play(scenario).feed.subscriptions)
    frame = bytearray(data.draw(st.sampled_from(scenario.frames)))
    for _ in range(data.draw(st.integers(1, 4))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(FrameError):
        session.receive(bytes(frame), 0)


@every_venue
@pytest.mark.parametrize(
    "frame",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"jsonrpc":"2.0","id":1,"result":' + NEST + b"}",
        b'{"method":"updateOrderbook","params":' + NEST + b"}",
        b'{"table":"trade","data":' + NEST + b"}",
        b'{"event":"subscribe","channel":' + NEST + b"}",
        b'{"type":"error","payload":' + NEST + b"}",
        b'{"type":"error","payload":{"x":"\xff"}}',
        b'{"type":"error","action":"\xff"}',
        b'{"id":1,"error":{"message":"\xff"}}',
        b'{"id":1,"result":"\xff"}',
        b'{"event":"subscribe","message":"\xff"}',
        b'{"table":"\xff"}',
        b"1" * 100_000,
        b"\xff\xfe{}",
    ],
    ids=range(15),
)
def test_hostile_frames_are_refused(venue, frame):
    """Deep nesting, endless numbers and wrong encodings are refused like any nonsense."""
    session = venue.session(venue.Options(), None)
    session.opened(0)
    with pytest.raises(FrameError):
        session.receive(frame, 0)


@every_scenario
def test_reconnecting_gives_the_same_events(scenario):
    """After a lost connection the same frames give the same events again, numbered on; known trades excepted."""
    played = Play(scenario)
    begun = len(played.events)
    first = played.receive_all().events[begun:]
    played.close()
    played.open()
    begun = len(played.events)
    second = played.receive_all().events[begun:]

    def content(events: list[Event]) -> list[str]:
        return [str({**as_dict(event), "seq": 0}) for event in events if not isinstance(event, Trade)]

    assert content(first) == content(second)


def as_dict(event: Event) -> dict[str, object]:
    return {name: getattr(event, name) for name in event.__struct_fields__}

"""OX.FUN: its greeting, login, batches, refusals, checksums, and its quirks."""

from __future__ import annotations

import json
import zlib
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from book.delta import Snapshot
from book.errors import FrameError
from book.events import Candle, Gap, Ticker, Trade, VenueQuote
from feeds.feed import Feed
from feeds.session import (
    Acknowledged,
    Authenticated,
    Credentials,
    Fetch,
    Note,
    Refused,
    Rejected,
    Send,
    Subscription,
    Throttled,
    Welcomed,
    Witness,
)
from feeds.simulator.fault import Fault, FaultScript
from feeds.simulator.oxfun import OxfunOptions as SimulatorOptions
from feeds.symbols import merged
from feeds.venue import Span
from feeds.venues.oxfun import Oxfun, OxfunOptions, sign_login
from feeds.venues.oxfun_wire import Book, decode_book_frame, read_book_frame
from tests.faults.scenario import INSTRUMENTS, Scenario
from tests.faults.world import live
from tests.feeds.venues.conversation import START_NS, Conversation, kinds, messages

VENUE = Oxfun()
KEY = Credentials(api_key="f00d", api_secret="secret")
WELCOME = {"event": "Welcome", "nonce": "253ae705", "timestamp": "1652711966653"}
BTC = "BTC-USD-SWAP-LIN"
BOOK = (BTC, BTC, "book")


def talk(credentials: Credentials | None = None, *, welcome: bool = True, **options) -> Conversation:
    talking = Conversation(VENUE.session(OxfunOptions(**options), credentials))
    if welcome:
        talking.say(WELCOME)
    return talking


def ack(arg: str, tag: str = "1") -> dict[str, object]:
    return {"success": True, "tag": tag, "event": "subscribe", "channel": arg, "timestamp": "1665454814275"}


def refusal(code: str, tag: str | None = "1", **more) -> dict[str, object]:
    said = {"event": "subscribe", "success": False, "message": "no", "code": code, "timestamp": "1592498745368", **more}
    return said if tag is None else {**said, "tag": tag}


def book_frame(table: str, sequence: int, asks: str, bids: str, **data) -> str:
    checksum = data.pop("checksum", zlib.crc32((asks + bids).encode()))
    body = json.dumps(
        {"checksum": checksum, "marketCode": BTC, "timestamp": str(1665456142843 + sequence % 10**6), **data}
    )
    return f'{{"table":"{table}","data":{{"seqNum":{sequence},"asks":{asks},"bids":{bids},{body[1:]}}}'


def diff(sequence: int, asks: str = "[]", bids: str = "[]", **data) -> str:
    return book_frame("depthUpdate-diff", sequence, asks, bids, **data)


class Fed:
    """A feed with one subscribed book."""

    def __init__(self, **options) -> None:
        self.feed = Feed(VENUE, OxfunOptions(**options), epoch="e")
        self.book = Subscription("oxfun", *BOOK)
        self.feed.subscribe([self.book], START_NS)
        self.feed.opened(START_NS, 0.0)
        self.say(json.dumps(WELCOME))

    @property
    def tracker(self):
        return self.feed.trackers[self.book]

    def say(self, frame: str):
        return self.feed.receive(frame.encode(), START_NS)


# Greeting, login, keep-alive


def test_nothing_goes_out_before_the_welcome():
    """Commands wait for the venue's greeting."""
    talking = talk(welcome=False)
    talking.subscribe(BOOK)
    assert talking.heard() == []
    assert talking.say(WELCOME) == [(None, Welcomed())]
    assert talking.heard() == [{"op": "subscribe", "tag": "1", "args": [f"depthUpdate:{BTC}"]}]
    assert talking.say(WELCOME) == [(None, Welcomed())]
    assert talking.heard() == []


@pytest.mark.parametrize("credentials", [None, KEY], ids=["public", "key"])
def test_without_a_welcome_it_goes_on(credentials):
    """After two seconds without a greeting it begins, with the login first where there is a key."""
    talking = talk(credentials, welcome=False)
    talking.subscribe(BOOK)
    talking.session.ready_timeout()
    operations = [command["op"] for command in talking.heard()]
    assert operations == (["subscribe"] if credentials is None else ["login", "subscribe"])


def test_the_login_is_signed():
    """The signature is that of the document: base64 of HMAC-SHA256 over the stamp and a fixed text."""
    assert sign_login("secret", "1700000000000") == "qNyCEuPA4GPpD3gYnapr/2/0OOe1C+GUn5QWMIV8GoY="
    talking = talk(KEY)
    talking.subscribe(BOOK)
    (login,) = talking.heard()
    assert login == {
        "op": "login",
        "tag": "login",
        "data": {
            "apiKey": "f00d",
            "timestamp": "1700000000000",
            "signature": "qNyCEuPA4GPpD3gYnapr/2/0OOe1C+GUn5QWMIV8GoY=",
        },
    }
    assert talking.sends[0].secret


@pytest.mark.parametrize("code", [None, "20005"], ids=["accepted", "already"])
def test_after_the_login_it_subscribes(code):
    """A login accepted, or said to have been made before, lets the commands out."""
    talking = talk(KEY)
    talking.subscribe(BOOK)
    talking.heard()
    said = {"event": "login", "success": code is None, "tag": "login", "timestamp": "1592491808328"}
    assert talking.say(said if code is None else {**said, "code": code}) == [(None, Authenticated())]
    assert [command["op"] for command in talking.heard()] == ["subscribe"]


@pytest.mark.parametrize(("code", "fatal"), [("20000", True), ("20025", True), ("20024", False)])
def test_a_refused_login(code, fatal):
    """A wrong signature or key is fatal; a login that was only late is tried again."""
    talking = talk(KEY)
    said = {"event": "login", "success": False, "message": "Signature is invalid", "code": code, "timestamp": "1"}
    assert talking.say(said) == [(None, Rejected(code, "Signature is invalid", fatal=fatal))]


def test_a_login_never_answered_does_not_hold_back():
    """Market data needs no login."""
    talking = talk(KEY)
    talking.subscribe(BOOK)
    talking.heard()
    talking.session.ready_timeout()
    assert [command["op"] for command in talking.heard()] == ["subscribe"]


def test_the_bare_pong_says_nothing():
    """Keep-alive is the text `ping` every 20 s, answered by a text that is no JSON."""
    talking = talk()
    assert talking.say("pong") == []
    assert (talking.session.heartbeat.seconds, talking.session.heartbeat.text) == (20.0, "ping")


def test_a_login_raises_the_command_limit():
    """One command a second without login, fifty with."""
    assert VENUE.command_limit.per_second == 1
    assert VENUE.authenticated_limit is not None
    assert VENUE.authenticated_limit.capacity + VENUE.authenticated_limit.per_second == 50


# Commands and answers


def test_twenty_channels_a_command():
    """Many channels go into one command; the next one waits until each was answered."""
    talking = talk()
    subscriptions = talking.subscribe(*[(f"M{n}", f"M{n}", "trade") for n in range(25)])
    (command,) = talking.heard()
    assert len(command["args"]) == 20
    assert talking.sends[-1].asks == tuple(subscriptions[:20])
    for arg in command["args"][:-1]:
        assert kinds(talking.say(ack(arg))) == ["Acknowledged"]
    assert talking.heard() == []
    talking.say({**ack(command["args"][-1]), "channel": [command["args"][-1]]})
    (command,) = talking.heard()
    assert command["args"] == [f"trade:M{n}" for n in range(20, 25)]


def test_an_answer_about_nothing_is_counted():
    """A channel that nobody asked for is noted; an unsubscribe that succeeds needs no word."""
    talking = talk()
    assert talking.say(ack("trade:OTHER")) == [(None, Note("unexpected_answer"))]
    assert talking.say({**ack("trade:OTHER"), "channel": None}) == [(None, Note("unexpected_answer"))]
    assert talking.say({**ack("trade:OTHER"), "event": "unsubscribe"}) == []


@given(st.sets(st.integers(0, 24)), st.booleans(), st.sampled_from(["subscribe", "error"]))
def test_exactly_the_bad_channels_are_refused(bad, tagged, event):
    """A refusal does not say which channel it means: halving finds exactly the bad ones."""
    talking = talk()
    subscriptions = talking.subscribe(*[(f"M{n}", f"M{n}", "trade") for n in range(25)])
    wrong = {f"trade:M{n}" for n in bad}
    outcome: dict[Subscription, str] = {}
    commands = 0
    while sent := talking.heard():
        for command in sent:
            commands += 1
            said: list[dict[str, object]] = []
            for arg in command["args"]:
                if arg in wrong:
                    said.append({**refusal("20015", command["tag"] if tagged else None), "event": event})
                    break
                said.append(ack(arg, command["tag"]))
            for frame in said:
                for subscription, message in talking.say(frame):
                    if subscription is not None:
                        outcome[subscription] = type(message).__name__
    assert outcome == {one: "Refused" if n in bad else "Acknowledged" for n, one in enumerate(subscriptions)}
    assert commands <= 2 + 6 * len(bad)


def test_a_refusal_is_told_with_its_code():
    """An unknown market is refused for good, a closed one for a while, a busy venue for all for a while."""
    for code, temporary in (("20015", False), ("20031", True), ("200050", True), ("000101", True), ("20001", True)):
        talking = talk()
        (book,) = talking.subscribe(BOOK)
        assert talking.say(refusal(code)) == [(book, Refused(code, "no", temporary))]
        assert talking.say(diff(7)) == [(None, Note("unwanted"))]
        talking.heard()
        talking.session.subscribe([book])
        assert talking.heard()[0]["args"] == [f"depthUpdate:{BTC}"]


def test_a_busy_venue_refuses_a_whole_command_for_a_while():
    """What has nothing to do with a channel is not searched for by halves."""
    talking = talk()
    subscriptions = talking.subscribe(*[(f"M{n}", f"M{n}", "trade") for n in range(4)])
    assert talking.say(refusal("000201")) == [(one, Refused("000201", "no", temporary=True)) for one in subscriptions]


def test_too_rapid_is_asked_again_later():
    """Code 20007 holds all commands back for a while; what was asked is asked again."""
    talking = talk()
    talking.subscribe(BOOK, (BTC, BTC, "trade"))
    first = talking.heard()
    assert kinds(talking.say(refusal("20007"))) == ["Throttled"]
    (again,) = talking.heard()
    assert again["args"] == first[0]["args"]
    assert again["tag"] != first[0]["tag"]
    assert kinds(talking.say(refusal("20007", "unheard of"))) == ["Throttled", "Note"]


def test_a_message_too_long_halves_the_batch_for_good():
    """Code 20027 halves what goes into one command, and it stays so."""
    talking = talk()
    talking.subscribe(*[(f"M{n}", f"M{n}", "trade") for n in range(40)])
    talking.heard()
    talking.say(refusal("20027"))
    lengths = []
    while sent := talking.heard():
        for command in sent:
            lengths.append(len(command["args"]))
            for arg in command["args"]:
                talking.say(ack(arg, command["tag"]))
    assert sum(lengths) == 40
    assert max(lengths) == 10


def test_answers_that_never_come_make_smaller_commands():
    """After ten seconds the silent channels are asked for again, for fewer at once; data counts as an answer."""
    talking = talk()
    subscriptions = talking.subscribe(*[(f"M{n}", f"M{n}", "trade") for n in range(8)])
    talking.heard()
    tick = '{"table":"trade","data":[]}'
    talking.say(tick)
    talking.wait(9)
    talking.say(tick)
    assert talking.heard() == []
    for subscription in subscriptions[:2]:
        subscription.state = "active"
    talking.say(ack("trade:M2"))
    talking.wait(2)
    talking.say(tick)
    (command,) = talking.heard()
    assert command["args"] == ["trade:M3", "trade:M4"]


def test_a_single_channel_that_is_never_answered_is_let_be():
    """Asked for alone and still without an answer: its data may come yet, and the others go on."""
    talking = talk()
    (first,) = talking.subscribe(("M1", "M1", "trade"))
    talking.subscribe(("M2", "M2", "trade"))
    talking.heard()
    talking.say('{"table":"trade","data":[]}')
    talking.wait(11)
    talking.say('{"table":"trade","data":[]}')
    assert [command["args"] for command in talking.heard()] == [["trade:M2"]]
    row = {"marketCode": "M1", "price": "1", "quantity": "1"}
    assert [one for one, _ in talking.say({"table": "trade", "data": row})] == [first]


def test_a_refused_unsubscribe_touches_no_subscription():
    """A refusal without a tag is not taken for the pending subscribe when it speaks of an unsubscribe."""
    talking = talk()
    talking.subscribe(BOOK)
    said = {**refusal("20001", None), "event": "unsubscribe"}
    assert talking.say(said) == [(None, Note("request_refused"))]
    assert kinds(talking.say(ack(f"depthUpdate:{BTC}"))) == ["Acknowledged"]


def test_a_resync_leaves_and_asks_again():
    """One unsubscribe and one subscribe, and nothing is waited for between."""
    talking = talk()
    (book,) = talking.subscribe(BOOK)
    talking.say(ack(f"depthUpdate:{BTC}"))
    talking.heard()
    talking.session.resync(book)
    assert [command["op"] for command in talking.heard()] == ["unsubscribe", "subscribe"]


def test_unknown_frames_are_refused():
    """An unknown table or event is a FrameError under a word of its own."""
    for frame, reason in (
        ('{"table":"fundingRate","data":[]}', "unknown_table"),
        ('{"event":"party"}', "unknown_frame"),
        ('{"table":"trade","data":7}', "malformed"),
        ('{"table":"candles60s","data":[{"marketCode":"M","candle":["1"]}]}', "malformed"),
    ):
        talking = talk()
        talking.subscribe(("M", "M", "candle:60s"))
        with pytest.raises(FrameError) as caught:
            talking.say(frame)
        assert caught.value.reason == reason


# Books


@pytest.mark.parametrize("first", [-1, 0, 1])
def test_the_first_diff_may_be_before_at_or_after_the_snapshot(first):
    """The document contradicts itself about the first diff; every reading gives the same live book."""
    fed = Fed()
    if first < 0:
        fed.say(diff(99, "[[7.0,7.0]]"))
    fed.say(book_frame("depthUpdate", 100, "[[19042.0,1.0]]", "[[19003.0,1.0]]"))
    if first == 0:
        fed.say(diff(100, "[[19042.0,1.0]]"))
    fed.say(diff(101, "[[19043.0,2.0]]", "[[19003.0,0.0]]"))
    assert fed.tracker.state == "live"
    assert fed.tracker.book.asks.top() == [("19042.0", "1.0"), ("19043.0", "2.0")]
    assert fed.tracker.book.bids.top() == []


@pytest.mark.parametrize("sequence", ["contiguous", "monotonic"])
def test_a_jump_is_a_gap_only_where_sequences_are_contiguous(sequence):
    """The option decides what a jump means; the snapshot's own sequence is taken once more in both."""
    fed = Fed(sequence=sequence)
    fed.say(book_frame("depthUpdate", 100, "[[19042.0,1.0]]", "[]"))
    fed.say(diff(100, "[[19041.0,1.0]]"))
    assert len(fed.tracker.book.asks) == 2
    events = fed.say(diff(105, "[[19042.0,0.0]]"))
    assert fed.tracker.state == ("gap" if sequence == "contiguous" else "live")
    assert any(isinstance(event, Gap) for event in events) == (sequence == "contiguous")


def test_large_sequences_are_exact():
    """Sequences beyond 2**53 are kept to the last digit."""
    fed = Fed()
    fed.say(book_frame("depthUpdate", 300173894171307525, "[]", "[]"))
    fed.say(diff(300173894171307526, "[[1.0,1.0]]"))
    current = fed.tracker.current(0)
    assert current is not None
    assert current.venue_seq == "300173894171307526"


def test_empty_diffs_are_heartbeats():
    """Ten diffs a second without a level keep the sequence and publish nothing."""
    fed = Fed()
    fed.say(book_frame("depthUpdate", 100, "[[1.0,1.0]]", "[]"))
    assert [fed.say(diff(sequence)) for sequence in range(101, 110)] == [[]] * 9
    assert fed.tracker.sequence == 109


@pytest.mark.parametrize("depth", [0, 5, 10, 25])
def test_whole_books_by_option(depth):
    """`book_mode = "snapshot"` asks for whole books, all levels or the best few, and takes no other table."""
    fed = Fed(book_mode="snapshot", book_depth=depth)
    table = "depth" if depth == 0 else f"depthL{depth}"
    (send,) = [json.loads(request.text) for request in fed.feed.requests if hasattr(request, "text")]
    assert send["args"] == [f"{table}:{BTC}"]
    fed.say(book_frame(table, 5, "[[2.0,1.0],[3.0,1.0]]", "[[1.0,1.0]]"))
    assert fed.say(diff(6, "[[2.0,0.0]]")) == []
    assert fed.feed.notes["unwanted"] == 1
    fed.say(book_frame(table, 7, "[[2.00,1.50]]", "[[1.0,1.0]]"))
    assert fed.tracker.book.asks.top() == [("2.00", "1.50")]
    assert fed.tracker.state == "live"


LONG_SIDE = "[" + ",".join(f"[{price}.5,1.0]" for price in range(19000, 19100)) + "]"


@pytest.mark.parametrize(
    ("asks", "bids", "more"),
    [
        (LONG_SIDE, "[[18999.0,1.0]]", {}),
        (LONG_SIDE, "[]", {}),
        ("[]", LONG_SIDE.replace("19", "18"), {}),
        (LONG_SIDE, '[["18999.0","1.0"]]', {}),
        (LONG_SIDE, "[[18999.0,1.0]]", {"levels": [["a", 1], ["b", 2]]}),
        (LONG_SIDE, "[[18999.0,1.0]]", {"levels": [[1, 2], [3, 4]]}),
        (LONG_SIDE, "[[18999.0,1.0]]", {"asks": [[19001.0, 5.0]]}),
        (LONG_SIDE, "[[18999.0,1.0]]", {"bids": [[18001.0, 5.0]]}),
        (LONG_SIDE + ' ,"note":"]]"', "[[18999.0,1.0]]", {}),
    ],
)
def test_a_long_book_says_what_it_says_however_it_is_read(asks, bids, more):
    """The sides are cut out of a long frame unread; whatever else stands in it, that must not change what they are."""
    members = f'"seqNum":7,"asks":{asks},"bids":{bids},"marketCode":"{BTC}"'
    members += "".join(f',"{name}":{json.dumps(value, separators=(",", ":"))}' for name, value in more.items())
    frame = f'{{"table":"depthUpdate","data":{{{members}}}}}'.encode()
    assert len(frame) > 1024
    known, plain = read_book_frame(frame), decode_book_frame(frame)
    assert isinstance(known.data, Book)
    assert isinstance(plain.data, Book)
    assert msgspec.structs.asdict(known.data) == msgspec.structs.asdict(plain.data)
    assert known.table == plain.table


@settings(max_examples=400)
@given(st.integers(0, 1600), st.integers(0, 24))
def test_a_long_book_with_a_piece_missing_is_what_the_rest_says(start, count):
    """It is refused wherever its JSON is broken, though its sides are not read as JSON."""
    members = f'"seqNum":7,"asks":{LONG_SIDE},"bids":[[18999.0,1.0]],"marketCode":"{BTC}"'
    whole = f'{{"table":"depthUpdate","data":{{{members}}}}}'.encode()
    frame = whole[:start] + whole[start + count :]
    cut, plain = Fed(), Fed()
    cut.say(frame.decode())
    with patch("feeds.venues.oxfun.read_book_frame", decode_book_frame):
        plain.say(frame.decode())
    assert cut.tracker.state == plain.tracker.state
    assert cut.tracker.book.asks.top() == plain.tracker.book.asks.top()
    assert cut.feed.rejected.total() == plain.feed.rejected.total()


# Checksums


@pytest.mark.parametrize(
    ("asks", "bids", "checksum"),
    [
        ("[]", "[]", 364462986),
        ("[[19042.0,1.0]]", "[[19003.0,1.0]]", 2688268653),
        ("[[19042.0,0.0]]", "[]", 1081219011),
        ("[]", "[[19003.0,0.0]]", 552384403),
        ("[[19042.0,0.0],[19043.5,2.5]]", "[[19003.0,1.25]]", 4017189142),
        ("[[19042.0, 0.0], [19043.5, 2.5]]", "[ [19003.0,1.25] ]", 4017189142),
        ("[[19042.0,0.0],[19043.5,2.5]]", "[[19003.0,1.25]]", 4017189142 - 2**32),
    ],
)
def test_checksum_vectors(asks, bids, checksum):
    """The CRC-32 of the compact sides holds for all vectors, signed and with blanks too."""
    talking = talk()
    talking.subscribe(BOOK)
    assert kinds(talking.say(diff(7, asks, bids, checksum=checksum))) == ["Delta"]
    assert kinds(talking.say(diff(8, asks, bids, checksum=checksum ^ 1))) == ["Note", "Delta"]


def test_an_advisory_checksum_only_counts():
    """A mismatch is noted, the book goes on; twenty from the start switch the checksum off."""
    fed = Fed()
    fed.say(book_frame("depthUpdate", 100, "[]", "[]", checksum=1))
    for sequence in range(101, 130):
        fed.say(diff(sequence, checksum=1))
    assert fed.tracker.state == "live"
    assert fed.feed.notes["checksum_mismatch"] == 19
    assert fed.feed.notes["checksum_disabled"] == 1


def test_an_enforced_checksum_breaks_the_book_once_it_is_proven():
    """A mismatch means nothing until one checksum has matched; then it is a gap for this book."""
    fed = Fed(checksum="enforce")
    fed.say(book_frame("depthUpdate", 100, "[]", "[]", checksum=1))
    fed.say(diff(101))
    assert fed.tracker.state == "live"
    events = fed.say(diff(102, "[[5.0,5.0]]", checksum=1))
    (gap,) = [event for event in events if isinstance(event, Gap)]
    assert (gap.reason, gap.received) == ("checksum", "102")
    assert fed.tracker.state == "gap"
    fed.say(diff(103, "[[5.0,5.0]]", checksum=1))
    fed.say(book_frame("depthUpdate", 104, "[[6.0,6.0]]", "[]", checksum=1))
    assert fed.feed.rejected["checksum"] == 1
    fed.say(book_frame("depthUpdate", 105, "[[6.0,6.0]]", "[]"))
    assert fed.tracker.state == "live"
    assert fed.tracker.book.asks.top() == [("6.0", "6.0")]


def test_a_checksum_can_be_off():
    """Nothing is compared where a person does not want it, or the frame has none."""
    for mode, checksum in (("off", 1), ("advisory", None)):
        talking = talk(checksum=mode)
        talking.subscribe(BOOK)
        assert kinds(talking.say(diff(7, checksum=checksum))) == ["Delta"]


# Other tables


def test_one_ticker_channel_for_all():
    """`ticker_all` asks once, routes each row to its symbol, and leaves with the last of them."""
    talking = talk(ticker_all=True)
    first, second = talking.subscribe(("A-USD", "A-USD", "ticker"), ("B-USD", "B-USD", "ticker"))
    assert talking.heard()[0]["args"] == ["ticker:all"]
    assert talking.say(ack("ticker:all")) == [(first, Acknowledged()), (second, Acknowledged())]
    rows = [{"marketCode": code, "last": "1"} for code in ("B-USD", "C-USD", "A-USD")]
    assert [one for one, _ in talking.say({"table": "ticker", "data": rows})] == [second, first]
    talking.session.unsubscribe([first])
    assert talking.heard() == []
    talking.session.unsubscribe([second])
    assert talking.heard()[0] == {"op": "unsubscribe", "tag": "2", "args": ["ticker:all"]}


def test_one_liquidation_channel_for_all():
    """`liquidationRFQ` is asked for once and routed by market."""
    talking = talk()
    first, _ = talking.subscribe(("A", "A", "liquidation"), ("B", "B", "liquidation"))
    assert talking.heard()[0]["args"] == ["liquidationRFQ"]
    said = {"table": "liquidationRFQ", "data": [{"marketCode": "A", "timestamp": "1613774607889"}]}
    assert [one for one, _ in talking.say(said)] == [first]


@pytest.mark.parametrize("data", ["list", "object"])
def test_rows_come_as_list_or_object(data):
    """A table's data is one object or a list of them; the side is the taker's in lower case."""
    talking = talk()
    talking.subscribe(("M", "M", "trade"))
    row = {
        "marketCode": "M",
        "price": 5556.910,
        "quantity": 5,
        "side": "SELL",
        "tradeId": 7,
        "timestamp": 1594299886890,
    }
    (trade,) = messages(talking.say({"table": "trade", "data": [row] if data == "list" else row}), Trade)
    assert (trade.price, trade.size, trade.side, trade.id) == ("5556.91", "5", "sell", "7")
    assert trade.ts_venue == 1594299886890000000


@given(st.integers(1, 2**42), st.sampled_from(VENUE.periods), st.sampled_from(["candles", "candle"]))
def test_candles_open_at_a_multiple_of_their_period(stamp, period, word):
    """A stamp inside a bar is floored to the bar's start, whichever way the table is spelled."""
    talking = talk()
    talking.subscribe(("M", "M", f"candle:{period}"))
    row = {"marketCode": "M", "candle": [str(stamp), "1", "2", "0.5", "1.5", "45247", "5.3", "more"]}
    (candle,) = messages(talking.say({"table": f"{word}{period}", "data": [row]}), Candle)
    length = int(period[:-1]) * 10**9
    assert candle.ts_open % length == 0
    assert 0 <= stamp * 10**6 - candle.ts_open < length
    assert (candle.volume, candle.quote_volume, candle.period) == ("5.3", "45247", period)


@pytest.mark.parametrize(
    ("side", "level"),
    [([19045.0, 1.0], ("19045.0", "1.0")), ("[]", None), ([], None), (None, None), (["1", "2"], ("1", "2"))],
)
def test_best_prices_may_be_missing(side, level):
    """An empty side comes as a text, as an empty list, or not at all."""
    talking = talk()
    talking.subscribe(("M", "M", "venue_quote"))
    (quote,) = messages(talking.say({"table": "bestBidAsk", "data": {"marketCode": "M", "ask": side}}), VenueQuote)
    assert (quote.bid, quote.ask) == (None, level)


@pytest.mark.parametrize("side", [[1], "x", {}, [None, 1], 7])
def test_best_prices_of_another_shape_are_refused(side):
    """What is neither a level nor empty is a FrameError."""
    talking = talk()
    talking.subscribe(("M", "M", "venue_quote"))
    with pytest.raises(FrameError):
        talking.say({"table": "bestBidAsk", "data": {"marketCode": "M", "bid": side}})


def test_never_traded_is_absent_not_zero():
    """A last price of zero means that there was no trade."""
    talking = talk()
    talking.subscribe(("M", "M", "ticker"))
    (ticker,) = messages(talking.say({"table": "ticker", "data": [{"marketCode": "M", "last": "0.0"}]}), Ticker)
    assert (ticker.last, ticker.ts_venue) == (None, None)


def test_market_codes_keep_their_case():
    """`gork-USD-SWAP-LIN` is another market than `GORK-USD-SWAP-LIN`."""
    talking = talk()
    (subscription,) = talking.subscribe(("gork-USD-SWAP-LIN", "gork-USD-SWAP-LIN", "trade"))
    assert talking.heard()[0]["args"] == ["trade:gork-USD-SWAP-LIN"]
    row = {"price": "1", "quantity": "1"}
    said = [{**row, "marketCode": "GORK-USD-SWAP-LIN"}, {**row, "marketCode": "gork-USD-SWAP-LIN"}]
    assert [one for one, _ in talking.say({"table": "trade", "data": said})] == [subscription]


# REST


def test_the_table_and_what_it_leaves_out():
    """`/v3/markets` gives terms; a market known from `/v3/tickers` only goes by its code."""
    markets = VENUE.parse_symbols(
        b'{"success":true,"data":[{"marketCode":"BTC-USDT","base":"BTC","counter":"USDT","type":"SPOT",'
        b'"tickSize":"0.1","minSize":"0.001"},{"marketCode":"1000PEPE-USD-SWAP-LIN","base":"1000PEPE",'
        b'"counter":"USD","type":"FUTURE","tickSize":"0.0001","minSize":"1"}]}'
    )
    assert [(one.symbol, one.base, one.quote, one.kind, one.tick_size, one.size_increment) for one in markets] == [
        ("BTC-USDT", "BTC", "USDT", "spot", "0.1", "0.001"),
        ("1000PEPE-USD-SWAP-LIN", "1000PEPE", "USD", "perpetual", "0.0001", "1"),
    ]
    (ticker,) = VENUE.parse_symbols(b'{"success":true,"data":[{"marketCode":"gork-USD-SWAP-LIN","markPrice":"1"}]}')
    assert (ticker.symbol, ticker.base, ticker.quote, ticker.kind) == (
        "gork-USD-SWAP-LIN",
        "gork",
        "USD",
        "perpetual",
    )
    assert VENUE.more_symbols_fetch is not None
    again = VENUE.parse_symbols(b'{"data":[{"marketCode":"BTC-USDT"},{"marketCode":"gork-USD-SWAP-LIN"}]}')
    assert merged(markets, again) == [*markets, ticker]
    assert VENUE.guess_wire("OX-USDT").kind == "spot"
    assert VENUE.guess("ETH-USD-REPO-LIN").kind == "repo"
    assert VENUE.guess("BTC-USD-SPR-QP-LIN").kind == "spread"


def test_past_trades_are_oldest_first_and_marked():
    """Backfilled trades have no ids, keep their order in time, and are asked for to the millisecond."""
    subscription = Subscription("oxfun", BTC, BTC, "trade")
    fetch = VENUE.trades_fetch(subscription, Span(from_ns=1662207330439999999, until_ns=1662207331000000001))
    assert fetch is not None
    assert fetch.query == {"marketCode": BTC, "limit": "500", "startTime": "1662207330439", "endTime": "1662207331001"}
    rows = [
        {"marketCode": BTC, "matchPrice": price, "matchQuantity": "0.1", "side": "BUY", "matchType": "TAKER",
         "matchedAt": stamp}
        for price, stamp in (("3", "1662207330441"), ("2", "1662207330440"), ("1", "1662207330440"))
    ]  # fmt: skip
    trades = VENUE.parse_trades(subscription, json.dumps({"success": True, "data": rows}).encode(), 5)
    assert [(trade.price, trade.id, trade.backfilled, trade.side) for trade in trades] == [
        ("1", None, True, "buy"),
        ("2", None, True, "buy"),
        ("3", None, True, "buy"),
    ]


def test_the_second_book_has_no_sequence():
    """`/v3/depth` states the top of a book, with digits as printed; whole books need none."""
    subscription = Subscription("oxfun", *BOOK)
    fetch = VENUE.book_fetch(subscription, OxfunOptions())
    assert fetch is not None
    assert fetch.optional
    assert VENUE.book_fetch(subscription, OxfunOptions(book_mode="snapshot")) is None
    body = (
        b'{"success":true,"level":"5","data":{"marketCode":"M","lastUpdatedAt":"1643016065958",'
        b'"asks":[[39400,0.261],[41050.50,0.002]],"bids":[]}}'
    )
    book = VENUE.parse_book(OxfunOptions(), body)
    assert book == Snapshot(None, [], [("39400", "0.261"), ("41050.50", "0.002")], 1643016065958000000)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"success":false,"code":"20001","message":"marketCode is invalid"}'])
def test_errors_of_rest_are_refused(body):
    """An error of the venue's REST side is no table, no trades and no book."""
    subscription = Subscription("oxfun", *BOOK)
    for read in (
        lambda: VENUE.parse_symbols(body),
        lambda: VENUE.parse_trades(subscription, body, 0),
        lambda: VENUE.parse_book(OxfunOptions(), body),
    ):
        with pytest.raises(FrameError):
            read()


def test_topics_name_what_a_frame_is_about():
    """Of a frame alone, its markets and channel are known; control frames and nonsense are about nothing."""
    assert VENUE.topics(diff(7).encode()) == ((BTC, "book"),)
    assert VENUE.topics(b'{"table":"candles60s","data":[{"marketCode":"M","candle":[]}]}') == (("M", "candle:60s"),)
    assert VENUE.topics(b'{"table":"depth","data":[{"instrumentId":"M"}]}') == (("M", "book"),)
    for frame in (json.dumps(WELCOME).encode(), b"pong", b'{"table":"party"}', b'{"table":"trade","data":7}'):
        assert VENUE.topics(frame) == ()


def test_throttled_is_told_in_seconds():
    """The pause is a number that the budget can use."""
    talking = talk()
    talking.subscribe(BOOK)
    ((_, message),) = talking.say(refusal("20007"))
    assert isinstance(message, Throttled)
    assert message.seconds > 0


# Audits


def test_an_audit_takes_one_book_of_the_channel_of_whole_books():
    """Asked for when no other command waits, left after the first book; the few that still come mean nothing."""
    talking = talk()
    (book,) = talking.subscribe(BOOK)
    assert not talking.session.audit(book), "the subscription itself is not answered yet"
    talking.heard()
    talking.say(ack(f"depthUpdate:{BTC}"))
    assert talking.session.audit(book)
    assert talking.heard() == [{"op": "subscribe", "tag": "2", "args": [f"depth:{BTC}"]}]
    assert talking.say(ack(f"depth:{BTC}", "2")) == []
    whole = book_frame("depth", 77, "[[19042.0,1.0]]", "[[19003.0,1.50]]")
    ((subject, witness),) = talking.say(whole)
    assert subject is book
    assert isinstance(witness, Witness)
    assert (witness.snapshot.sequence, list(witness.snapshot.asks), list(witness.snapshot.bids)) == (
        77,
        [("19042.0", "1.0")],
        [("19003.0", "1.50")],
    )
    assert talking.heard() == [{"op": "unsubscribe", "tag": "3", "args": [f"depth:{BTC}"]}]
    assert talking.say(whole) == []
    assert talking.session.audit(book), "and again"


def test_a_refused_audit_is_not_asked_for_again_and_costs_no_subscription():
    talking = talk()
    (book,) = talking.subscribe(BOOK)
    talking.heard()
    talking.say(ack(f"depthUpdate:{BTC}"))
    assert talking.session.audit(book)
    talking.heard()
    assert talking.say(refusal("30001", "2")) == [(None, Note("audit_refused"))]
    assert not talking.session.audit(book)
    assert kinds(talking.say(diff(1))) == ["Delta"]


def test_no_audit_goes_before_a_command_that_waits():
    talking = talk(welcome=False)
    (book,) = talking.subscribe(BOOK)
    assert not talking.session.audit(book)
    talking.say(WELCOME)
    assert [command["args"] for command in talking.heard()] == [[f"depthUpdate:{BTC}"]]


def test_books_that_come_whole_are_not_audited_by_themselves():
    talking = talk(book_mode="snapshot")
    (book,) = talking.subscribe(BOOK)
    talking.say(ack(f"depth:{BTC}"))
    assert not talking.session.audit(book)


@pytest.mark.parametrize("first", ["same", "next", "before"])
def test_with_rest_down_every_book_is_still_held_against_the_venues_at_its_very_sequence(first):
    """Over a simulated venue: all audits agree, none is missed, and the budget of one command a second holds."""
    rest_down = Fault(fault="rest_reset", at_seconds=0.5, seconds=60.0)
    plan = Scenario(
        1,
        "oxfun",
        SimulatorOptions(first_diff=first),
        INSTRUMENTS["oxfun"][:2],
        FaultScript(faults=(rest_down,)),
        1.0,
        {"audit_every_seconds": 4.0},
    )
    outcome = live(plan)
    assert outcome.violations == []
    audits = {name: count for name, count in outcome.counts.items() if name.startswith("audit_")}
    assert audits["audit_matched"] > 4
    assert audits.keys() <= {"audit_matched", "audit_abandoned"}


def test_whole_books_of_other_sequences_are_no_help_and_rest_is_asked():
    """Were `depth` to count by itself, its books could never be compared."""
    fed = Fed(audit_every_seconds=1.0)
    fed.say(json.dumps(ack(f"depthUpdate:{BTC}")))
    fed.say(book_frame("depthUpdate", 100, "[[2.0,1.0]]", "[[1.0,1.0]]"))
    now = 0.0
    asked: list[str] = []
    while now < 60.0:
        now += 0.25
        fed.feed.tick(START_NS + int(now * 1e9), now)
        requests = list(fed.feed.requests)
        fed.feed.requests.clear()
        for request in requests:
            if isinstance(request, Fetch) and request.purpose == "book":
                asked.append("rest")
                fed.feed.fetch_failed(request)
            elif isinstance(request, Send) and f"depth:{BTC}" in request.text and '"subscribe"' in request.text:
                asked.append("socket")
                fed.say(json.dumps(ack(f"depth:{BTC}", json.loads(request.text)["tag"])))
                fed.say(book_frame("depth", 5, "[[2.0,1.0]]", "[[1.0,1.0]]"))
        fed.say(diff(100 + int(now * 4), "[[3.0,1.0]]"))
    assert asked[:3] == ["socket"] * 3
    assert set(asked[3:]) == {"rest"}
    assert fed.tracker.state == "live"

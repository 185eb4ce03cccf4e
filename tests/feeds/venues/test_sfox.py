"""SFOX: what it is sent, how its answers and refusals are taken, and its quirks."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from book.continuity import monotonic
from book.delta import Snapshot
from book.errors import FrameError
from book.events import Ticker, Trade
from feeds.feed import Feed
from feeds.session import (
    Acknowledged,
    Authenticated,
    ConnectionGap,
    Credentials,
    Note,
    Refused,
    Rejected,
    Subscription,
    Throttled,
)
from feeds.venues.sfox import SequenceWatch, Sfox, SfoxOptions
from tests.feeds.venues.conversation import START_NS, Conversation, kinds, messages

VENUE = Sfox()
KEY = Credentials(api_key="f00d")
BOOK = ("BTC-USD", "btcusd", "book")
TRADE = ("BTC-USD", "btcusd", "trade")
TICKER = ("ETH-USD", "ethusd", "ticker")
SUCCESS = {"type": "success", "timestamp": 1534443719605160397}


def talk(credentials: Credentials | None = None, **options) -> Conversation:
    return Conversation(VENUE.session(SfoxOptions(**options), credentials))


def answer(kind: str, action: str | None, **payload) -> dict[str, object]:
    frame = {"type": kind, "timestamp": 1727391983733911769, "payload": {"action": action, **payload}}
    return frame if action is None else {**frame, "action": action}


def trade_frame(sequence: int, **payload) -> dict[str, object]:
    body = {"id": "1", "quantity": "0.5", "price": "100", "exchange": "kraken", "side": "buy", "is_decimal": True}
    return {"sequence": sequence, "recipient": "trades.sfox.btcusd", "payload": {**body, **payload}}


def book_frame(sequence: int, bids: object, asks: object, **payload) -> dict[str, object]:
    payload = {"bids": bids, "asks": asks, "pair": "btcusd", **payload}
    return {"sequence": sequence, "recipient": "orderbook.sfox.btcusd", "payload": payload}


# Login and commands


def test_with_a_key_it_authenticates_first():
    """The key goes out once, secret, and nothing else before the venue's answer."""
    talking = talk(KEY)
    subscriptions = talking.subscribe(BOOK, TRADE)
    assert talking.heard() == [{"type": "authenticate", "apiKey": "f00d"}]
    assert talking.sends[0].secret
    assert kinds(talking.say(answer("success", "authenticate"))) == ["Authenticated"]
    assert talking.heard() == [{"type": "subscribe", "feeds": ["orderbook.sfox.btcusd", "trades.sfox.btcusd"]}]
    assert not talking.sends[1].secret
    assert talking.sends[1].asks == tuple(subscriptions)


def test_an_enterprise_key_says_so():
    """A key of an enterprise account is announced as one."""
    talking = talk(KEY, enterprise=True)
    assert talking.heard() == [{"type": "authenticate", "apiKey": "f00d", "enterprise": True}]


@pytest.mark.parametrize("style", ["bare", "full"])
def test_both_styles_of_answers_are_taken(style):
    """An answer without action and payload is as good as one that lists all feeds."""
    talking = talk()
    subscriptions = talking.subscribe(BOOK, TICKER)
    talking.heard()
    said = SUCCESS if style == "bare" else answer("success", "subscribe", feeds=["orderbook.sfox.btcusd", "x.y.z"])
    assert talking.say(said) == [(subscription, Acknowledged()) for subscription in subscriptions]


def test_without_an_answer_to_the_login_it_goes_on():
    """After the ready timeout it subscribes; a late bare answer still belongs to the login."""
    talking = talk(KEY)
    talking.subscribe(BOOK)
    talking.heard()
    talking.session.ready_timeout()
    assert [command["type"] for command in talking.heard()] == ["subscribe"]
    assert kinds(talking.say(SUCCESS)) == ["Authenticated"]
    assert kinds(talking.say(SUCCESS)) == ["Acknowledged"]


def test_answers_that_name_their_action_go_by_it():
    """Where two answers are due, the one that says what it answers is not taken for the other."""
    talking = talk(KEY)
    talking.subscribe(BOOK)
    talking.session.ready_timeout()
    assert kinds(talking.say(answer("success", "subscribe"))) == ["Acknowledged"]
    assert kinds(talking.say(answer("success", "authenticate"))) == ["Authenticated"]


def test_one_command_at_a_time():
    """The next command waits for the answer to the one before, and takes all that came together since."""
    talking = talk()
    first = talking.subscribe(BOOK)
    second = talking.subscribe(TRADE)
    third = talking.subscribe(TICKER)
    assert [command["feeds"] for command in talking.heard()] == [["orderbook.sfox.btcusd"]]
    assert talking.say(SUCCESS) == [(first[0], Acknowledged())]
    assert [command["feeds"] for command in talking.heard()] == [["trades.sfox.btcusd", "ticker.sfox.ethusd"]]
    assert talking.say(SUCCESS) == [(second[0], Acknowledged()), (third[0], Acknowledged())]
    assert talking.heard() == []


def test_an_answer_that_never_comes_is_waited_for_ten_seconds():
    """A missing answer holds back the others for a while, not for ever."""
    talking = talk()
    talking.subscribe(BOOK)
    talking.subscribe(TICKER)
    talking.heard()
    talking.say(book_frame(2, [], []))
    talking.wait(9)
    talking.say(book_frame(3, [], []))
    assert talking.heard() == []
    talking.wait(2)
    talking.say(book_frame(4, [], []))
    assert [command["feeds"] for command in talking.heard()] == [["ticker.sfox.ethusd"]]


def test_a_resync_is_one_of_each():
    """Leaving and asking again go out one after the other; frames in between are unwanted or taken."""
    talking = talk()
    (book,) = talking.subscribe(BOOK)
    talking.say(SUCCESS)
    talking.heard()
    talking.session.resync(book)
    assert talking.heard() == [{"type": "unsubscribe", "feeds": ["orderbook.sfox.btcusd"]}]
    assert talking.say(answer("success", "unsubscribe")) == []
    assert talking.heard() == [{"type": "subscribe", "feeds": ["orderbook.sfox.btcusd"]}]
    assert talking.say(answer("success", "subscribe")) == [(book, Acknowledged())]


def test_what_is_unsubscribed_is_unwanted():
    """Frames of a feed that was left are counted and go nowhere."""
    talking = talk()
    (book,) = talking.subscribe(BOOK)
    talking.session.unsubscribe([book])
    assert talking.say(book_frame(2, [], [])) == [(None, Note("unwanted"))]


def test_an_answer_to_nothing_is_counted():
    """An answer that nobody waits for is noted, a refusal too."""
    talking = talk()
    assert talking.say(SUCCESS) == [(None, Note("unexpected_answer"))]
    assert talking.say(answer("error", "subscribe", message="?")) == [(None, Note("unexpected_answer"))]


# Refusals


def test_a_refused_login_is_fatal():
    """A wrong key is not tried again."""
    talking = talk(KEY)
    talking.subscribe(BOOK)
    (rejected,) = messages(talking.say(answer("error", "authenticate")), Rejected)
    assert rejected.fatal


def test_a_refusal_without_words_and_without_a_key_means_that_one_is_needed():
    """Documents disagree on whether market data needs a key: a bare refusal without one is that."""
    talking = talk()
    talking.subscribe(BOOK)
    said = answer("error", "subscribe", feeds=["orderbook.sfox.btcusd"])
    (rejected,) = messages(talking.say(said), Rejected)
    assert rejected.fatal
    assert "key" in rejected.reason


@pytest.mark.parametrize("words", ["not authorized", "API key required", "please login", "Forbidden"])
def test_words_about_credentials_are_fatal(words):
    """Whatever sounds like credentials stops the feed, with the venue's words."""
    talking = talk(KEY)
    talking.subscribe(BOOK)
    talking.say(answer("success", "authenticate"))
    (rejected,) = messages(talking.say(answer("error", "subscribe", error=words)), Rejected)
    assert words.lower() in rejected.reason


@pytest.mark.parametrize("words", ["Rate limit exceeded", "too many requests", "throttled", "limit reached"])
def test_words_about_speed_block_for_two_minutes(words):
    """Too many requests cost two minutes, and the command is asked again."""
    talking = talk()
    (book,) = talking.subscribe(BOOK)
    assert len(talking.heard()) == 1
    assert talking.say(answer("error", "subscribe", message=words)) == [(None, Throttled(120.0))]
    assert talking.heard() == [{"type": "subscribe", "feeds": ["orderbook.sfox.btcusd"]}]
    assert talking.say(SUCCESS) == [(book, Acknowledged())]


def test_a_throttled_login_dials_again():
    """A login that came too soon is not skipped: the connection begins anew after the block."""
    talking = talk(KEY)
    talking.subscribe(BOOK)
    talking.heard()
    assert talking.say(answer("error", "authenticate", error="too many requests")) == [(None, Throttled(120.0))]
    assert talking.heard() == []
    assert talking.hangups == ["throttled"]
    assert talking.say({"type": "error", "payload": "limit"}) == [(None, Throttled(120.0))]


def test_an_unsubscribe_refused_is_nobodys_loss():
    """A refused unsubscribe is counted only."""
    talking = talk(KEY)
    (book,) = talking.subscribe(BOOK)
    talking.say(answer("success", "authenticate"))
    talking.say(SUCCESS)
    talking.session.unsubscribe([book])
    assert talking.say(answer("error", "unsubscribe", message="no such feed")) == [(None, Note("unsubscribe_refused"))]


@given(st.sets(st.integers(0, 11)))
def test_exactly_the_bad_feeds_are_refused(bad):
    """A refusal does not say which feed it means: asking for fewer finds exactly the bad ones."""
    talking = talk()
    rows = [(f"P{index}-USD", f"p{index}usd", "book") for index in range(12)]
    subscriptions = talking.subscribe(*rows)
    wrong = {f"orderbook.sfox.p{index}usd" for index in bad}
    outcome: dict[Subscription, str] = {}
    commands = 0
    while sent := talking.heard():
        for command in sent:
            commands += 1
            refused = wrong.intersection(command["feeds"])
            said = answer("error", "subscribe", message="unknown pair") if refused else SUCCESS
            for subscription, message in talking.say(said):
                if subscription is not None:
                    outcome[subscription] = type(message).__name__
    assert outcome == {one: "Refused" if index in bad else "Acknowledged" for index, one in enumerate(subscriptions)}
    assert commands <= 1 + 6 * len(bad)


def test_a_refused_feed_is_told_with_the_venues_words():
    """The whole payload is kept for the log."""
    talking = talk()
    (book,) = talking.subscribe(BOOK)
    ((subscription, refused),) = talking.say(answer("error", "subscribe", message="unknown pair", code=7))
    assert subscription is book
    assert isinstance(refused, Refused)
    assert not refused.temporary
    assert json.loads(refused.reason) == {"message": "unknown pair", "code": 7}


# Sequences


@pytest.mark.parametrize("action", ["reconnect", "warn"])
def test_a_hole_is_told_and_reconnects_at_most_every_30_seconds(action):
    """A lost frame is a gap at once; the socket is dropped for it only when it is 30 s old."""
    talking = talk(gap_action=action)
    talking.subscribe(BOOK, TRADE)
    talking.say({**SUCCESS, "sequence": 1})
    talking.say(trade_frame(2))
    talking.say(book_frame(3, [], []))
    talking.wait(1)
    gap = talking.say(trade_frame(5, id="2"))
    assert gap[0] == (None, ConnectionGap(4, 5))
    assert kinds(gap) == ["ConnectionGap", "Trade"]
    talking.heard()
    assert talking.hangups == []
    talking.wait(31)
    talking.say(trade_frame(6, id="3"))
    talking.heard()
    assert talking.hangups == (["sequence_gap"] if action == "reconnect" else [])


def test_repeated_and_late_frames_are_misordered():
    """A sequence seen before is noted, and its trade does not come out twice."""
    talking = talk()
    talking.subscribe(BOOK, TRADE)
    talking.say(trade_frame(2))
    talking.say(book_frame(3, [], []))
    assert kinds(talking.say(trade_frame(2))) == ["Note", "Note"]
    late = talking.say(trade_frame(2, id="late"))
    assert kinds(late) == ["Note", "Trade"]


RECIPIENTS = st.lists(st.sampled_from(["a", "b", "c", None]), min_size=120, max_size=160)


def reports(scope: str, sequences: list[tuple[int, str | None]]) -> list[object]:
    watch = SequenceWatch(scope)  # type: ignore[arg-type]
    return [found for pair in sequences if (found := watch.look(*pair)) is not None]


@given(RECIPIENTS, st.data())
@settings(max_examples=60)
def test_one_counter_a_socket_one_hole_told_once(recipients, data):
    """With one counter a socket, every lost frame in the middle is told exactly once."""
    frames = list(enumerate(recipients, 1))
    assert reports("connection", frames) == []
    lost = data.draw(st.integers(1, len(frames) - 2))
    assert reports("connection", frames[:lost] + frames[lost + 1 :]) == [ConnectionGap(lost + 1, lost + 2)]


@pytest.mark.parametrize(
    ("sequences", "told"),
    [
        ([*range(1, 60), 1, 2], [(60, 1)]),  # far below: at once
        ([*range(1, 60), 7, 8], [(60, 7)]),  # its beginning is lost too
        ([*range(1, 6), 1, 2, 3, 4], [(6, 3)]),  # near: a run of three
        ([*range(1, 10), 1, 2, 8, 9, 10], [(3, 8)]),  # a hole in the run
        ([1, 2, 5, 3, 6, 4, 7], [(3, 5)]),  # late ones fill a hole that was told
        ([1, *range(100, 200), 50, 200], [(2, 100)]),  # however late
        ([1, 2, 3, 3, 4, 5, 4, 6, 5, 7], []),  # repetitions
        ([*range(1, 60), *range(1, 90), 91], [(60, 1), (90, 91)]),
    ],
)
@pytest.mark.parametrize("scope", ["connection", "recipient"])
def test_a_series_that_begins_anew_is_told_before_its_data_and_lateness_is_not(scope, sequences, told):
    frames: list[tuple[int, str | None]] = [(number, "a") for number in sequences]
    gaps = [found for found in reports(scope, frames) if isinstance(found, ConnectionGap)]
    assert [(gap.expected, gap.received) for gap in gaps] == told


@given(st.integers(), st.integers(1, 1000))
@settings(max_examples=60)
def test_one_counter_a_feed_is_noticed(seed, start):
    """With one counter a feed no hole is invented, the reading is learned, and a real hole is told after."""
    chance = random.Random(seed)
    counters = {"a": start, "b": 1, "c": 7}
    frames: list[tuple[int, str | None]] = []
    for _ in range(150):
        recipient = chance.choice("abc")
        counters[recipient] += 1
        frames.append((counters[recipient], recipient))
    assert reports("connection", frames) == [Note("sequence_scope_learned")]
    assert reports("recipient", frames) == []
    lost = next(index for index in range(100, 150) if any(one[1] == frames[index][1] for one in frames[index + 1 :]))
    sequence, _ = frames.pop(lost)
    assert reports("connection", frames) == [Note("sequence_scope_learned"), ConnectionGap(sequence, sequence + 1)]


def test_one_feed_teaches_nothing():
    """With a single feed both readings agree, and a hole is told by either."""
    frames: list[tuple[int, str | None]] = [(1, None), *((number, "a") for number in range(2, 80) if number != 40)]
    assert reports("connection", frames) == [ConnectionGap(40, 41)]


# Data


def test_numbers_keep_their_digits():
    """Numbers, exponents and texts in numeric places come out as they stand in the frame."""
    talking = talk(book_levels="source")
    talking.subscribe(BOOK)
    raw = (
        b'{"sequence":2,"recipient":"orderbook.sfox.btcusd","payload":{"bids":[[0.10000000000000000001,1e-08,"a"],'
        b'[0.0354590,"1e-08","b"]],"asks":[[9420.50,12345678901234567890123,"c"]],"pair":"btcusd"}}'
    )
    (snapshot,) = messages(talking.say(raw), Snapshot)
    assert list(snapshot.bids) == [("0.10000000000000000001", "1e-08", "a"), ("0.0354590", "1e-08", "b")]
    assert list(snapshot.asks) == [("9420.50", "12345678901234567890123", "c")]


@pytest.mark.parametrize(
    ("stamps", "wanted"),
    [
        ({"lastpublished": 1572925018452, "lastupdated": 1572925018406}, 1572925018452000000),
        ({"lastPublished": 1572925018452, "lastupdated": 1572925018406}, 1572925018452000000),
        ({"last_published": 1572925018452}, 1572925018452000000),
        ({"lastupdated": 1572925018406}, 1572925018406000000),
        ({}, 1572925018490611435),
    ],
)
def test_a_books_time_is_the_best_there_is(stamps, wanted):
    """Published, else updated, else the envelope's time: the unit is told by its size."""
    talking = talk()
    talking.subscribe(BOOK)
    frame = {**book_frame(2, [], [], **stamps), "timestamp": 1572925018490611435}
    (snapshot,) = messages(talking.say(frame), Snapshot)
    assert snapshot.ts_venue == wanted


def test_older_books_never_overwrite_newer_ones():
    """A book published before the one that is held is dropped, whatever its sequence."""
    feed = Feed(VENUE, SfoxOptions(), epoch="e")
    (book,) = [Subscription("sfox", *BOOK)]
    feed.subscribe([book], START_NS)
    feed.opened(START_NS, 0.0)

    def take(sequence: int, price: float, stamp: int) -> None:
        frame = book_frame(sequence, [[price, 1, "a"]], [], lastpublished=stamp)
        feed.receive(json.dumps(frame, separators=(",", ":")).encode(), START_NS)

    take(2, 100.5, 1572925018452)
    take(3, 99.5, 1572925018400)
    assert feed.trackers[book].book.bids.top() == [("100.5", "1")]
    take(4, 98.5, 1572925018460)
    assert feed.trackers[book].book.bids.top() == [("98.5", "1")]


@pytest.mark.parametrize(
    ("quantity", "is_decimal", "scaled", "size", "suspect"),
    [
        ("390419", None, False, "390419", True),
        ("390419", False, False, "390419", True),
        ("390419", None, True, "0.00390419", False),
        ("100000000", False, True, "1", False),
        ("150000000", False, True, "1.5", False),
        ("390419", True, True, "390419", False),
        ("0.005", None, True, "0.005", False),
        ("0.005", None, False, "0.005", False),
    ],
)
def test_integer_quantities_are_flagged_or_scaled(quantity, is_decimal, scaled, size, suspect):
    """An integer without `is_decimal` is base units only where a person says so; else it is flagged."""
    talking = talk(integer_base_units=scaled)
    talking.subscribe(TRADE)
    (trade,) = messages(talking.say(trade_frame(2, quantity=quantity, is_decimal=is_decimal)), Trade)
    assert (trade.size, trade.suspect_units) == (size, suspect)


def test_trade_ids_are_those_of_an_exchange():
    """The same id from another exchange is another trade; the same from the same is a repetition."""
    talking = talk()
    talking.subscribe(TRADE)
    found = [kinds(talking.say(trade_frame(n, exchange=name)))[-1] for n, name in enumerate(["a", "b", "a"], 2)]
    assert found == ["Trade", "Trade", "Note"]


def test_trades_without_ids_are_never_repetitions():
    """Where the venue names no id, equal trades are different trades."""
    talking = talk()
    talking.subscribe(TRADE)
    assert [kinds(talking.say(trade_frame(n, id=None)))[-1] for n in (2, 3)] == ["Trade", "Trade"]


def test_the_memory_of_trades_is_bounded():
    """Old ids are forgotten one by one."""
    talking = talk()
    talking.subscribe(TRADE)
    for number in range(4100):
        talking.say(trade_frame(number, id=str(number)))
    assert kinds(talking.say(trade_frame(4100, id="0"))) == ["Trade"]
    assert kinds(talking.say(trade_frame(4101, id="4000"))) == ["Note"]


def test_an_older_ticker_is_dropped():
    """Tickers never go back in time."""
    talking = talk()
    talking.subscribe(TICKER)

    def ticker(sequence: int, stamp: str) -> list[str]:
        frame = {"sequence": sequence, "recipient": "ticker.sfox.ethusd", "payload": {"last": 1.50, "timestamp": stamp}}
        return kinds(talking.say(frame))

    assert ticker(2, "2018-08-16T18:22:05.909Z") == ["Ticker"]
    assert ticker(3, "2018-08-16T18:22:04.909Z") == ["Note"]
    assert ticker(4, "2018-08-16T18:22:05.909Z") == ["Ticker"]


def test_without_a_time_of_its_own_a_ticker_has_the_envelopes():
    """The envelope's time is the fallback, and none is none."""
    talking = talk()
    talking.subscribe(TICKER)
    frame = {"sequence": 2, "recipient": "ticker.sfox.ethusd", "timestamp": 1534443725944639261, "payload": {"last": 1}}
    (ticker,) = messages(talking.say(frame), Ticker)
    assert (ticker.ts_venue, ticker.last, ticker.high) == (1534443725944639261, "1", None)
    (ticker,) = messages(talking.say({**frame, "sequence": 3, "timestamp": None}), Ticker)
    assert ticker.ts_venue is None


def test_a_pair_that_is_not_the_recipients_is_refused():
    """`btcusd` is a prefix of `btcusdc`: frames go by their exact recipient, and must agree with it."""
    talking = talk()
    talking.subscribe(BOOK)
    with pytest.raises(FrameError) as caught:
        talking.say(book_frame(2, [], [], pair="btcusdc"))
    assert caught.value.reason == "pair_mismatch"
    frame = {**book_frame(2, [], [], pair="btcusdc"), "recipient": "orderbook.sfox.btcusdc"}
    assert talking.say(frame) == [(None, Note("unwanted"))]


@pytest.mark.parametrize("payload", [7, [], "x", {"bids": 7}, {"bids": [[1, 1]], "asks": [["a"]]}, {"price": []}, {}])
def test_payloads_of_another_shape_are_refused(payload):
    """A payload that is no book, trade or ticker is a FrameError, not a half-taken frame."""
    feed = Feed(VENUE, SfoxOptions(), epoch="e")
    wanted = [Subscription("sfox", *row) for row in (BOOK, TRADE)]
    feed.subscribe(wanted, START_NS)
    feed.opened(START_NS, 0.0)
    for recipient in ("orderbook.sfox.btcusd", "trades.sfox.btcusd"):
        frame = {"sequence": 2, "recipient": recipient, "payload": payload}
        assert feed.receive(json.dumps(frame).encode(), START_NS) == []
    assert feed.rejected.total() == 2


# Symbols


def test_the_table_names_the_pairs():
    """The formatted symbol names a pair; the older form without base and quote is read as well."""
    body = b"""{"btcusd":{"formatted_symbol":"BTC/USD","symbol":"btcusd","base":"btc","quote":"usd"},
        "ethbtc":{"formatted_symbol":"ETH/BTC","symbol":"ethbtc"},"btcusdc":{"symbol":"btcusdc"},
        "xyz":{"base":"x","quote":"yz"}}"""
    named = {one.wire_symbol: one.symbol for one in VENUE.parse_symbols(body)}
    assert named == {"btcusd": "BTC-USD", "ethbtc": "ETH-BTC", "btcusdc": "BTC-USDC", "xyz": "X-YZ"}


@pytest.mark.parametrize(
    ("wire_symbol", "symbol"),
    [("btcusd", "BTC-USD"), ("btcusdc", "BTC-USDC"), ("btcusdt", "BTC-USDT"), ("ethbtc", "ETH-BTC"), ("abc", "abc")],
)
def test_without_a_table_the_longest_quote_decides(wire_symbol, symbol):
    """A pair is split by the longest known quote, never by length; and a name gives its pair back."""
    assert VENUE.guess_wire(wire_symbol).symbol == symbol
    if "-" in symbol:
        assert VENUE.guess(symbol).wire_symbol == wire_symbol


@pytest.mark.parametrize("body", [b"", b"[]", b'{"btcusd":7}', b"\xff"])
def test_what_is_no_table_is_refused(body):
    """A body that is no symbol table is a FrameError."""
    with pytest.raises(FrameError):
        VENUE.parse_symbols(body)


def test_rest_needs_the_key():
    """Symbols are asked for with the key as bearer, or without any header."""
    assert VENUE.rest_headers(KEY) == {"Authorization": "Bearer f00d"}
    assert VENUE.rest_headers(None) == VENUE.rest_headers(Credentials()) == {}


def test_the_budget_stays_within_forty_a_minute():
    """Burst and refill together never exceed 40 requests in any minute, and all kinds share them."""
    limit = VENUE.command_limit
    assert limit.capacity + 60 * limit.per_second <= 40
    assert VENUE.shared_budget
    assert VENUE.connections_max == 10
    assert VENUE.rule(VENUE.Options()) is monotonic


def test_topics_name_what_a_frame_is_about():
    """Of a frame alone, its pair and channel are known; answers and nonsense are about nothing."""
    assert VENUE.topics(json.dumps(book_frame(1, [], [])).encode()) == (("btcusd", "book"),)
    assert VENUE.topics(b'{"recipient":"orderbook.net.btcusdc","payload":7}') == (("btcusdc", "book_net"),)
    for frame in (b'{"type":"success"}', b'{"recipient":"private.user.balances"}', b"{", b"7"):
        assert VENUE.topics(frame) == ()


def test_a_session_without_options_has_the_defaults():
    """Authenticated is what a bare success means when a key was sent."""
    talking = Conversation(VENUE.session(VENUE.Options(), KEY))
    assert talking.say(SUCCESS) == [(None, Authenticated())]


REST_BOOK = b"""{"asks":[[8155.1,0.3881078,"gemini"],[8155.1,0.5,"itbit"],[8155.4,0.42019816,"gemini"]],
 "bids":[[8169.99,0.00196,"gemini"],[8169,0.0921289,"bitfinex"],[8169.0,0.1,"itbit"]],
 "currency":"usd","exchanges":{"gemini":"OK"},"lastupdated":1532994078139,"pair":"btcusd"}"""


def test_the_rest_book_is_a_second_look_at_raw_prices():
    """The document's sample, with two sources at one price: added up as the book of the socket is."""
    fetch = VENUE.book_fetch(Subscription("sfox", "BTC-USD", "btcusd", "book"), SfoxOptions())
    assert fetch is not None
    assert (fetch.purpose, fetch.path, fetch.optional) == ("book", "/markets/orderbook/btcusd", True)
    assert VENUE.book_fetch(Subscription("sfox", "BTC-USD", "btcusd", "book_net"), SfoxOptions()) is None
    book = VENUE.parse_book(SfoxOptions(), REST_BOOK)
    assert book.sequence is None
    assert book.ts_venue == 1532994078139 * 10**6
    assert book.asks == [("8155.1", "0.8881078"), ("8155.4", "0.42019816")]
    assert book.bids == [("8169.99", "0.00196"), ("8169", "0.1921289")]
    for body in (b"", b"{}", b"[]", b'{"asks":[[1]],"bids":[]}', b'{"asks":[[1,"x"]],"bids":[]}'):
        with pytest.raises(FrameError):
            VENUE.parse_book(SfoxOptions(), body)

"""Sunflower: logins, answers by id, refusals, symbols."""

from __future__ import annotations

import json

import pytest

from book.delta import Snapshot
from book.errors import FrameError
from book.events import Ticker, Trade
from feeds.feed import Feed
from feeds.session import Acknowledged, Authenticated, Credentials, Note, Refused, Rejected, Subscription, Throttled
from feeds.venue import Span
from feeds.venues.sunflower import Sunflower, SunflowerOptions, sign_hs256
from tests.feeds.venues.conversation import START_NS, Conversation, kinds, messages

VENUE = Sunflower()
BOOK = ("ETH-BTC", "ETHBTC", "book")


def talk(credentials: Credentials | None = None) -> Conversation:
    return Conversation(VENUE.session(SunflowerOptions(), credentials))


def error(request_id: int | None, code: int, message: str = "no", description: str = "") -> dict[str, object]:
    body = {"code": code, "message": message, "description": description}
    return {"jsonrpc": "2.0", "error": body, "id": request_id}


def update(sequence: int, method: str = "updateOrderbook", **params) -> dict[str, object]:
    body = {"ask": [], "bid": [{"price": "1.0", "size": "2"}], "symbol": "ETHBTC", "sequence": sequence}
    return {"jsonrpc": "2.0", "method": method, "params": {**body, **params}}


# Login


def test_the_documents_signature():
    """HS256 is the hex HMAC-SHA256 of the nonce, as in the document's own example."""
    signature = "b1c0ae399c2d341866a214f7d3ed755b821c1c36fc6f17083ef05fbb55b7f986"
    assert sign_hs256("2deb570ab58fd553a4ed3ee249fd2d51", "N1g287gL8YOwDZr") == signature


@pytest.mark.parametrize(
    ("algorithm", "params"),
    [
        ("", {"algo": "HS256", "pKey": "k", "nonce": str(START_NS), "signature": sign_hs256("s", str(START_NS))}),
        ("HS256", {"algo": "HS256", "pKey": "k", "nonce": str(START_NS), "signature": sign_hs256("s", str(START_NS))}),
        ("BASIC", {"algo": "BASIC", "pKey": "k", "sKey": "s"}),
        ("BEARER", {"algo": "BEARER", "pKey": "k", "jwt": "s"}),
    ],
)
def test_three_ways_to_log_in(algorithm, params):
    """Each login goes out first and secret, and holds the subscriptions back until its answer."""
    talking = talk(Credentials("k", "s", algorithm))
    (book,) = talking.subscribe(BOOK)
    assert talking.heard() == [{"method": "login", "params": params, "id": 1}]
    assert talking.sends[0].secret
    assert talking.say({"jsonrpc": "2.0", "result": True, "id": 1}) == [(None, Authenticated())]
    (command,) = talking.heard()
    assert command == {"method": "subscribeOrderbook", "params": {"symbol": "ETHBTC"}, "id": 2}
    assert not talking.sends[1].secret
    assert talking.say({"jsonrpc": "2.0", "result": True, "id": 2}) == [(book, Acknowledged())]


def test_a_refused_login_is_fatal():
    """A wrong key is not tried again."""
    talking = talk(Credentials("k", "s"))
    assert talking.say(error(1, 1002, "Authorization failed")) == [(None, Rejected("1002", "Authorization failed"))]


def test_a_login_never_answered_does_not_hold_back():
    """Market data needs no login."""
    talking = talk(Credentials("k", "s"))
    talking.subscribe(BOOK)
    talking.heard()
    talking.session.ready_timeout()
    assert [command["method"] for command in talking.heard()] == ["subscribeOrderbook"]
    talking.session.ready_timeout()
    assert talking.heard() == []


# Commands and answers


def test_every_channel_has_its_command():
    """One request a subscription, with what the document wants in it."""
    talking = talk()
    subscriptions = talking.subscribe(
        BOOK, ("ETH-BTC", "ETHBTC", "trade"), ("ETH-BTC", "ETHBTC", "ticker"), ("ETH-BTC", "ETHBTC", "candle:M30")
    )
    assert talking.heard() == [
        {"method": "subscribeOrderbook", "params": {"symbol": "ETHBTC"}, "id": 1},
        {"method": "subscribeTrades", "params": {"symbol": "ETHBTC", "limit": 100}, "id": 2},
        {"method": "subscribeTicker", "params": {"symbol": "ETHBTC"}, "id": 3},
        {"method": "subscribeCandles", "params": {"symbol": "ETHBTC", "period": "M30", "limit": 100}, "id": 4},
    ]
    talking.session.unsubscribe(subscriptions)
    assert [(command["method"], command["params"]) for command in talking.heard()] == [
        ("unsubscribeOrderbook", {"symbol": "ETHBTC"}),
        ("unsubscribeTrades", {"symbol": "ETHBTC"}),
        ("unsubscribeTicker", {"symbol": "ETHBTC"}),
        ("unsubscribeCandles", {"symbol": "ETHBTC", "period": "M30"}),
    ]
    assert talking.say(update(7)) == [(None, Note("unwanted"))]


def test_answers_go_by_id():
    """Answers may come in any order; one to an unknown id is nobody's."""
    talking = talk()
    first, second = talking.subscribe(BOOK, ("ETH-BTC", "ETHBTC", "trade"))
    assert talking.say({"jsonrpc": "2.0", "result": True, "id": 2}) == [(second, Acknowledged())]
    assert talking.say({"jsonrpc": "2.0", "result": True, "id": 1}) == [(first, Acknowledged())]
    assert talking.say({"jsonrpc": "2.0", "result": True, "id": 1}) == []
    assert talking.say({"jsonrpc": "2.0", "result": True, "id": "HITBTC.ws.1"}) == []


@pytest.mark.parametrize(
    ("code", "temporary"), [(2001, False), (10001, False), (2002, False), (500, True), (503, True), (20010, True)]
)
def test_refusals(code, temporary):
    """An unknown symbol is refused for good, a venue in trouble or a closed market for a while."""
    talking = talk()
    (book,) = talking.subscribe(BOOK)
    said = error(1, code, "Symbol not found", "Try get /api/2/public/symbol")
    reason = "Symbol not found (Try get /api/2/public/symbol)"
    assert talking.say(said) == [(book, Refused(str(code), reason, temporary))]


def test_too_many_requests_hold_back():
    """Code 429 pauses all commands; the refused one may come again."""
    talking = talk()
    talking.subscribe(BOOK)
    assert kinds(talking.say(error(1, 429))) == ["Throttled", "Refused"]
    assert messages(talking.say(error(9, 429)), Throttled)[0].seconds > 0
    assert talking.say(error(None, 500)) == [(None, Note("request_refused"))]


def test_a_subscription_that_needs_a_login_stops_the_feed():
    """Codes of authorization concern the whole connection."""
    talking = talk()
    talking.subscribe(BOOK)
    assert talking.say(error(1, 1001, "Authorization required")) == [(None, Rejected("1001", "Authorization required"))]


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ({"jsonrpc": "2.0", "method": "party", "params": {}}, "unknown_method"),
        ({"jsonrpc": "2.0", "method": "updateOrderbook", "params": {}}, "malformed"),
        ({"jsonrpc": "2.0"}, "malformed"),
        (update(7, bid=[{"price": "1.0"}]), "malformed"),
        (update(7, timestamp="yesterday"), "bad_time"),
    ],
)
def test_frames_that_mean_nothing_are_refused(frame, reason):
    """Unknown methods and wrong shapes are FrameErrors, each under its word."""
    talking = talk()
    talking.subscribe(BOOK)
    with pytest.raises(FrameError) as caught:
        talking.say(frame)
    assert caught.value.reason == reason


# Data


def test_a_jump_is_a_gap_only_where_sequences_are_contiguous():
    """The document's own example jumps by three: `monotonic` takes it, the default calls it a gap."""
    for options, state in ((SunflowerOptions(), "gap"), (SunflowerOptions(sequence="monotonic"), "live")):
        feed = Feed(VENUE, options, epoch="e")
        book = Subscription("sunflower", *BOOK)
        feed.subscribe([book], START_NS)
        feed.opened(START_NS, 0.0)
        for frame in (update(8073827, "snapshotOrderbook"), update(8073830)):
            feed.receive(json.dumps(frame).encode(), START_NS)
        assert feed.trackers[book].state == state


@pytest.mark.parametrize("channel", ["trade", "ticker", "candle:M1"])
def test_numbers_that_are_none_are_refused(channel):
    """No event carries a text that is no number."""
    talking = talk()
    talking.subscribe(("ETH-BTC", "ETHBTC", channel))
    stamp = "2017-10-19T16:34:25.041Z"
    rows: dict[str, tuple[str, dict[str, object]]] = {
        "trade": (
            "updateTrades",
            {"data": [{"id": 1, "price": "x", "quantity": "1", "side": "buy", "timestamp": stamp}]},
        ),
        "ticker": ("ticker", {"volumeQuote": "NaN", "timestamp": stamp}),
        "candle:M1": (
            "updateCandles",
            {
                "period": "M1",
                "data": [
                    {
                        "timestamp": stamp,
                        **dict.fromkeys(("open", "close", "min", "max", "volume"), "1"),
                        "volumeQuote": "",
                    }
                ],
            },
        ),
    }
    method, params = rows[channel]
    with pytest.raises(FrameError):
        talking.say({"method": method, "params": {"symbol": "ETHBTC", **params}})


@pytest.mark.parametrize("name", ["last", "open", "high", "low", "volume", "volumeQuote", "bid", "ask"])
@pytest.mark.parametrize("known", ["1.5", None])
def test_a_later_ticker_is_looked_at_as_the_first(name, known):
    """Whatever the ticker before said, no number that is none passes, not even the second time."""
    talking = talk()
    talking.subscribe(("ETH-BTC", "ETHBTC", "ticker"))

    def say(text: str | None) -> list[Ticker]:
        params = {"symbol": "ETHBTC", "timestamp": "2017-10-19T16:34:25.041Z", "vwap": "x", "high": "2", name: text}
        return messages(talking.say({"method": "ticker", "params": params}), Ticker)

    (first,) = say(known)
    for _ in range(2):
        with pytest.raises(FrameError):
            say("1.5.0")
    assert say(known) == [first]


def test_history_is_marked():
    """Trades from before the subscription are backfilled; those after it are not."""
    talking = talk()
    talking.subscribe(("ETH-BTC", "ETHBTC", "trade"))
    row = {
        "id": 54469456,
        "price": "0.054656",
        "quantity": "0.057",
        "side": "buy",
        "timestamp": "2017-10-19T16:33:42.821Z",
    }
    for method, marked in (("snapshotTrades", True), ("updateTrades", False)):
        (trade,) = messages(talking.say({"method": method, "params": {"data": [row], "symbol": "ETHBTC"}}), Trade)
        assert trade.backfilled == marked


def test_frames_of_other_symbols_are_unwanted():
    """What nobody asked for is counted, for every kind of frame."""
    talking = talk()
    stamp = {"timestamp": "2017-10-19T16:33:42.821Z", "symbol": "LTCBTC"}
    for method, params in (
        ("ticker", stamp),
        ("updateTrades", {"symbol": "LTCBTC", "data": []}),
        ("updateCandles", {"symbol": "LTCBTC", "period": "M1", "data": []}),
        ("snapshotOrderbook", {"symbol": "LTCBTC", "ask": [], "bid": [], "sequence": 1}),
    ):
        assert talking.say({"method": method, "params": params}) == [(None, Note("unwanted"))]


# Symbols


def test_the_table_decides_over_the_spelling():
    """Eleven ids of the family are not base + quote: the table names them."""
    body = (
        b'[{"id":"XRPUSDT","baseCurrency":"XRP","quoteCurrency":"USD","quantityIncrement":"0.1","tickSize":"0.0001"},'
        b'{"id":"ETHBTC","baseCurrency":"ETH","quoteCurrency":"BTC"}]'
    )
    table = [(one.wire_symbol, one.symbol, one.tick_size, one.size_increment) for one in VENUE.parse_symbols(body)]
    assert table == [("XRPUSDT", "XRP-USD", "0.0001", "0.1"), ("ETHBTC", "ETH-BTC", None, None)]


@pytest.mark.parametrize("body", [b"", b"{}", b'[{"id":7}]', b'[{"id":"\xff"}]'])
def test_what_is_no_table_is_refused(body):
    """A body that is no symbol table is a FrameError."""
    with pytest.raises(FrameError):
        VENUE.parse_symbols(body)


@pytest.mark.parametrize(("wire_symbol", "symbol"), [("ETHBTC", "ETH-BTC"), ("BTCUSDT", "BTC-USDT"), ("ABC", "ABC")])
def test_without_a_table_the_longest_quote_decides(wire_symbol, symbol):
    """An id is split by the longest known quote, and a name gives its id back."""
    assert VENUE.guess_wire(wire_symbol).symbol == symbol
    if "-" in symbol:
        assert VENUE.guess(symbol).wire_symbol == wire_symbol


# REST


def test_past_trades_go_by_id():
    """Trades are asked for from an id on, oldest first, and keep their ids."""
    trade = Subscription("sunflower", "ETH-BTC", "ETHBTC", "trade")
    fetch = VENUE.trades_fetch(trade, Span(from_id=54469698))
    assert fetch is not None
    assert fetch.path.endswith("/public/trades/ETHBTC")
    assert (fetch.query["by"], fetch.query["sort"], fetch.query["from"]) == ("id", "ASC", "54469698")
    body = (
        b'[{"id":9533116,"price":"0.046002","quantity":"0.022","side":"buy","timestamp":"2017-04-14T11:56:37.027Z"},'
        b'{"id":9533117,"price":"0.046001","quantity":"0.220","side":"sell","timestamp":"2017-04-14T12:18:40.426Z"}]'
    )
    trades = VENUE.parse_trades(trade, body, 5)
    assert [(one.id, one.side, one.price, one.size) for one in trades] == [
        ("9533116", "buy", "0.046002", "0.022"),
        ("9533117", "sell", "0.046001", "0.220"),
    ]


def test_the_second_book_is_whole_and_without_a_sequence():
    """The full book over REST, with a time of nine decimals."""
    book = Subscription("sunflower", *BOOK)
    fetch = VENUE.book_fetch(book, SunflowerOptions())
    assert fetch is not None
    assert (fetch.path, fetch.query) == ("/public/orderbook/ETHBTC", {"limit": "0"})
    body = (
        b'{"ask":[{"price":"9779.68","size":"2.497"}],"bid":[{"price":"9779.67","size":"0.03719"}],'
        b'"timestamp":"2020-02-11T11:30:38.597950917Z","askAveragePrice":"9779.68"}'
    )
    found = VENUE.parse_book(SunflowerOptions(), body)
    assert found == Snapshot(None, [("9779.67", "0.03719")], [("9779.68", "2.497")], 1581420638597950917)


@pytest.mark.parametrize("body", [b"", b'{"error":{"code":20001}}', b'[{"id":7}]', b'"\xff"', b"[" * 100_000])
def test_errors_of_rest_are_refused(body):
    """An error of the venue's REST side is neither trades nor a book."""
    with pytest.raises(FrameError):
        VENUE.parse_trades(Subscription("sunflower", "ETH-BTC", "ETHBTC", "trade"), body, 0)
    with pytest.raises(FrameError):
        VENUE.parse_book(SunflowerOptions(), body)


def test_topics_name_what_a_frame_is_about():
    """Of a frame alone, its symbol and channel are known; answers and nonsense are about nothing."""
    assert VENUE.topics(json.dumps(update(7)).encode()) == (("ETHBTC", "book"),)
    candles = {"method": "updateCandles", "params": {"symbol": "ETHBTC", "period": "M30", "data": []}}
    assert VENUE.topics(json.dumps(candles).encode()) == (("ETHBTC", "candle:M30"),)
    assert VENUE.topics(b'{"method":"ticker","params":{"symbol":"ETHBTC"}}') == (("ETHBTC", "ticker"),)
    for frame in (b'{"id":1,"result":true}', b'{"method":"party","params":{"symbol":"X"}}', b"{", b'{"method":"\xff"}'):
        assert VENUE.topics(frame) == ()

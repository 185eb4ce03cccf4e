"""
What OX.FUN's frames look like, and which event a row of a table is.

The conversation itself (greeting, login, commands, continuity) is in `feeds.venues.oxfun`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, Literal

import msgspec

from book.delta import Level
from book.errors import FrameError
from book.events import Candle, Event, Liquidation, Ticker, Trade, VenueQuote
from book.events import Instrument as InstrumentNotice
from book.number import is_zero
from feeds.json_number import number_text, optional_number_text
from feeds.session import Subscription
from feeds.timestamp import from_milliseconds

PERIODS: Final = tuple(f"{seconds}s" for seconds in (60, 180, 300, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400))
_NS_A_SECOND: Final = 1_000_000_000
_NUMBERS_A_CANDLE: Final = 7

# What the wire looks like


class Frame(msgspec.Struct, gc=False):
    """The outside of every frame: `table` and `data`, or `event` and what it says."""

    table: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"[]")
    event: str | None = None
    success: bool | None = None
    tag: str | int | None = None
    channel: Any = None
    message: Any = None
    code: str | int | None = None


class Book(msgspec.Struct, gc=False, rename="camel"):
    """A whole book or a diff: `depthUpdate`, `depthUpdate-diff`, `depth`, `depthL5` and so on."""

    seq_num: int
    asks: msgspec.Raw
    bids: msgspec.Raw
    market_code: str = ""
    instrument_id: str = ""
    """What older software of this family called the market code."""
    checksum: int | None = None
    timestamp: str | int | None = None


class BookFrame(msgspec.Struct, gc=False):
    """A frame that carries books, read in one pass: a whole book is eight thousand characters, ten times a second."""

    table: str
    data: Book | list[Book]


class _BestBidAsk(msgspec.Struct, gc=False, rename="camel"):
    market_code: str
    ask: Any = None
    bid: Any = None
    timestamp: str | int | None = None


class _Trade(msgspec.Struct, gc=False, rename="camel"):
    market_code: str
    price: Any
    quantity: Any
    side: str = ""
    trade_id: str | int | None = None
    match_type: str | None = None
    timestamp: str | int | None = None


class _Ticker(msgspec.Struct, gc=False, rename="camel"):
    market_code: str
    timestamp: str | int | None = None
    last: Any = None
    open24h: Any = None
    high24h: Any = None
    low24h: Any = None
    volume24h: Any = None
    currency_volume24h: Any = msgspec.field(default=None, name="currencyVolume24h")
    open_interest: Any = None
    last_qty: Any = None
    mark_price: Any = None
    index_price: Any = None


class _Candle(msgspec.Struct, gc=False, rename="camel"):
    market_code: str
    candle: list[Any]


class _Liquidation(msgspec.Struct, gc=False, rename="camel"):
    market_code: str
    timestamp: str | int | None = None


class Market(msgspec.Struct, gc=False, rename="camel"):
    """A row of the channel `market`, of `/v3/markets` (minSize) or of `/v3/tickers` (hardly anything)."""

    market_code: str
    base: str | None = None
    counter: str | None = None
    type: str | None = None
    tick_size: Any = None
    qty_increment: Any = None
    min_size: Any = None
    market_price: Any = None
    upper_price_bound: Any = None
    lower_price_bound: Any = None
    market_price_last_updated: str | int | None = None


class Markets(msgspec.Struct, gc=False):
    """The REST answer that holds the symbol table."""

    data: list[Market]


class _PastTrade(msgspec.Struct, gc=False, rename="camel"):
    market_code: str
    match_price: Any
    match_quantity: Any
    side: str = ""
    match_type: str | None = None
    matched_at: str | int | None = None


class _PastTrades(msgspec.Struct, gc=False):
    data: list[_PastTrade]


class _RestDepth(msgspec.Struct, gc=False, rename="camel"):
    asks: msgspec.Raw
    bids: msgspec.Raw
    last_updated_at: str | int | None = None


class _RestBook(msgspec.Struct, gc=False):
    data: _RestDepth


class _Topic(msgspec.Struct, gc=False, rename="camel"):
    market_code: str = ""
    instrument_id: str = ""


def _one_or_many(kind: Any) -> Callable[[msgspec.Raw], Any]:  # noqa: ANN401 (a type)
    """Return a decoder: `data` is a list in some tables and versions, and an object in others."""
    # JSON numbers keep their digits: floats arrive as text, integers exactly.
    return msgspec.json.Decoder(kind | list[kind], float_hook=str).decode


decode_frame = msgspec.json.Decoder(Frame, float_hook=str).decode
decode_books = _one_or_many(Book)
decode_book_frame = msgspec.json.Decoder(BookFrame).decode
_ASKS: Final = b'"asks":[['
_BIDS: Final = b',"bids":[['
_SIDES_END: Final = b"]]"
_LONG: Final = 1024


def read_book_frame(frame: bytes) -> BookFrame:
    """
    Return what a frame with books says.

    The sides of a long one are cut out before the rest is decoded: that costs a third, and they are
    compared as texts in any case. A frame in any other order or form is decoded as a whole.

    Raises:
        msgspec.MsgspecError, UnicodeDecodeError, RecursionError: it is no such frame.

    """
    if len(frame) > _LONG:
        asks_start = frame.find(_ASKS, 0, _LONG) + len(_ASKS) - 2
        # Digits and brackets up to the next quotation mark, which begins the next name.
        asks_end = frame.find(b'"', asks_start) - 1
        bids_start = asks_end + len(_BIDS) - 2
        bids_end = frame.rfind(_SIDES_END, bids_start) + 2
        # With a quotation mark in it, a side may be longer or shorter than it seems.
        if frame.startswith(_BIDS, asks_end) and bids_end > bids_start and frame.find(b'"', bids_start, bids_end) < 0:
            asks, bids = frame[asks_start:asks_end], frame[bids_start:bids_end]
            known = decode_book_frame(frame[:asks_start] + b'1,"bids":2' + frame[bids_end:])
            book = known.data
            if type(book) is Book and (bytes(book.asks), bytes(book.bids)) == (b"1", b"2"):
                book.asks, book.bids = msgspec.Raw(asks), msgspec.Raw(bids)
                return known
    return decode_book_frame(frame)


decode_topics = _one_or_many(_Topic)
decode_past_trades = msgspec.json.Decoder(_PastTrades, float_hook=str).decode
decode_rest_book = msgspec.json.Decoder(_RestBook).decode
decode_markets = msgspec.json.Decoder(Markets, float_hook=str).decode


# What it means: a row of a table and the event it is


def _common(
    subscription: Subscription, ts_recv: int, stamp: str | int | None
) -> tuple[str, str, str, str, int, int, int | None]:
    return ("oxfun", subscription.symbol, subscription.stream, "", 0, ts_recv, time_of(stamp))


def _trade(row: _Trade, subscription: Subscription, ts_recv: int) -> Event:
    return Trade(
        *_common(subscription, ts_recv, row.timestamp),
        None if row.trade_id is None else str(row.trade_id),
        _SIDES.get(row.side.lower()),
        number_text(row.price),
        number_text(row.quantity),
        match_type=row.match_type,
    )


def past_trade(row: _PastTrade, subscription: Subscription, ts_recv: int) -> Trade:
    """Return a trade fetched afterwards; the venue keeps no ids of them."""
    return Trade(
        *_common(subscription, ts_recv, row.matched_at),
        None,
        _SIDES.get(row.side.lower()),
        number_text(row.match_price),
        number_text(row.match_quantity),
        match_type=row.match_type,
        backfilled=True,
    )


def _ticker(row: _Ticker, subscription: Subscription, ts_recv: int) -> Event:
    return Ticker(
        *_common(subscription, ts_recv, row.timestamp),
        last=_traded(row.last),
        open=optional_number_text(row.open24h),
        high=optional_number_text(row.high24h),
        low=optional_number_text(row.low24h),
        volume=optional_number_text(row.currency_volume24h),
        quote_volume=optional_number_text(row.volume24h),
        last_size=_traded(row.last_qty),
        mark_price=optional_number_text(row.mark_price),
        index_price=optional_number_text(row.index_price),
        open_interest=optional_number_text(row.open_interest),
    )


def _best_bid_ask(row: _BestBidAsk, subscription: Subscription, ts_recv: int) -> Event:
    return VenueQuote(*_common(subscription, ts_recv, row.timestamp), _best(row.bid), _best(row.ask))


def _candle(row: _Candle, subscription: Subscription, ts_recv: int) -> Event:
    if len(row.candle) < _NUMBERS_A_CANDLE:
        msg = f"not a candle: {row.candle!r}"
        raise FrameError(msg)
    stamp, opened, high, low, close, quote_volume, volume = row.candle[:_NUMBERS_A_CANDLE]
    # The documented sample is not aligned to its bar: it may be the time of sending.
    length = int(subscription.period.removesuffix("s")) * _NS_A_SECOND
    return Candle(
        *_common(subscription, ts_recv, None),
        subscription.period,
        from_milliseconds(number_text(stamp)) // length * length,
        number_text(opened),
        number_text(high),
        number_text(low),
        number_text(close),
        number_text(volume),
        number_text(quote_volume),
    )


def _liquidation(row: _Liquidation, subscription: Subscription, ts_recv: int) -> Event:
    return Liquidation(*_common(subscription, ts_recv, row.timestamp))


def _market(row: Market, subscription: Subscription, ts_recv: int) -> Event:
    return InstrumentNotice(
        *_common(subscription, ts_recv, row.market_price_last_updated),
        row.base,
        row.counter,
        kind_of(row.market_code, row.type),
        optional_number_text(row.tick_size),
        optional_number_text(row.qty_increment),
        optional_number_text(row.market_price),
        optional_number_text(row.upper_price_bound),
        optional_number_text(row.lower_price_bound),
    )


class Meaning(msgspec.Struct, frozen=True):
    """What a table is: the channel it belongs to, how its rows are read, what they mean."""

    channel: str
    decode: Callable[[msgspec.Raw], Any]
    event: Callable[[Any, Subscription, int], Event]


_decode_candles = _one_or_many(_Candle)
MEANINGS: Final[dict[str, Meaning]] = {
    "trade": Meaning("trade", _one_or_many(_Trade), _trade),
    "ticker": Meaning("ticker", _one_or_many(_Ticker), _ticker),
    "bestBidAsk": Meaning("venue_quote", _one_or_many(_BestBidAsk), _best_bid_ask),
    "liquidationRFQ": Meaning("liquidation", _one_or_many(_Liquidation), _liquidation),
    "market": Meaning("market", _one_or_many(Market), _market),
    # The table prints both `candles60s` and `candle60s`.
    **{
        f"{word}{period}": Meaning(f"candle:{period}", _decode_candles, _candle)
        for period in PERIODS
        for word in ("candles", "candle")
    },
}
_SIDES: Final[dict[str, Literal["buy", "sell"]]] = {"buy": "buy", "sell": "sell"}


def rows_of(value: Any) -> Iterable[Any]:  # noqa: ANN401 (one wire struct or a list of them)
    """Return the rows of a table, however many."""
    return value if isinstance(value, list) else (value,)


def time_of(value: str | int | None) -> int | None:
    """Return the nanoseconds of a stamp, if there is one."""
    return None if value is None else from_milliseconds(value)


def _traded(value: object) -> str | None:
    """Return the price or size of the last trade; `0` says that there was none."""
    text = optional_number_text(value)
    return None if text is None or is_zero(text) else text


def _best(side: object) -> Level | None:
    """Return the best level of a side; an empty one may come as the text `[]`."""
    if side is None or side in ("[]", []):
        return None
    if not isinstance(side, list) or len(side) < 2:  # noqa: PLR2004 (price and size)
        msg = f"not a level: {str(side)[:40]!r}"
        raise FrameError(msg)
    return (number_text(side[0]), number_text(side[1]))


def kind_of(market_code: str, kind: str | None) -> str | None:
    """Return what is traded: `spot`, `perpetual`, or what the venue says in lower case."""
    for part, name in (("-SWAP-", "perpetual"), ("-REPO-", "repo"), ("-SPR-", "spread")):
        if part in market_code:
            return name
    return None if kind is None else kind.lower()

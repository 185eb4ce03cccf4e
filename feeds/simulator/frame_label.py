"""What kind of frame a simulated venue has sent, and of which symbol, told without decoding all of it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

Labels = frozenset[str]

_ACK: Final = frozenset({"ack", "any"})
_ERROR: Final = frozenset({"error", "any"})
_GREETING: Final = frozenset({"greeting", "any"})
_PONG: Final = frozenset({"pong", "any"})
_SNAPSHOT: Final = frozenset({"snapshot", "book", "data", "any"})
_DELTA: Final = frozenset({"delta", "book", "data", "any"})
# A venue that only sends whole books loses, repeats and swaps them as others do deltas.
_WHOLE: Final = frozenset({"snapshot", "delta", "book", "data", "any"})
_OTHER: Final = frozenset({"data", "any"})


def _data(name: str) -> Labels:
    return frozenset({name, "data", "any"})


_SUNFLOWER: Final[Mapping[str, Labels]] = {
    "snapshotOrderbook": _SNAPSHOT,
    "updateOrderbook": _DELTA,
    "snapshotTrades": _data("trade"),
    "updateTrades": _data("trade"),
    "snapshotCandles": _data("candle"),
    "updateCandles": _data("candle"),
    "ticker": _data("ticker"),
}
_OXFUN: Final[Mapping[str, Labels]] = {
    "depthUpdate": _SNAPSHOT,
    "depthUpdate-diff": _DELTA,
    "depth": _WHOLE,
    "depthL5": _WHOLE,
    "depthL10": _WHOLE,
    "depthL25": _WHOLE,
    "bestBidAsk": _data("quote"),
    "trade": _data("trade"),
    "ticker": _data("ticker"),
    "market": _data("market"),
}
_SFOX: Final[Mapping[str, Labels]] = {
    "orderbook": _WHOLE,
    "trades": _data("trade"),
    "ticker": _data("ticker"),
}
_METHOD: Final = re.compile(r'"method":"(\w+)"')
_SYMBOL: Final = re.compile(r'"symbol":"([^"]+)"')
_TABLE: Final = re.compile(r'^\{"table":"([\w-]+)"')
_MARKET: Final = re.compile(r'"marketCode":"([^"]+)"')
_RECIPIENT: Final = re.compile(r'"recipient":"(\w+)\.\w+\.([\w-]+)"')


@dataclass(frozen=True, slots=True)
class FrameLabel:
    """The names a fault can choose a frame by; `symbol` is the wire symbol, empty where there is none."""

    labels: Labels
    symbol: str = ""


def label(venue: str, frame: str) -> FrameLabel:
    """
    The label of a frame that `venue` has sent.

    Names are: book, snapshot, delta, trade, ticker, candle, quote, market, data (any of these), ack, error, greeting,
    pong, any.
    """
    if frame == "pong":
        return FrameLabel(_PONG)
    if venue == "sunflower":
        return _sunflower(frame)
    if venue == "oxfun":
        return _oxfun(frame)
    return _sfox(frame)


def _sunflower(frame: str) -> FrameLabel:
    method = _METHOD.search(frame, 0, 60)
    if method is None:
        return FrameLabel(_ERROR if '"error":' in frame[:40] else _ACK)
    symbol = _SYMBOL.search(frame, max(0, len(frame) - 160)) or _SYMBOL.search(frame)
    return FrameLabel(_SUNFLOWER.get(method[1], _OTHER), symbol[1] if symbol else "")


def _oxfun(frame: str) -> FrameLabel:
    table = _TABLE.match(frame)
    if table is None:
        if '"Welcome"' in frame[:40]:
            return FrameLabel(_GREETING)
        return FrameLabel(_ERROR if '"success":false' in frame else _ACK)
    labels = _data("candle") if table[1].startswith("candles") else _OXFUN.get(table[1], _OTHER)
    market = _MARKET.search(frame, max(0, len(frame) - 160)) or _MARKET.search(frame)
    return FrameLabel(labels, market[1] if market else "")


def _sfox(frame: str) -> FrameLabel:
    recipient = _RECIPIENT.search(frame, 0, 120)
    if recipient is None:
        return FrameLabel(_ERROR if '"type":"error"' in frame else _ACK)
    return FrameLabel(_SFOX.get(recipient[1], _OTHER), recipient[2])

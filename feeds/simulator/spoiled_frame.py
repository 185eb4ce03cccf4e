"""Frames made wrong in one chosen way, everything else in them left as it was."""

from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final
from zlib import crc32

from feeds.simulator.exact_json import Literal, dumps, loads
from feeds.simulator.venue import Truth

_LONG_DECIMALS: Final = 30
Json = Any


def spoiled(fault: str, frame: str, rng: Random, truth: Truth | None) -> str | None:
    """The frame with its fault, or None where the fault does not fit; `truth` is the book of its sequence."""
    spoil = _SPOILS.get(fault)
    if spoil is None:
        return None
    value = loads(frame)
    body = _body(value)
    if not isinstance(body, dict) or not spoil(body, rng, truth):
        return None
    if "checksum" in body and fault not in {"wrong_checksum", "empty_side"}:
        body["checksum"] = Literal(crc32((dumps(body["asks"]) + dumps(body["bids"])).encode()))
    return dumps(value)


def is_spoil(fault: str) -> bool:
    """Whether this fault is one of a frame's content."""
    return fault in _SPOILS


def unknown(venue: str, sequence: int) -> str:
    """A well-formed frame of a kind that nobody documented."""
    shapes = {
        "sunflower": f'{{"jsonrpc":"2.0","method":"novelty","params":{{"symbol":"NEW","sequence":{sequence}}}}}',
        "oxfun": f'{{"table":"novelty","data":[{{"marketCode":"NEW","number":"{sequence}"}}]}}',
    }
    return shapes.get(venue, f'{{"type":"novelty","number":{sequence}}}')


def random_text(rng: Random) -> str:
    """Text that nobody meant, sometimes with the first letters of JSON."""
    length = rng.randrange(1, 200)
    text = "".join(chr(rng.choice((rng.randrange(32, 127), rng.randrange(160, 1000)))) for _ in range(length))
    return rng.choice(("", "{", "[", '"')) + text


def _body(value: Json) -> Json:
    """The object that holds the book, wherever the venue puts it."""
    if not isinstance(value, dict):
        return None
    return value.get("params") or value.get("payload") or value.get("data")


def _sides(body: Json) -> list[list[Json]]:
    """Bids and asks of a body, where they are lists."""
    sides = [body.get("bids", body.get("bid")), body.get("asks", body.get("ask"))]
    return [side if isinstance(side, list) else [] for side in sides]


def _price_of(level: Json) -> str:
    return str(level["price"] if isinstance(level, dict) else level[0])


def _changed(level: Json, price: str, size: str | None = None) -> Json:
    """A copy of a level with another price, and size where one is given."""
    if isinstance(level, dict):
        return {**level, "price": price, "size": level["size"] if size is None else size}
    return [Literal(price), level[1] if size is None else Literal(size), *level[2:]]


def _split(number: str) -> tuple[str, str]:
    """Mantissa and exponent of a number's text."""
    at = max(number.find("e"), number.find("E"))
    return (number, "") if at < 0 else (number[:at], number[at:])


def _longer(number: str, digits: str) -> str:
    """The number with more digits after its last decimal."""
    mantissa, exponent = _split(number)
    return f"{mantissa}{'' if '.' in mantissa else '.'}{digits}{exponent}"


def _padded(number: str) -> str:
    mantissa, _ = _split(number)
    present = len(mantissa.partition(".")[2])
    return _longer(number, "0" * max(0, _LONG_DECIMALS - present))


def _wrong_checksum(body: Json, rng: Random, truth: Truth | None) -> bool:
    del rng, truth
    if "checksum" not in body:
        return False
    body["checksum"] = Literal(int(body["checksum"]) ^ 1)
    return True


def _zero_level(body: Json, rng: Random, truth: Truth | None) -> bool:
    """Between two ticks, so that no level of the book is hit."""
    del truth
    sides = [side for side in _sides(body) if side]
    if not sides:
        return False
    side = rng.choice(sides)
    first = side[0]
    zero = "0.000" if isinstance(first, dict) else "0.0"
    side.insert(1, _changed(first, _longer(_price_of(first), "5"), zero))
    return True


def _unsorted(body: Json, rng: Random, truth: Truth | None) -> bool:
    del truth
    for side in _sides(body):
        rng.shuffle(side)
    return any(len(side) > 1 for side in _sides(body))


def _crossed(body: Json, rng: Random, truth: Truth | None) -> bool:
    """A bid at the price of the second ask."""
    del rng
    if truth is None or len(truth.asks) < 2:  # noqa: PLR2004 - a best ask and one above it
        return False
    bids, asks = _sides(body)
    sample = next(iter(bids or asks), None)
    if sample is None:
        return False
    price, size, *_ = truth.asks[1]
    bids.insert(0, _changed(sample, price, size))
    return True


def _duplicate_levels(body: Json, rng: Random, truth: Truth | None) -> bool:
    del rng, truth
    sides = [side for side in _sides(body) if side]
    for side in sides:
        side.insert(1, side[0])
    return bool(sides)


def _long_numbers(body: Json, rng: Random, truth: Truth | None) -> bool:
    del rng, truth
    sides = _sides(body)
    for side in sides:
        for index, level in enumerate(side):
            if isinstance(level, dict):
                side[index] = {name: _padded(text) for name, text in level.items()}
            else:
                side[index] = [Literal(_padded(number)) for number in level[:2]] + level[2:]
    return any(sides)


def _empty_side(body: Json, rng: Random, truth: Truth | None) -> bool:
    """As an older client of the venue's predecessor expects of a market without asks."""
    del rng, truth
    if "ask" not in body or "checksum" not in body:
        return False
    body["ask"], body["checksum"] = "[]", Literal(0)
    return True


_SPOILS: Final[Mapping[str, Callable[[Json, Random, Truth | None], bool]]] = {
    "wrong_checksum": _wrong_checksum,
    "zero_level": _zero_level,
    "unsorted": _unsorted,
    "crossed": _crossed,
    "duplicate_levels": _duplicate_levels,
    "long_numbers": _long_numbers,
    "empty_side": _empty_side,
}

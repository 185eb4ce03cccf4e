"""Numbers as venues write them, for property tests."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import strategies as st

from book.delta import Level


def _spell(value: Decimal, spelling: str, zeros: int) -> str:
    plain = format(value, "f")
    if spelling == "zeros" and "." in plain:
        return plain + "0" * zeros
    if spelling == "point" and "." not in plain:
        return f"{plain}.{'0' * (zeros + 1)}"
    if spelling in {"E", "e"}:
        digits = str(int(value.scaleb(zeros + 12)))
        return f"{digits}{spelling}-{zeros + 12}"
    return plain


def spellings(values: st.SearchStrategy[Decimal]) -> st.SearchStrategy[str]:
    """Return the texts a venue may write for these numbers."""
    return st.builds(_spell, values, st.sampled_from(["plain", "plain", "zeros", "point", "E", "e"]), st.integers(0, 4))


DECIMALS = st.decimals(0, 10**9, allow_nan=False, allow_infinity=False, places=12).map(
    lambda one: one.normalize() if one else Decimal(0)
)
NUMBERS = spellings(DECIMALS)
"""Any non-negative number with up to twelve decimals, in any spelling."""

_PRICES = [
    spelling
    for cents in range(95, 106)
    for spelling in (f"{Decimal(cents) / 100}", f"{cents / 100:.4f}", f"{cents}E-2")
]
"""Few, in several spellings, so that they meet again."""
_SIZES = ["0", "0.000", "0E-8", "1", "1.00", "2.5", "25e-1", "0.00000001", "1E-8"]

LEVELS: st.SearchStrategy[list[Level]] = st.lists(
    st.sampled_from([(price, size) for price in _PRICES for size in _SIZES]), max_size=8
)
SOURCED: st.SearchStrategy[list[Level]] = st.lists(
    st.sampled_from(
        [(price, size, name) for price in _PRICES for size in _SIZES for name in ("gemini", "ox", "market1")]
    ),
    max_size=10,
)

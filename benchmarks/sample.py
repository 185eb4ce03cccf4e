"""Repeated measurements of one thing, and what may be said about them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec


class Sample(msgspec.Struct):
    """
    Values of one quantity, one a round. The median speaks; the spread says how far to trust it.

    `spread` is the distance of the quartiles as a share of the median (of the extremes below five values).
    """

    values: list[float]

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """How far apart the values are, as a share of the median."""
        if len(self.values) < 2 or not self.median:
            return 0.0
        if len(self.values) < 5:
            return (max(self.values) - min(self.values)) / self.median
        low, _, high = statistics.quantiles(self.values, n=4, method="inclusive")
        return (high - low) / self.median


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of the sorted values does not exceed."""
    return values[min(len(values) - 1, int(share * len(values)))]


def quantity(value: float) -> str:
    """Return a number with three digits that matter: `12,300`, `123`, `12.3`, `1.23`, `0.123`."""
    size = abs(value)
    if size >= 1000:
        return f"{round(value, 2 - len(str(int(size))) + 1):,.0f}"
    if size >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 1 else f"{value:.3f}"


def figure(sample: Sample, scale: float = 1.0, unit: str = "") -> str:
    """Return the median and, where there are several values, the spread: `12.3 ±4%`."""
    text = f"{quantity(sample.median * scale)}{unit}"
    return f"{text} ±{sample.spread:.0%}" if len(sample.values) > 1 else text


class Growth(msgspec.Struct):
    """A straight line through values over something: its slope, the standard error of that, and the mean."""

    slope: float
    error: float
    mean: float
    count: int


def growth(x: Sequence[float], y: Sequence[float]) -> Growth:
    """Return the line of least squares; without two different `x` it is level."""
    count = len(x)
    if count < 2 or min(x) == max(x):
        return Growth(0.0, 0.0, statistics.fmean(y) if y else 0.0, count)
    slope, intercept = statistics.linear_regression(x, y)
    middle = statistics.fmean(x)
    spread = sum((one - middle) ** 2 for one in x)
    rest = sum((value - intercept - slope * one) ** 2 for one, value in zip(x, y, strict=True))
    error = (rest / (count - 2) / spread) ** 0.5 if count > 2 else 0.0
    return Growth(slope, error, statistics.fmean(y), count)

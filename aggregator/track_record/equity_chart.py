"""The equity of a track record as the lines of a drawing, with its drawdown below."""

from collections.abc import Iterator, Sequence
from typing import Any

from ecosystems.market import performance
from ecosystems.market.performance import Equity

WIDTH, HEIGHT, FALL_HEIGHT = 640, 160, 48
MAX_SPANS = 320
"""A longer record is drawn by the extremes of so many spans of days, which no screen tells from all days."""


def equity_chart(equity: Equity) -> dict[str, Any] | None:
    """Return what a page draws of an equity; None for less than two days. Points are those of SVG."""
    if len(equity) < 2:
        return None
    values = [float(value) for _, value in equity]
    falls = [float(fall) for fall in performance.falls(equity)]
    low, high, deepest = min(0.0, *values), max(0.0, *values), max(falls)
    step, scale = WIDTH / (len(values) - 1), HEIGHT / ((high - low) or 1.0)
    fall_scale = FALL_HEIGHT / (deepest or 1.0)
    outline = [f"{n * step:.1f},{falls[n] * fall_scale:.1f}" for n in _telling(falls)]
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "fall_height": FALL_HEIGHT,
        "points": " ".join(f"{n * step:.1f},{(high - values[n]) * scale:.1f}" for n in _telling(values)),
        "zero": f"{high * scale:.1f}",
        # The outline of the drawdown, which hangs from the top.
        "falls": " ".join(["0,0", *outline, f"{WIDTH},0"]),
        "low": low,
        "high": high,
        "end": values[-1],
        "deepest": deepest,
        "first": equity[0][0],
        "last": equity[-1][0],
    }


def _telling(values: Sequence[float]) -> Iterator[int]:
    """Yield the places of the values to draw: the lowest and the highest of each span, and both ends."""
    length = -(-len(values) // MAX_SPANS)
    places = {0, len(values) - 1}
    for start in range(0, len(values), length):
        span = range(start, min(start + length, len(values)))
        places |= {min(span, key=values.__getitem__), max(span, key=values.__getitem__)}
    yield from sorted(places)

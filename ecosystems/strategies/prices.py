"""Prices of a signal: rounding, and the levels of stop and target."""

from decimal import Context, Decimal

from ecosystems.signal import MAX_DECIMALS, MAX_PRICE

EXACT = Context(prec=60)
"""A context of its own: the process's `decimal.getcontext()` must not change a strategy's prices."""

SIGNIFICANT = {"crypto": 8, "forex": 6}
CENT, HUNDREDTH_OF_A_CENT = Decimal("0.01"), Decimal("0.0001")


def tick(ecosystem: str, price: Decimal) -> Decimal:
    """Return the step to which prices near `price` (above 0) are rounded.

    Stocks: a cent, a hundredth of one below a dollar (Rule 612 of the SEC's Regulation NMS). Forex: six
    digits, which is the brokers' tenth of a pip (1.07219, 110.123). Crypto: eight digits, as venues differ.
    """
    if ecosystem == "stock":
        return CENT if price >= 1 else HUNDREDTH_OF_A_CENT
    exponent = price.adjusted() + 1 - SIGNIFICANT[ecosystem]
    return Decimal(1).scaleb(max(exponent, -MAX_DECIMALS))


def brackets(
    ecosystem: str, close: Decimal, action: str, risk: float, reward: float
) -> tuple[Decimal, Decimal, Decimal] | None:
    """Return entry, stop and target around `close`; `risk` and `reward` are distances of price.

    None where they are no valid order: a distance that rounds to zero, or a price that is not above zero.
    """
    most = float(MAX_PRICE)
    # A NaN is in no range, and what is beyond has more digits than the context.
    if not (close < MAX_PRICE and -most < risk < most and -most < reward < most):
        return None
    step = tick(ecosystem, close)
    sign = 1 if action == "BUY" else -1
    entry, stop, target = (
        EXACT.quantize(EXACT.add(close, Decimal(distance)), step)
        for distance in (0.0, -sign * risk, sign * reward)
    )
    lowest, highest = min(stop, target), max(stop, target)
    return (entry, stop, target) if 0 < lowest < entry < highest < MAX_PRICE else None

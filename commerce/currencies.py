"""Currencies that can be charged, and how their amounts are written."""

from decimal import Decimal

from ecosystems.market.tables import read_table, words

_TABLE = read_table(__file__, "currencies.toml")

ZERO_DECIMALS = words(_TABLE["zero_decimals"])
THREE_DECIMALS = words(_TABLE["three_decimals"])
HUNDREDTHS_OF_WHOLE = words(_TABLE["hundredths_of_whole"])
CURRENCIES = ZERO_DECIMALS | THREE_DECIMALS | words(_TABLE["two_decimals"])


def decimals(currency: str) -> int:
    """Return the number of decimals with which amounts of a currency are written."""
    return 0 if currency in ZERO_DECIMALS else 3 if currency in THREE_DECIMALS else 2


def price_step(currency: str) -> Decimal:
    """Return what a price must be a multiple of: Stripe charges three-decimal currencies in tens."""
    return Decimal(1) if currency in ZERO_DECIMALS else Decimal("0.01")


def _unit(currency: str) -> int:
    return 100 if currency in HUNDREDTHS_OF_WHOLE else 10 ** decimals(currency)


def to_minor_units(amount: Decimal, currency: str) -> int:
    """Return an amount as Stripe counts it, rounded to what can be charged."""
    step = price_step(currency)
    return int((amount / step).to_integral_value() * step * _unit(currency))


def from_minor_units(amount: Decimal, currency: str) -> Decimal:
    return amount / _unit(currency)


def written(amount: Decimal, currency: str) -> str:
    """Return an amount with its currency as people write it: 1,500 JPY, 29.99 USD, 1.250 KWD."""
    return f"{amount:,.{decimals(currency)}f} {currency}"

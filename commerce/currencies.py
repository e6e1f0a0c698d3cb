"""Currencies that can be charged, and how their amounts are written.

The list and its special cases are Stripe's (https://docs.stripe.com/currencies, as of 2026-11).
"""

from decimal import Decimal


def _codes(text: str) -> frozenset[str]:
    return frozenset(text.split())


ZERO_DECIMALS = _codes("BIF CLP DJF GNF ISK JPY KMF KRW MGA PYG RWF UGX VND VUV XAF XOF XPF")
TWO_DECIMALS = _codes("""
    AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BWP BYN BZD CAD CDF CHF CNY
    COP CRC CVE CZK DKK DOP DZD EGP ETB EUR FJD FKP GBP GEL GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR JMD
    KES KGS KHR KYD KZT LAK LBP LKR LRD LSL MAD MDL MKD MMK MNT MOP MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK
    NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SEK SGD SHP SLE SOS SRD STD SZL THB TJS TOP
    TRY TTD TWD TZS UAH USD UYU UZS WST XCD XCG YER ZAR ZMW""")
THREE_DECIMALS = _codes("BHD JOD KWD OMR TND")
HUNDREDTHS_OF_WHOLE = _codes("ISK UGX")
"""Currencies without decimals that Stripe counts in hundredths all the same, which must be zero."""
CURRENCIES = ZERO_DECIMALS | TWO_DECIMALS | THREE_DECIMALS


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

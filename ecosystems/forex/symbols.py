"""Canonical names of currency pairs and spot metals: ISO 4217 codes with a slash, as in `EUR/USD`."""

import re

CURRENCY_CODES = """
    AED ARS AUD BGN BHD BRL CAD CHF CLP CNH CNY COP CZK DKK EGP EUR GBP HKD HUF IDR ILS INR ISK JOD JPY KES
    KRW KWD KZT MAD MXN MYR NGN NOK NZD OMR PEN PHP PKR PLN QAR RON RSD RUB SAR SEK SGD THB TND TRY TWD TZS
    UAH UGX USD VND ZAR XAU XAG XPD XPT
"""
CURRENCIES = frozenset(CURRENCY_CODES.split())
"""ISO 4217 codes that brokers quote, the offshore CNH, and the metals' codes (XAU is an ounce of gold)."""

CURRENCY_PAIR = re.compile(r"([A-Za-z]{3})[-_/.]?([A-Za-z]{3})(.*)")
PREFIX = re.compile(r"[A-Za-z][A-Za-z0-9_]*:")
YAHOO = re.compile(r"([A-Z]{3}|[A-Z]{6})=X")
BROKER_SUFFIX = re.compile(
    r"[.#+!_-]|[._-](?:[abcimrsxz]|cent|ecn|micro|mini|pro|raw|sb|std|stp|zero)", re.IGNORECASE
)
ATTACHED_SUFFIX = re.compile(r"[bcimrxz]|micro|mini|pro|raw|ecn")


def canonical(symbol: str) -> str | None:
    """Return `EUR/USD` for EURUSD, EUR_USD, OANDA:EUR_USD, EURUSD=X a broker's EURUSD.m; None if uncertain.

    Accepts any text and never raises. Only pairs of two different known codes are mapped, so an index or a
    stock quoted by a forex broker (SPX500_USD) keeps its name.
    """
    text = symbol[match.end() :] if (match := PREFIX.match(symbol)) else symbol
    if yahoo := YAHOO.fullmatch(text.upper()):
        code = yahoo[1]
        text = code if len(code) == 6 else f"USD{code}"  # Yahoo's JPY=X is the price of a dollar in yen
    pair = CURRENCY_PAIR.fullmatch(text)
    if pair is None or not _is_suffix(text, pair[3]):
        return None
    base, quote = pair[1].upper(), pair[2].upper()
    if base == quote or not {base, quote} <= CURRENCIES:
        return None
    return f"{base}/{quote}"


def _is_suffix(text: str, suffix: str) -> bool:
    """Return whether the text after the pair is a MetaTrader broker's account suffix, not part of a name.

    Without a separator only the brokers' own spelling is certain: the pair in capitals, the suffix not.
    """
    if not suffix or BROKER_SUFFIX.fullmatch(suffix):
        return True
    return text[: -len(suffix)].isupper() and ATTACHED_SUFFIX.fullmatch(suffix) is not None

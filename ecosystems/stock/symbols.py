"""Canonical names of US-listed stocks: the ticker, a share class after a dot (`AAPL`, `BRK.B`).

The dot is the form of the SEC's and the exchanges' own files and of Alpaca; Yahoo writes BRK-B, others BRK/B.
"""

import re

US_EXCHANGE_NAMES = """
    AMEX ARCA ARCX BATS BATY BZX CBOE EDGX IEX IEXG NASDAQ NMS NSDQ NYQ NYSE NYSEAMERICAN NYSEARCA NYSEMKT
    OTC OTCMKTS US XASE XNAS XNCM XNGS XNMS XNYS
"""
US_EXCHANGES = frozenset(US_EXCHANGE_NAMES.split())
"""Prefixes of venues that share one ticker space: TradingView's, Google's and Yahoo's names, and MICs."""

EXCHANGE_PREFIX = re.compile(r"([A-Z][A-Z0-9_]*):(.+)")
CLASS_SHARE = re.compile(r"([A-Z]{1,5})[-/]([A-Z])")
TICKER = re.compile(r"[A-Z0-9]{1,10}(?:\.[A-Z0-9]{1,4})?")


def canonical(symbol: str) -> str | None:
    """Return the ticker in capitals: AAPL for NASDAQ:AAPL or aapl.us, BRK.B for BRK-B; None if uncertain.

    Accepts any text and never raises. A prefix that is not a US exchange gives None, for LSE:VOD and
    NASDAQ:VOD are different listings, in different currencies. So does an exchange suffix (VOD.L).
    """
    text = symbol.upper()
    if prefixed := EXCHANGE_PREFIX.fullmatch(text):
        exchange, text = prefixed.groups()
        if exchange not in US_EXCHANGES:
            return None
    text = text.removesuffix(".US")  # EODHD's and Stooq's mark of a US listing
    if share := CLASS_SHARE.fullmatch(text):
        return f"{share[1]}.{share[2]}"
    return text if TICKER.fullmatch(text) and not text.endswith(".US") else None

"""Canonical names of crypto markets, in ccxt's unified notation.

`BTC/USDT` is a spot market, `BTC/USDT:USDT` a perpetual settled in USDT, `BTC/USD:BTC` one settled in the
coin (https://docs.ccxt.com, "Symbols And Market Ids"). The accepted spellings are those of the venues'
own APIs and of TradingView, whose `.P` marks a perpetual.
"""

import re

STABLE_NAMES = "USDT USDC FDUSD TUSD BUSD USDP USDD USDE USD1 RLUSD PYUSD DAI"
FIAT_NAMES = """
    USD EUR GBP JPY AUD CAD CHF NZD SGD HKD BRL TRY MXN ARS COP ZAR PLN CZK RON UAH NGN IDR INR KRW THB
"""
COIN_NAMES = """
    1INCH AAVE ACH ADA AGIX AGLD ALGO ALICE ALT ANKR APE API3 APT AR ARB ARKM ASTR ATOM AUDIO AVAX AXL AXS
    BAND BAT BCH BICO BIGTIME BLUR BNB BNT BOME BONK BSV BTC BTT CAKE CELO CELR CFX CHR CHZ CKB COMP COTI
    CRO CRV CTSI CVX DASH DCR DOGE DOT DYDX EGLD EIGEN ENA ENJ ENS EOS ETC ETH ETHFI FET FIL FLOKI FLOW FLR
    FTM FTT GALA GLM GMT GMX GNO GRT HBAR HFT HNT HOT HYPE ICP ICX IMX INJ IOST IOTA IOTX JASMY JTO JUP KAIA
    KAS KAVA KDA KNC KSM LDO LINK LPT LRC LTC LUNA LUNC MANA MANTA MASK MATIC MEME MINA MKR MNT MOVE NEAR
    NEO NEXO NFT NMR NOT OCEAN OM OMG ONDO ONE ONT OP ORDI OSMO PAXG PENDLE PENGU PEOPLE PEPE PERP POL POLYX
    POPCAT PYTH QNT QTUM RAY RDNT RENDER REP RNDR ROSE RPL RSR RUNE RVN S SAND SEI SHIB SKL SNT SNX SOL SSV
    STORJ STRK STX SUI SUPER SUSHI SXP T TAO THETA TIA TON TRB TRUMP TRX TWT UMA UNI USUAL VET VIRTUAL W
    WAVES WBTC WIF WLD WOO XAUT XEC XEM XLM XMR XRP XTZ XVG YFI YGG ZEC ZEN ZIL ZK ZRO ZRX
"""
LONE_NAMES = "CBETH RETH STETH WETH WBETH TBTC CBBTC SUSD CUSD GUSD LUSD AEUR"

STABLES = frozenset(STABLE_NAMES.split())
FIATS = frozenset(FIAT_NAMES.split())
COIN_QUOTES = frozenset(("BTC", "ETH", "BNB"))
QUOTES = STABLES | FIATS | COIN_QUOTES | {"XBT"}

COINS = frozenset(COIN_NAMES.split())
"""Well-known bases: the evidence that splits DOTUSD as DOT/USD although TUSD is the longer quote."""

LONE_ASSETS = COINS | QUOTES | frozenset(LONE_NAMES.split())
"""Names that end like a pair and are one asset: WETH is not W/ETH."""

ALIASES = {"XBT": "BTC", "XDG": "DOGE"}
"""ISO 4217's X-code for bitcoin, as Kraken and BitMEX write it, and Kraken's for dogecoin."""

INVERSE_VENUES = frozenset(("BINANCE", "BYBIT", "OKX"))
"""Venues whose perpetuals quoted in USD are settled in the base coin."""

WRITTEN_PAIR = re.compile(r"([A-Z0-9]{1,20})([-_/])([A-Z][A-Z0-9]{0,19})")
SETTLED = re.compile(r"([A-Z0-9]{1,20})/([A-Z][A-Z0-9]{0,19}):([A-Z][A-Z0-9]{0,19})")
VENUE_PREFIX = re.compile(r"([A-Z][A-Z0-9_]*):(.+)")
PERPETUAL = re.compile(r"(.+?)(\.P|[-_/]SWAP|[-_/]?PERP|-PERPETUAL)")
KRAKEN = re.compile(
    r"X(XBT|ETH|XRP|LTC|XDG|ETC|ZEC|XMR|REP|XLM|MLN)/?(?:Z(USD|EUR|GBP|JPY|CAD|AUD)|X(XBT|ETH))"
)
KRAKEN_FUTURES = re.compile(r"P([FI])_([A-Z0-9]{2,16})USD")
BITFINEX = re.compile(r"t[A-Z0-9]{6,}")


def canonical(symbol: str) -> str | None:
    """Return the ccxt name of the market that `symbol` means, or None if that is ambiguous.

    Accepts any text and never raises. `BTCUSDT`, `BTC-USDT` and `BINANCE:BTCUSDT` give `BTC/USDT`;
    `BTCUSDT.P` and `BTC-USDT-SWAP` give `BTC/USDT:USDT`. `canonical(canonical(x)) == canonical(x)`.
    """
    if BITFINEX.fullmatch(symbol):
        return None  # Bitfinex's trading prefix, or the token tBTC: tBTCUSD is both
    text = symbol.upper()
    if settled := SETTLED.fullmatch(text):
        base, quote, settle = (ALIASES.get(asset, asset) for asset in settled.groups())
        return None if base == quote else f"{base}/{quote}:{settle}"
    venue = ""
    if prefixed := VENUE_PREFIX.fullmatch(text):
        venue, text = prefixed.groups()
        if SETTLED.fullmatch(text):
            return canonical(text)
    if kraken := KRAKEN.fullmatch(text):
        base, fiat, coin = kraken.groups()
        return _market(base, fiat or coin)
    if futures := KRAKEN_FUTURES.fullmatch(text):
        return _kraken_future(*futures.groups())
    if perpetual := PERPETUAL.fullmatch(text):
        return _perpetual(perpetual[1], perpetual[2], venue)
    pair = _split(text)
    return _market(*pair) if pair else None


def _market(base: str, quote: str, settle: str = "") -> str | None:
    base, quote, settle = (ALIASES.get(asset, asset) for asset in (base, quote, settle))
    if base == quote:
        return None
    return f"{base}/{quote}:{settle}" if settle else f"{base}/{quote}"


def _kraken_future(kind: str, base: str) -> str | None:
    """PF_ is Kraken's multi-collateral contract, settled in USD; PI_ its inverse one."""
    return _market(base, "USD", "USD" if kind == "F" else base)


def _perpetual(text: str, mark: str, venue: str) -> str | None:
    """Name a perpetual: `text` without its mark, the mark, and the venue or an empty text.

    A stablecoin quote is also the settlement. A contract in USD is settled in the coin where the spelling
    belongs to one venue (OKX's BTC-USD-SWAP, Binance's BTCUSD_PERP) or the venue is named.
    """
    pair = _split(text)
    if pair is None:
        return _quoteless(text, mark)
    base, quote = pair
    if quote in STABLES:
        return _market(base, quote, quote)
    own_spelling = mark == "-SWAP" or (mark == "_PERP" and WRITTEN_PAIR.fullmatch(text) is None)
    bitmex = venue == "BITMEX" and base == "XBT"
    if quote == "USD" and (own_spelling or bitmex or venue in INVERSE_VENUES):
        return _market(base, quote, base)
    return None


def _quoteless(base: str, mark: str) -> str | None:
    """Name a perpetual that is written without its quote.

    BTC-PERP (Coinbase International, Bybit, Derive, Aevo) and BTCPERP (Bybit) are quoted and settled in
    USDC; FTX, which settled them in USD, closed in 2022. BTC-PERPETUAL is Deribit's, settled in the coin.
    """
    known = ALIASES.get(base, base) in COINS
    if not re.fullmatch(r"[A-Z0-9]{1,20}", base) or base in QUOTES - COIN_QUOTES - {"XBT"}:
        return None
    if mark == "-PERPETUAL":
        return _market(base, "USD", base)
    if mark == "-PERP" or (mark == "PERP" and known):
        return _market(base, "USDC", "USDC")
    return None


def _split(text: str) -> tuple[str, str] | None:
    """Return base and quote of a written or run-together pair, None when there is no one reading."""
    if pair := WRITTEN_PAIR.fullmatch(text):
        base, separator, quote = pair.groups()
        if separator == "/" or quote in STABLES | FIATS or base not in STABLES | FIATS:
            return base, quote
        # Quote first, as Upbit writes it. KRW is never a base; USDT-BTC may be either way round.
        return (quote, base) if base == "KRW" else None
    if not text.isalnum() or text in LONE_ASSETS:
        return None
    sizes = (5, 4, 3)  # the longest known quote first
    splits = [(text[:-n], text[-n:]) for n in sizes if text[-n:] in QUOTES and 0 < len(text) - n <= 20]
    known = [split for split in splits if split[0] in COINS or split[0] in STABLES or split[0] in ALIASES]
    return next(iter(known or splits), None)

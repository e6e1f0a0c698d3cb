"""The instrument that the hub derives from a symbol as agents write it."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecosystems import ECOSYSTEMS
from ecosystems.market.symbols import CANONICAL, instrument

CRYPTO = {
    "BTC/USDT": "BTCUSDT btcusdt BTC-USDT BTC_USDT BTC/USDT BINANCE:BTCUSDT binance:btc/usdt XBTUSDT",
    "BTC/USDT:USDT": """BTCUSDT.P BINANCE:BTCUSDT.P BTC-USDT-SWAP BTC/USDT:USDT BTCUSDTPERP btcusdtperp
        BTCUSDT-PERP BTC-USDT-PERP BTC_USDT_PERP btc/usdt:usdt OKX:BTC/USDT:USDT XBTUSDT.P""",
    "BTC/USDC:USDC": "BTC-PERP BTCPERP BTC_USDC-PERPETUAL BTCUSDC.P XBT-PERP",
    "BTC/USD": "XBTUSD XXBTZUSD XBT/USD BTCUSD COINBASE:BTC-USD KRAKEN:XBTUSD XXBT/ZUSD",
    "BTC/USD:BTC": """BTC-USD-SWAP BTCUSD_PERP BTC-PERPETUAL BYBIT:BTCUSD.P BITMEX:XBTUSD.P
        PI_XBTUSD BTC/USD:BTC""",
    "BTC/USD:USD": "PF_XBTUSD BTC/USD:USD",
    "ETH/BTC": "ETHBTC ETH_BTC XETHXXBT ETHXBT ETH/XBT",
    "DOGE/USD": "XDGUSD DOGEUSD XDG/USD",
    "BTC/TUSD": "BTCTUSD",
    "DOT/USD": "DOTUSD",
    "SHIB/USD": "SHIBUSD",
    "BTC/BUSD": "BTCBUSD",
    "BTC/FDUSD": "BTCFDUSD",
    "USDC/USDT": "USDCUSDT USDC-USDT",
    "USDT/USD": "USDTUSD",
    "USDT/TRY": "USDTTRY",
    "BTC/KRW": "KRW-BTC BTC/KRW",
    "1000PEPE/USDT": "1000PEPEUSDT 1000PEPE-USDT",
    "1000PEPE/USDT:USDT": "1000PEPEUSDT.P",
    "1INCH/USDT": "1INCHUSDT",
    "PERP/USDT": "PERPUSDT",
    "W/USDT": "WUSDT",
    "NEWCOIN/USDT": "NEWCOINUSDT newcoin_usdt",
}
FOREX = {
    "EUR/USD": """EURUSD eurusd EUR_USD EUR/USD EUR-USD EUR.USD OANDA:EUR_USD FX:EURUSD FX_IDC:EURUSD EURUSD=X
        EURUSD.m EURUSDm EURUSD.pro EURUSD# EURUSD+ EURUSDc EURUSD. EURUSD_i C:EURUSD""",
    "XAU/USD": "XAUUSD XAU_USD OANDA:XAUUSD XAUUSD.ecn",
    "USD/JPY": "USDJPY JPY=X USDJPY=X",
}
STOCK = {
    "AAPL": "AAPL aapl NASDAQ:AAPL XNAS:AAPL AAPL.US aapl.us",
    "BRK.B": "BRK.B BRK-B BRK/B NYSE:BRK.B brk-b.us",
    "VOD.L": "VOD.L",
    "0700.HK": "0700.HK",
}
UNSURE = {
    "crypto": """BTC WETH STETH FDUSD tBTCUSD tDUSK:USD USDT-BTC BTCUSD.P BTC-USD-PERP BTC/USDT:USDT-240628
        BTCUSDT_240628 BTC-28JUN24 BTC-28JUN24-60000-C BTC/BTC SUPERP PERP SWAP USDT-PERP ETHBTC.P A:B:BTCUSDT
        : / - .P -PERP BTC/ BTC//USDT""",
    "forex": """EUR EUREUR SPX500_USD BTCUSD GOLD EURUSDM eurusdm EURUSD.P EURUSD_20240628 EURUSDT
        EURUSD.abcdef =X :""",
    "stock": "LSE:VOD TSX:SHOP BTC-USD BAC-PK AAPL240621C00190000 AAPL.US.US $SPX ^GSPC ES=F BRK_B . / :",
}
TABLE = [
    (ecosystem, written, expected)
    for ecosystem, rows in (("crypto", CRYPTO), ("forex", FOREX), ("stock", STOCK))
    for expected, spellings in rows.items()
    for written in spellings.split()
]
PRINTABLE = st.text(
    alphabet=string.digits + string.ascii_letters + string.punctuation, min_size=1, max_size=64
)
PIECES = """
    BTC XBT ETH USDT USD TUSD EUR t m P PERP SWAP PERPETUAL / - _ : . .P :USDT BINANCE: OANDA: NYSE: .US =X
    PF_ XXBT ZUSD BRK B
"""
LIKELY = st.lists(
    st.sampled_from(PIECES.split()),
    min_size=1,
    max_size=6,
).map("".join)


@pytest.mark.parametrize(("ecosystem", "written", "expected"), TABLE)
def test_spelling(ecosystem, written, expected):
    assert CANONICAL[ecosystem](written) == expected
    assert instrument(ecosystem, written) == expected


@pytest.mark.parametrize(
    ("ecosystem", "written"), [(e, w) for e, text in UNSURE.items() for w in text.split()]
)
def test_unsure_symbols_stay_as_written(ecosystem, written):
    assert CANONICAL[ecosystem](written) is None
    assert instrument(ecosystem, written) == written


def test_every_ecosystem_has_names():
    assert set(CANONICAL) == set(ECOSYSTEMS)


@given(st.sampled_from(ECOSYSTEMS), PRINTABLE | LIKELY)
def test_any_text_has_one_instrument(ecosystem, written):
    name = instrument(ecosystem, written)
    assert instrument(ecosystem, name) == name
    assert 1 <= len(name) <= 64
    assert name.isascii()
    assert name.isprintable()
    assert " " not in name


@pytest.mark.parametrize("symbol", ["", " ", "ß", "ſUSDT", "BTC USDT", "ıUSDT", "x" * 10_000])  # noqa: RUF001
@pytest.mark.parametrize("ecosystem", ECOSYSTEMS)
def test_text_outside_the_contract_raises_nothing(ecosystem, symbol):
    assert isinstance(instrument(ecosystem, symbol), str)

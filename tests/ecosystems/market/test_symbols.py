"""The instrument that the hub derives from a symbol as agents write it."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecosystems import ECOSYSTEMS
from ecosystems.market.symbols import (
    SYMBOLS,
    instrument,
    suggest_instruments,
    valid_instrument,
)

CRYPTO = {
    "BTC/USDT": """BTCUSDT btcusdt BTC-USDT BTC_USDT BTC/USDT btc-usdt btc_usdt BINANCE:BTCUSDT
        binance:btc/usdt XBTUSDT KRAKEN:XBTUSDT BTCUSDT_SPBL SPOT_BTC_USDT BINANCE_SPOT_BTC_USDT
        BTCUSDT-SPOT BTCUSDT-SPOT.BYBIT BTC-USDT.OKX BTCUSDT.BINANCE GATEIO:BTCUSDT KUCOIN:BTCUSDT
        PHEMEX:sBTCUSDT UPBIT:USDT-BTC BITTREX:USDT-BTC BITMEX:XBT_USDT X:BTCUSDT BITFINEX:tBTCUST""",
    "BTC/USDT:USDT": """BTCUSDT.P BINANCE:BTCUSDT.P OKX:BTCUSDT.P BITGET:BTCUSDT.P BTC-USDT-SWAP
        BTC/USDT:USDT BTCUSDTPERP BINANCE:BTCUSDTPERP btcusdtperp BTCUSDT-PERP BTC-USDT-PERP
        BTC_USDT_PERP btc/usdt:usdt OKX:BTC/USDT:USDT XBTUSDT.P BTCUSDT_UMCBL btcusdt_umcbl XBTUSDTM
        KUCOIN:XBTUSDTM PERP_BTC_USDT BTCUSDT-PERP.BINANCE BTC-USDT-SWAP.OKX BTCUSDT-LINEAR
        BTCUSDT-LINEAR.BYBIT BTC-SWAP-USDT BTCUSDT_PERP BTCUSDT-PERPETUAL tBTCF0:USTF0
        BITMEX:XBTUSDT XBTUSDT.BITMEX ASCENDEX:BTC-PERP WHITEBIT:BTC_PERP HTX:BTC-USDT
        HUOBI:BTC-USDT MEXC:BTC_USDT BINANCEUSDM:BTCUSDT ANY:BTC/USDT:USDT""",
    "BTC/USDC:USDC": """BTC_USDC-PERPETUAL BTCUSDC.P BTCPERP_CMCBL BTC_USDC_PERP BTC-PERP-INTX
        BYBIT:BTCPERP BYBIT:BTC-PERP BITGET:BTCPERP COINBASEINTERNATIONAL:BTC-PERP XBTUSDCM
        PERP_BTC_USDC DERIBIT:BTCUSDC.P""",
    "BTC/USD": """XBTUSD XXBTZUSD XBT/USD BTCUSD COINBASE:BTC-USD COINBASE:BTCUSD KRAKEN:XBTUSD
        XXBT/ZUSD BITSTAMP:BTCUSD X:BTCUSD BTC-USD.CC BTC/USD.KRAKEN BITFINEX:BTCUSD
        BITFINEX:tBTCUSD CRYPTO:BTCUSD""",
    "BTC/USD:BTC": """BTC-USD-SWAP BTCUSD_PERP BTCUSD_PERP.BINANCE BTC-PERPETUAL
        BTC-PERPETUAL.DERIBIT BYBIT:BTCUSD.P BINANCE:BTCUSD.P OKX:BTCUSD.P DERIBIT:BTCUSD.P
        BITMEX:XBTUSD BITMEX:XBTUSD.P XBTUSD.BITMEX PI_XBTUSD BTC/USD:BTC BTCUSD_DMCBL XBTUSDM
        BTCUSD-INVERSE BTCUSD-INVERSE.BYBIT HTX:BTC-USD""",
    "BTC/USD:USD": """PF_XBTUSD pf_xbtusd BTC/USD:USD BTC-USD_UM-SWAP CRYPTOCOM:BTCUSD-PERP
        FTX:BTC-PERP FTX:BTCPERP""",
    "ETH/USD:BTC": "BITMEX:ETHUSD ETHUSD.BITMEX",
    "ETH/USD:ETH": "ETHUSD_PERP ETH-PERPETUAL ETHUSDM ETH-USD-SWAP PI_ETHUSD",
    "ETH/BTC": """ETHBTC ETH_BTC ETH-BTC XETHXXBT ETHXBT ETH/XBT BITFINEX:tETHBTC UPBIT:BTC-ETH
        BINANCE:ETHBTC""",
    "BTC/ETH": "BTC/ETH",
    "BTC/EUR": """BTCEUR BTC-EUR XXBTZEUR XBT/EUR BITVAVO:BTC-EUR BITFINEX:tBTCEUR""",
    "BTC/JPY": "BTC_JPY btc_jpy BTCJPY XXBTZJPY",
    "BTC/IDR": "btc_idr btcidr",
    "BTC/TRY": "BTCTRY BTC_TRY BTC/TRY BTCTURK:BTCTRY",
    "BTC/BRL": "BTCBRL BTC-BRL",
    "BTC/KRW": "KRW-BTC BTC/KRW UPBIT:KRW-BTC UPBIT:BTCKRW BTC_KRW",
    "DOGE/USD": "XDGUSD DOGEUSD XDG/USD tDOGE:USD",
    "DOGE/BTC": "XXDGXXBT XDGXBT",
    "LTC/USD": "XLTCZUSD tLTCUSD LTCUSD",
    "XRP/KRW": "KRW-XRP UPBIT:XRPKRW",
    "USDT/KRW": "KRW-USDT",
    "XLM/USD": "XXLMZUSD XLMUSD",
    "XTZ/USD": "XTZUSD",
    "EUR/USD": "ZEURZUSD EURUSD EUR/USD",
    "USDT/USD": "USDTZUSD USDTUSD USDT-USD",
    "USDT/TRY": "USDTTRY",
    "USDC/USDT": "USDCUSDT USDC-USDT",
    "EUR/USDT": "EURUSDT EUR-USDT",
    "TUSD/BTC": "UPBIT:BTC-TUSD",
    "CELO/BTC": "BTC-CELO UPBIT:BTC-CELO CELO-BTC CELOBTC CELO/BTC BTC_CELO",
    "LINK/BTC": "BTC-LINK LINK-BTC",
    "XMR/BTC": "BTC_XMR XXMRXXBT",
    "CELO/USDT": "USDT-CELO CELO-USDT",
    "BTC/TUSD": "BTCTUSD",
    "DOT/USD": "DOTUSD",
    "SHIB/USD": "SHIBUSD",
    "BNB/USD": "BNBUSD",
    "PNUT/USD": "PNUTUSD",
    "BTC/BUSD": "BTC-BUSD BTC/BUSD",
    "ARB/USD": "COINBASE:ARBUSD KRAKEN:ARBUSD ARB-USD ARB/USD",
    "AR/BUSD": "AR-BUSD AR/BUSD",
    "ARB/USDT": "ARBUSDT",
    "BTC/FDUSD": "BTCFDUSD",
    "AIXBT/USDT": "AIXBTUSDT AIXBT-USDT",
    "AI/BTC": "AIBTC AI/BTC AI-BTC",
    "S/USDT": "SUSDT",
    "T/USDC": "TUSDC",
    "A/USDT": "AUSDT",
    "WETH/USDT": "WETHUSDT",
    "WBTC/BTC": "WBTCBTC WBTC-BTC BTC-WBTC",
    "1000PEPE/USDT": "1000PEPEUSDT 1000PEPE-USDT",
    "1000PEPE/USDT:USDT": "1000PEPEUSDT.P BINANCE:1000PEPEUSDT.P 1000PEPEUSDTPERP",
    "1000SATS/USDT:USDT": "1000SATSUSDT.P BINANCE:1000SATSUSDT.P",
    "CTC/KRW": "CTCKRW KRW-CTC",
    "1MBABYDOGE/USDT": "1MBABYDOGEUSDT",
    "SHIB1000/USDT": "BYBIT:SHIB1000USDT",
    "1INCH/USDT": "1INCHUSDT",
    "PERP/USDT": "PERPUSDT",
    "SUPER/USDT": "SUPERUSDT",
    "W/USDT": "WUSDT",
    "SOL/USDC:USDC": "SOL_USDC-PERPETUAL SOL_USDC_PERP",
    "DUSK/USD": "tDUSK:USD BITFINEX:tDUSK:USD",
    "NEWCOIN/USDT": """NEWCOIN/USDT newcoin_usdt NEWCOIN-USDT BINANCE:NEWCOINUSDT OKX:NEWCOIN-USDT""",
    "NEWCOIN/USDT:USDT": """NEWCOIN-USDT-SWAP NEWCOINUSDTM NEWCOIN/USDT:USDT BINANCE:NEWCOINUSDT.P""",
}
FOREX = {
    "EUR/USD": """EURUSD eurusd EUR_USD EUR/USD EUR-USD EUR.USD OANDA:EUR_USD OANDA:EURUSD FX:EURUSD
        FX_IDC:EURUSD FOREXCOM:EURUSD SAXO:EURUSD PEPPERSTONE:EURUSD CAPITALCOM:EURUSD
        ICMARKETS:EURUSD EURUSD=X EURUSD.m EURUSDm EURUSD.pro EURUSD# EURUSD+ EURUSDc EURUSD.
        EURUSD_i EURUSD.a EURUSDz EURUSD-ecn C:EURUSD EURUSD.FOREX EUR/USD.IDEALPRO EUR/USD.SIM
        fxcm:eurusd""",
    "XAU/USD": """XAUUSD XAU_USD OANDA:XAUUSD XAUUSD.ecn XAUUSDm FOREXCOM:XAUUSD""",
    "XAG/EUR": "XAGEUR",
    "XTI/USD": "XTIUSD XTIUSD.raw",
    "USD/JPY": "USDJPY JPY=X USDJPY=X USD_JPY",
    "USD/TRY": "USDTRY",
    "USD/CNH": "USDCNH",
    "GEL/USD": "GELUSD",
}
STOCK = {
    "AAPL": """AAPL aapl NASDAQ:AAPL NASDAQ_DLY:AAPL nasdaq:aapl XNAS:AAPL BATS:AAPL AAPL.US aapl.us
        AAPL.NASDAQ AAPL.XNAS US:AAPL""",
    "IBM": "NYSE:IBM NYSE_DLY:IBM IBM.NYSE",
    "SPY": "AMEX:SPY AMEX_DLY:SPY NYSEARCA:SPY SPY.ARCA",
    "BRK.B": """BRK.B BRK-B BRK/B BRK_B NYSE:BRK.B NYSE_DLY:BRK.B brk-b.us BRK-B.US brk_b""",
    "BF.B": "BF.B BF-B NYSE:BF.B BF_B",
    "MKC.V": "MKC-V MKC.V",
    "PSTH.U": "PSTH.U PSTH-U",
    "VOD.L": "VOD.L",
    "0700.HK": "0700.HK",
}
SPACED = {
    ("stock", "BRK B"): "BRK.B",
    ("stock", "AAPL US Equity"): "AAPL",
    ("stock", "BRK/B US Equity"): "BRK.B",
    ("stock", "AAPL US"): "AAPL",
    ("stock", "VOD LN Equity"): "VOD LN Equity",
    ("stock", "BAC PRK"): "BAC PRK",
    ("forex", "EURUSD Curncy"): "EUR/USD",
    ("forex", "Volatility 75 Index"): "Volatility 75 Index",
    ("crypto", "BTC USDT"): "BTC USDT",
    ("crypto", "币安人生USDT"): "币安人生USDT",
}
UNSURE = {
    "crypto": """BTC WETH STETH METH FDUSD SUSD TUSD AUSD BETH WBTC TBTC STARS AIXBT ARBUSD ATAAEUR
        BOBUSD OMGUSD PAXGUSD METUSD tBTCUSD tETHUSD tETHBTC tBTCEUR BTCBUSD BTCUSDm BTCUSDc Btcusdt
        BtcUsdt sBTCUSDT kPEPEUSDT USDT-BTC BTC-TUSD BTC-DAI BTC-ETH BTC-PERP BTCPERP BTC_PERP
        XBT-PERP ETH-MOVE BTCUSD.P ETHBTC.P BTC-USD-PERP BTCUSD-PERP BTC/USDT:USDT-240628
        BTCUSDT_240628 BTC-USD-240628 BTC-28JUN24 BTC-28JUN24-60000-C FI_XBTUSD_240628 XBTU24
        XBTMU24 BTCBUSD_PERP USDTZEUR5 BTCUSDT_DMCBL BTCUSD_UMCBL SBTCSUSDT_SUMCBL BTC/BTC SUPERP
        PERP SWAP USDT-PERP A:B:BTCUSDT CME:BTC1! CME:BTCUSD CRYPTOCAP:BTC CRYPTOCAP:USDT.D
        INDEX:BTCUSD DERIBIT:BTCUSD PHEMEX:BTCUSD DYDX:BTC-USD KUCOINFUTURES:BTCUSDT FX_BTC_JPY
        BTC.D AAPLBUSD NEWCOINUSDT NEWCOINUSD BINANCE:NEWCOINUSD BTC3LUSDT BTCUPUSDT BTC-NEWCOIN
        USDT-NEWCOIN FOO-BAR foo/bar BTCHUSD BTCUST btc_tl BTC_DOM GBPUSDZ XAUUSD TSLAUSDT : / - .P
        -PERP BTC/ BTC//USDT""",
    "forex": """EUR EUREUR SPX500_USD US30 GER40.cash BTCUSD GOLD EURUSDM eurusdm EURUSD.P
        EURUSD_20240628 EURUSDT EURUSD.abcdef EURUSD1! CME:EURUSD INDEX:EURUSD NSE:USDINR CME:6E1!
        EURUSD_TOM EURUSDfut XAUUSDT USDX DXY SOLUSD =X :""",
    "stock": """LSE:VOD TSX:SHOP TSX_DLY:SHOP NASDAQ_XYZ:AAPL BTC-USD BAC-PK NYSE:BAC/PK
        AAPL240621C00190000 AAPL.US.US $SPX ^GSPC ES=F #AAPL KO-PEP KO/PEP XYZ_W ABC-Q . / :""",
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
    PF_ XXBT ZUSD BRK B _UMCBL M AR BUSD _DLY: .BINANCE
"""
LIKELY = st.lists(
    st.sampled_from(PIECES.split()),
    min_size=1,
    max_size=6,
).map("".join)


@pytest.mark.parametrize(("ecosystem", "written", "expected"), TABLE)
def test_spelling(ecosystem, written, expected):
    assert SYMBOLS[ecosystem].canonical(written) == expected
    assert instrument(ecosystem, written) == expected


@pytest.mark.parametrize(
    ("ecosystem", "written"), [(e, w) for e, text in UNSURE.items() for w in text.split()]
)
def test_unsure_symbols_stay_as_written(ecosystem, written):
    assert SYMBOLS[ecosystem].canonical(written) is None
    assert instrument(ecosystem, written) == written


@pytest.mark.parametrize(("written", "expected"), SPACED.items())
def test_symbols_with_spaces_and_of_any_script(written, expected):
    assert instrument(*written) == expected


def test_every_ecosystem_has_names():
    assert set(SYMBOLS) == set(ECOSYSTEMS)


def test_every_name_that_is_derived_is_an_instrument():
    assert [row for row in TABLE if not SYMBOLS[row[0]].is_instrument(row[2])] == []


@pytest.mark.parametrize(
    ("ecosystem", "symbol", "expected"),
    [
        ("crypto", "ARBUSD", ["ARB/USD", "AR/BUSD"]),
        ("crypto", "tBTCUSD", ["TBTC/USD", "BTC/USD"]),
        ("crypto", "BTC-TUSD", ["BTC/TUSD", "TUSD/BTC"]),
        ("crypto", "NEWCOINUSDT", ["NEWCOIN/USDT"]),
        ("crypto", "BTCUSDm", ["BTC/USD", "BTC/USD:BTC"]),
        ("crypto", "CME:BTCUSD", ["BTC/USD"]),
        ("crypto", "AIXBT", ["AI/BTC"]),
        ("crypto", "STARS", []),
        ("crypto", "???", []),
        ("forex", "FX:EURUSD-weird", ["EUR/USD"]),
        ("forex", "GOLD", ["XAU/USD"]),
        ("forex", "GER40", []),
        ("stock", "#AAPL", ["AAPL"]),
        ("stock", "LSE:VOD", ["VOD"]),
    ],
)
def test_suggestions(ecosystem, symbol, expected):
    assert suggest_instruments(ecosystem, symbol) == expected


@pytest.mark.parametrize(
    ("ecosystem", "typed", "expected"),
    [
        ("crypto", "btcusdt", "BTC/USDT"),
        ("crypto", "NEWCOIN/USDT", "NEWCOIN/USDT"),
        ("crypto", "BTC/USDT:USDT-240628", "BTC/USDT:USDT-240628"),
        ("crypto", "BTC/USD:BTC-240628-60000-C", "BTC/USD:BTC-240628-60000-C"),
        ("crypto", "gold!!", None),
        ("crypto", "BTC", None),
        ("crypto", "FOO/BAR", None),
        ("forex", "EURUSD", "EUR/USD"),
        ("forex", "gold!!", None),
        ("forex", "GOLD", None),
        ("forex", "BTC/USD", None),
        ("stock", "brk-b", "BRK.B"),
        ("stock", "gold!!", None),
        ("stock", "LSE:VOD", None),
    ],
)
def test_an_instrument_is_one_of_its_ecosystem(ecosystem, typed, expected):
    assert valid_instrument(ecosystem, typed) == expected


@given(st.sampled_from(ECOSYSTEMS), PRINTABLE | LIKELY)
def test_any_text_has_one_instrument(ecosystem, written):
    name = instrument(ecosystem, written)
    assert instrument(ecosystem, name) == name
    assert 1 <= len(name) <= 64
    assert SYMBOLS[ecosystem].canonical(written) is None or SYMBOLS[ecosystem].is_instrument(name)
    assert name.isascii()
    assert name.isprintable()
    assert " " not in name


@pytest.mark.parametrize("symbol", ["", " ", "ß", "ſUSDT", "BTC USDT", "ıUSDT", "x" * 10_000])  # noqa: RUF001
@pytest.mark.parametrize("ecosystem", ECOSYSTEMS)
def test_text_outside_the_contract_raises_nothing(ecosystem, symbol):
    assert isinstance(instrument(ecosystem, symbol), str)

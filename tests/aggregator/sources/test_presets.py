"""What each preset makes of the bodies that its producer sends."""

import json
from urllib.parse import urlencode

import pytest

from aggregator.ingest.source_preview import preview
from aggregator.models import Source
from aggregator.sources.presets import presets

NOW = "2026-01-02T03:04:05Z"
OPEN, CLOSE = "2026-01-02 16:23:04.136192+00:00", "2026-01-02 17:23:04.136192+00:00"


def become(preset, body, **source):
    """Return what a body becomes by a preset: for each part the fields that a test looks at, or the code."""
    raw = (
        body
        if isinstance(body, bytes)
        else body.encode()
        if isinstance(body, str)
        else json.dumps(body).encode()
    )
    given = {"name": "src", "agent": "scout", "ecosystem": presets()[preset].ecosystem} | source
    return [
        each.refusal.code if each.refusal else each.fields()
        for each in preview(Source(preset=preset, **given), raw)
    ]


def one(preset, body, **source):
    [fields] = become(preset, body, **source)
    return fields


def shown(fields, *names):
    """Return the named fields as texts, None for those that are not there."""
    return tuple(None if fields.get(name) is None else str(fields[name]) for name in names)


def tradingview(**fields):
    return {"ticker": "BTCUSDT", "exchange": "BINANCE", "close": "64250.10", "timenow": NOW} | fields


@pytest.mark.parametrize(
    ("fields", "action"),
    [
        ({"action": "buy"}, "BUY"),
        ({"action": "sell"}, "SELL"),
        ({"action": "BUY", "market_position": "long", "prev_market_position": "flat"}, "BUY"),
        ({"action": "sell", "market_position": "short", "prev_market_position": "long"}, "SELL"),
        ({"action": "sell", "market_position": "flat", "prev_market_position": "long"}, "CLOSE"),
        ({"action": "buy", "market_position": "flat", "prev_market_position": "short"}, "CLOSE"),
        ({"action": "close"}, "CLOSE"),
    ],
)
def test_tradingview_closes_where_the_position_is_flat_and_else_does_as_the_action_says(fields, action):
    found = one("tradingview", tradingview(**fields))
    assert shown(found, "action", "symbol", "entry_price", "timestamp") == (
        *(action, "BINANCE:BTCUSDT", "64250.1", "2026-01-02T03:04:05+00:00"),
    )
    assert found["agent_source"] == "scout"
    assert found["signal_id"].startswith("src:")


@pytest.mark.parametrize(
    ("exchange", "ticker", "ecosystem", "symbol", "instrument"),
    [
        ("NASDAQ_DLY", "AAPL", "stock", "NASDAQ:AAPL", "AAPL"),
        ("NYSE_DL", "IBM", "stock", "NYSE:IBM", "IBM"),
        ("NASDAQ", "AAPL", "stock", "NASDAQ:AAPL", "AAPL"),
        (None, "NASDAQ_DLY:AAPL", "stock", "NASDAQ:AAPL", "AAPL"),
        ("BINANCE", "BTCUSDT.P", "crypto", "BINANCE:BTCUSDT.P", "BTC/USDT:USDT"),
        ("OANDA", "EURUSD", "forex", "OANDA:EURUSD", "EUR/USD"),
        (None, "BTCUSDT", "crypto", "BTCUSDT", "BTC/USDT"),
    ],
)
def test_tradingview_names_the_venue_without_its_mark_of_delay(
    exchange, ticker, ecosystem, symbol, instrument
):
    body = tradingview(exchange=exchange, ticker=ticker, action="buy")
    found = one("tradingview", body, ecosystem=ecosystem)
    assert shown(found, "symbol", "instrument") == (symbol, instrument)


def test_tradingview_reads_prices_exactly_and_takes_placeholders_without_a_value_for_none():
    body = b'{"ticker": "PEPEUSDT", "action": "buy", "price": 1.1610000500000001e-05, "stop": "NaN", '
    body += b'"take_profit": "null", "time": "2026-01-02T03:04:00Z"}'
    found = one("tradingview", body)
    assert shown(found, "entry_price", "stop_loss", "take_profit") == ("0.000011610000500000001", None, None)
    found = one("tradingview", tradingview(action="buy", stop="63000", take_profit=66000, contracts="0.5"))
    assert shown(found, "stop_loss", "take_profit", "volume") == ("63000", "66000", "0.5")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "EMA Cross (9, 21): order buy @ 0.5 filled on BTCUSDT. New strategy position is 0.5",
            ("BUY", "BTCUSDT", None),
        ),
        ("order sell @ 0.5 filled on BTCUSDT. New strategy position is 0", ("CLOSE", "BTCUSDT", None)),
        ("order sell @ 1 filled on BTCUSDT. New strategy position is -1.5", ("SELL", "BTCUSDT", None)),
        ("BUY BINANCE:BTCUSDT @ 64250.1", ("BUY", "BINANCE:BTCUSDT", "64250.1")),
        ("sell BTCUSDT 64250.1", ("SELL", "BTCUSDT", "64250.1")),
        ("close BTCUSDT", ("CLOSE", "BTCUSDT", None)),
        ("ticker=BTCUSDT;action=buy;close=64250.1", ("BUY", "BTCUSDT", "64250.1")),
        ("ticker=BTCUSDT&action=sell&close=64250.1", ("SELL", "BTCUSDT", "64250.1")),
        ("ticker = BTCUSDT\naction = buy", ("BUY", "BTCUSDT", None)),
    ],
)
def test_tradingview_reads_text_too(text, expected):
    assert shown(one("tradingview", text), "action", "symbol", "entry_price") == expected


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("BTC looks strong today, consider buying", "no_match"),
        ('{"ticker": "BTCUSDT", "action": buy}', "not_json"),
        (tradingview(action="{{strategy.order.action}}"), "unmapped_value"),
        (tradingview(), "missing_field"),
        (tradingview(action="buy", ticker=None), "missing_field"),
        (tradingview(action="buy", close="{{close}}"), "invalid_value"),
        (tradingview(action="buy", timenow="yesterday"), "invalid_value"),
    ],
)
def test_tradingview_guesses_nothing(body, code):
    assert one("tradingview", body) == code


def freqtrade(section, **fields):
    return {"type": section, "trade_id": "7", "pair": "BTC/USDT", "direction": "Long"} | fields


@pytest.mark.parametrize(
    "encode", [json.dumps, urlencode, lambda body: ";".join(map("=".join, body.items()))]
)
def test_freqtrades_exit_closes_the_entry_of_its_trade_in_every_format(encode):
    entry = freqtrade("entry", order_type="limit", open_rate="64250.1", amount="0.01", open_date=OPEN)
    exit_ = freqtrade("exit", order_type="limit", open_rate="64250.1", close_rate="65000.5", close_date=CLOSE)
    entered, exited = one("freqtrade", encode(entry)), one("freqtrade", encode(exit_))
    names = ("action", "signal_type", "instrument", "entry_price", "volume", "timestamp")
    at = "2026-01-02T16:23:04.136192+00:00"
    assert shown(entered, *names) == ("BUY", "LIMIT", "BTC/USDT", "64250.1", "0.01", at)
    assert shown(exited, "action", "signal_type", "entry_price") == ("CLOSE", "MARKET", "65000.5")
    assert exited["refers_to"] == entered["signal_id"] == "src:7"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"type": "entry", "direction": "Short", "order_type": "market"}, ("SELL", "MARKET", None)),
        ({"type": "entry", "sub_trade": "True"}, ("BUY", "TRADE", None)),
        ({"type": "entry_fill"}, ("BUY", "TRADE", None)),
        ({"type": "entry_fill", "direction": "Short"}, ("SELL", "TRADE", None)),
        ({"type": "exit_fill"}, ("CLOSE", "TRADE", "src:7")),
        ({"type": "exit", "sub_trade": "True", "is_final_exit": "False"}, ("HOLD", "TRADE", None)),
        ({"type": "exit", "sub_trade": "True", "is_final_exit": "True"}, ("CLOSE", "MARKET", "src:7")),
        (
            {"type": "entry_cancel", "reason": "cancelled due to timeout, fully cancelled"},
            ("CLOSE", "MARKET", "src:7"),
        ),
        ({"type": "entry_cancel", "reason": "partially filled"}, ("HOLD", "TRADE", None)),
        (
            {
                "type": "entry_cancel",
                "reason": "cancelled to be replaced by new limit order, fully cancelled",
            },
            ("HOLD", "TRADE", None),
        ),
        ({"type": "exit_cancel", "reason": "cancelled due to timeout"}, ("HOLD", "TRADE", None)),
        ({"type": "status", "pair": "", "status": "running"}, ("HOLD", "TRADE", None)),
        ({"type": "exit", "bot": "second"}, ("CLOSE", "MARKET", "src:second:7")),
    ],
)
def test_freqtrade_keeps_what_is_no_call_as_a_trade(fields, expected):
    found = one("freqtrade", freqtrade("", **fields))
    assert shown(found, "action", "signal_type", "refers_to") == expected


def test_freqtrade_refuses_a_section_that_it_does_not_know():
    assert one("freqtrade", freqtrade("surprise")) == "unmapped_value"


def commas(action, **fields):
    body = {"secret": "eyJhbGciOi", "max_lag": "300", "timestamp": NOW, "trigger_price": "64250.1"}
    return (
        body
        | {"tv_exchange": "BINANCE", "tv_instrument": "BTCUSDT", "action": action, "bot_uuid": "u"}
        | fields
    )


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (commas("enter_long"), ("BUY", "MARKET")),
        (commas("enter_short"), ("SELL", "MARKET")),
        (commas("exit_long"), ("CLOSE", "MARKET")),
        (commas("exit_short"), ("CLOSE", "MARKET")),
        (commas("disable"), ("HOLD", "TRADE")),
        (commas("enable"), ("HOLD", "TRADE")),
        (commas("buy", strategy_info={"market_position": "long"}), ("BUY", "MARKET")),
        (commas("sell", strategy_info={"market_position": "flat"}), ("CLOSE", "MARKET")),
    ],
)
def test_3commas(body, expected):
    found = one("3commas", body)
    assert shown(found, "action", "signal_type") == expected
    assert shown(found, "symbol", "entry_price", "timestamp") == (
        *("BINANCE:BTCUSDT", "64250.1", "2026-01-02T03:04:05+00:00"),
    )


def test_3commas_counts_what_is_ordered_in_the_base_currency_only():
    order = {"amount": "0.5", "currency_type": "base"}
    assert shown(one("3commas", commas("buy", order=order)), "volume") == ("0.5",)
    assert shown(one("3commas", commas("buy", order=order | {"currency_type": "quote"})), "volume") == (None,)


BRACKET = {"takeProfit": {"percent": 10}, "stopLoss": {"type": "stop", "percent": 5}}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            {"action": "buy", "signalPrice": 143.12, **BRACKET},
            ("BUY", "MARKET", "143.12", "135.964", "157.432"),
        ),
        (
            {"action": "sell", "signalPrice": "143.12", **BRACKET},
            ("SELL", "MARKET", "143.12", "150.276", "128.808"),
        ),
        (
            {"action": "buy", "signalPrice": 100, "takeProfit": {"amount": 7}, "stopLoss": {"amount": "2.5"}},
            ("BUY", "MARKET", "100", "97.5", "107"),
        ),
        ({"action": "buy", **BRACKET}, ("BUY", "MARKET", None, None, None)),
        ({"action": "buy", "price": 143, **BRACKET}, ("BUY", "MARKET", "143", None, None)),
        (
            {
                "action": "buy",
                "orderType": "limit",
                "limitPrice": 140,
                "takeProfit": {"limitPrice": 150},
                "stopLoss": {"stopPrice": 130},
            },
            ("BUY", "LIMIT", "140", "130", "150"),
        ),
        ({"action": "sell", "orderType": "stop", "stopPrice": 140}, ("SELL", "STOP", "140", None, None)),
        ({"action": "exit"}, ("CLOSE", "MARKET", None, None, None)),
        ({"action": "sell", "sentiment": "flat"}, ("CLOSE", "MARKET", None, None, None)),
        ({"action": "buy", "sentiment": "bullish"}, ("BUY", "MARKET", None, None, None)),
        ({"action": "add", "sentiment": "short"}, ("SELL", "MARKET", None, None, None)),
        ({"action": "cancel"}, ("HOLD", "TRADE", None, None, None)),
    ],
)
def test_traderspost_counts_distances_from_the_signals_price(body, expected):
    found = one("traderspost", {"ticker": "AMD", **body})
    assert shown(found, "action", "signal_type", "entry_price", "stop_loss", "take_profit") == expected
    assert found["instrument"] == "AMD"


def test_traderspost_does_not_guess_the_side_of_an_addition():
    assert one("traderspost", {"ticker": "AMD", "action": "add"}) == "unmapped_value"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            "EXCHANGE=binance;SYMBOL=BTCUSDT;SIGNAL=BUY;PRICE=64000;ORDER_TYPE=LIMIT;STOP_PRICE=63000;"
            "TAKE_PROFIT_PRICE=70000",
            ("BUY", "LIMIT", "64000", "63000", "70000"),
        ),
        ("EXCHANGE=binance\nSYMBOL=BTCUSDT\nSIGNAL=SELL\n", ("SELL", "MARKET", None, None, None)),
        ({"EXCHANGE": "binance", "SYMBOL": "BTCUSDT", "SIGNAL": "buy"}, ("BUY", "MARKET", None, None, None)),
        ("SYMBOL=BTCUSDT;SIGNAL=SELL;ORDER_TYPE=STOP;STOP_PRICE=6e4", ("SELL", "STOP", "60000", None, None)),
        ("SYMBOL=BTCUSDT;SIGNAL=BUY;STOP_PRICE=-5%;VOLUME=10%", ("BUY", "MARKET", None, None, None)),
        ("SYMBOL=BTCUSDT;SIGNAL=SELL;REDUCE_ONLY=true", ("SELL", "TRADE", None, None, None)),
        ("SYMBOL=BTCUSDT;SIGNAL=CANCEL", ("HOLD", "TRADE", None, None, None)),
    ],
)
def test_octobot(body, expected):
    found = one("octobot", body)
    assert shown(found, "action", "signal_type", "entry_price", "stop_loss", "take_profit") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("60123456789,buy,EURUSD,sl=20,tp=40,risk=1", [("BUY", "MARKET")]),
        ("60123456789, bull, EURUSD, risk=1", [("BUY", "MARKET")]),
        ("60123456789,SHORT,EURUSD", [("SELL", "MARKET")]),
        ("60123456789,buylimit,EURUSD,price=10", [("BUY", "LIMIT")]),
        ("60123456789,sellstop,EURUSD,price=10", [("SELL", "STOP")]),
        ("60123456789,closelong,EURUSD", [("CLOSE", "MARKET")]),
        ("60123456789,closeshort,EURUSD", [("CLOSE", "MARKET")]),
        ("60123456789,closelongbuy,EURUSD", [("CLOSE", "MARKET"), ("BUY", "MARKET")]),
        ("60123456789,closeshortsell,EURUSD", [("CLOSE", "MARKET"), ("SELL", "MARKET")]),
        ("60123456789,cancellong,EURUSD", [("HOLD", "TRADE")]),
        ("60123456789,newsltpshort,EURUSD,sl=20", [("HOLD", "TRADE")]),
        ("60123456789,eaoff,eaoff", [("HOLD", "TRADE")]),
    ],
)
def test_pineconnector_takes_targets_for_no_prices(text, expected):
    found = become("pineconnector", text)
    assert [shown(each, "action", "signal_type") for each in found] == expected
    assert all(shown(each, "entry_price", "stop_loss", "take_profit") == (None,) * 3 for each in found)
    assert len({each["signal_id"] for each in found}) == len(found)


def test_pineconnector_takes_targets_for_prices_where_the_source_says_so():
    mapping = presets()["pineconnector"].mapping.replace('targets = "pips"', 'targets = "price"')
    text = '60123456789,buylimit,EURUSD,price=1.08,sl=1.07,tp=1.09,comment="a, b"'
    found = one("pineconnector", text, mapping=mapping)
    assert shown(found, "entry_price", "stop_loss", "take_profit") == ("1.08", "1.07", "1.09")


@pytest.mark.parametrize("text", ["60123456789,teleport,EURUSD", "60123456789", "buy EURUSD", "a,b,c\nd,e,f"])
def test_pineconnector_guesses_nothing(text):
    assert one("pineconnector", text) in {"unmapped_value", "unreadable"}


def post(text, update_id=1, **fields):
    return {"update_id": update_id, "channel_post": message(text, **fields)}


def edit(text, update_id=2):
    return {"update_id": update_id, "edited_channel_post": message(text, edit_date=1767326000)}


def message(text, **fields):
    chat = {"id": -1001234567890, "title": "Signals", "username": "signals", "type": "channel"}
    return {"message_id": 42, "date": 1767323045, "chat": chat, "text": text} | fields


def test_a_telegram_post_is_a_call_and_its_edits_amend_or_close_it():
    opened = one("telegram", post("BUY BTCUSDT @ 64250\nSL 63000\nTP 66000"))
    names = ("action", "symbol", "entry_price", "stop_loss", "take_profit", "timestamp")
    at = "2026-01-02T03:04:05+00:00"
    assert shown(opened, *names) == ("BUY", "BTCUSDT", "64250", "63000", "66000", at)
    amended = one("telegram", edit("BUY BTCUSDT @ 64250\nSL 64000\nTP 66000"))
    assert shown(amended, "action", "stop_loss", "timestamp") == ("BUY", "64000", "2026-01-02T03:53:20+00:00")
    closed = one("telegram", edit("CLOSE BTCUSDT", 3))
    assert amended["refers_to"] == closed["refers_to"] == opened["signal_id"] == "src:-1001234567890:42"
    assert len({each["signal_id"] for each in (opened, amended, closed)}) == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Long #ETHUSDT Entry: 3000.5 Stop loss: 2900 Target: 3200",
            ("BUY", "ETHUSDT", "3000.5", "2900", "3200"),
        ),
        ("SHORT $BTC at 64250", ("SELL", "BTC", "64250", None, None)),
        ("sell EUR/USD", ("SELL", "EUR/USD", None, None, None)),
        ("exit BTCUSDT", ("CLOSE", "BTCUSDT", None, None, None)),
    ],
)
def test_telegram_posts_in_usual_spellings(text, expected):
    for given in (text, f"  {text}\n"):
        found = one("telegram", post(given))
        assert shown(found, "action", "symbol", "entry_price", "stop_loss", "take_profit") == expected
    caption = post(None, caption=text)
    assert shown(one("telegram", caption), "action", "symbol") == expected[:2]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (post("We think BUY BTCUSDT is a good idea"), "no_match"),
        (post("BUY BTCUSDT @ 64250 SL 63000 TP1 66000 TP2 67000"), "no_match"),
        (post("TP hit, congratulations!"), "no_match"),
        (post(None, photo=[]), "missing_field"),
        ({"update_id": 1, "message": message("BUY BTCUSDT")}, "missing_field"),
    ],
)
def test_a_telegram_post_that_does_not_match_is_never_guessed_at(body, code):
    assert one("telegram", body) == code


def test_a_pattern_of_one_telegram_channel_is_for_that_channel_only():
    mapping = presets()["telegram"].mapping
    begin, end = mapping.index("[[patterns]]"), mapping.index("[secrets]")
    own = r"""[[patterns]]
channel = "@signals"
pattern = 'Go (?P<action>long|short) (?P<symbol>\S+)!'

"""
    mapping = mapping[:begin] + own + mapping[end:]
    assert shown(one("telegram", post("Go long BTCUSDT!"), mapping=mapping), "action") == ("BUY",)
    elsewhere = post("Go long BTCUSDT!", chat={"id": -100, "type": "channel"})
    assert one("telegram", elsewhere, mapping=mapping) == "no_match"
    by_id = mapping.replace("@signals", "-100")
    assert shown(one("telegram", elsewhere, mapping=by_id), "action") == ("BUY",)


def test_unified_signals_are_taken_as_they_are_and_completed():
    body = b'{"signal_id": "s-1", "ecosystem": "forex", "timestamp": "2026-01-02T03:04:05Z", '
    body += b'"symbol": "EURUSD", "action": "BUY", "entry_price": 1.0800000000000000000000001, "b": 2}'
    found = one("unified", body)
    assert shown(found, "signal_id", "ecosystem", "entry_price") == (
        "s-1",
        "forex",
        "1.0800000000000000000000001",
    )
    added = one("unified", {"symbol": "BTCUSDT", "action": "BUY", "ecosystem": "crypto", "tags": ["a"]})
    assert added["signal_id"].startswith("src:")
    assert (added["agent_source"], added["tags"]) == ("scout", ("a",))
    empty = one(
        "unified",
        {"symbol": "BTCUSDT", "action": "BUY", "ecosystem": "", "agent_source": "", "signal_id": ""},
        ecosystem="crypto",
    )
    assert (empty["ecosystem"], empty["agent_source"], empty["signal_id"][:4]) == ("crypto", "scout", "src:")
    assert one("unified", {"symbol": "BTCUSDT", "action": "BUY"}) == "missing_field"
    assert one("unified", {"symbol": "A", "action": "BUY", "ecosystem": "stock"}, ecosystem="crypto") == (
        "other_ecosystem"
    )


def test_an_array_is_several_signals_and_its_bad_ones_harm_no_others():
    body = [tradingview(action="buy"), 1, tradingview(), tradingview(action="sell"), {}]
    found = become("tradingview", body)
    assert [each if isinstance(each, str) else each["action"] for each in found] == [
        *("BUY", "not_an_object", "missing_field", "SELL", "missing_field"),
    ]


def test_every_preset_has_a_mapping_that_works_and_says_what_to_do():
    assert {"tradingview", "freqtrade", "3commas", "traderspost", "octobot", "pineconnector", "telegram"} | {
        "unified",
        "custom",
    } <= set(presets())
    for preset in presets().values():
        assert preset.title
        assert preset.steps
        become(preset.name, "{}")

"""Mappings that operators write, and secrets that are taken out of bodies."""

import json
import time

import pytest

from aggregator.ingest.source_preview import preview
from aggregator.models import Source
from aggregator.sources.bodies import MAX_FORM_FIELDS
from aggregator.sources.mapping import InvalidMapping, compile_mapping
from aggregator.sources.presets import presets
from aggregator.sources.translation import translate

FIELDS = """
[fields]
symbol = "pair"
action = { from = "side", values = { buy = "BUY", long = "BUY", flat = "CLOSE" }, default = "HOLD" }
"""
TELEGRAM_TOKEN = "7104512345:AAFq1b2c3d4e5f6g7h8i9j0kAbCdEfGhIjK"


def become(mapping, body, preset="custom"):
    source = Source(name="src", preset=preset, ecosystem="crypto", agent="scout", mapping=mapping)
    return [
        each.refusal.code if each.refusal else each.fields()
        for each in preview(source, body if isinstance(body, bytes) else body.encode())
    ]


def stored(preset, body, mapping=""):
    """Return all bytes that would be stored of a body: of dead letters and of signals."""
    source = Source(name="src", preset=preset, ecosystem="crypto", agent="scout", mapping=mapping)
    translated = translate(source, body)
    assert translated
    return b"".join(each.raw + repr(each.fields).encode() for each in translated)


@pytest.mark.parametrize(
    ("side", "action"),
    [('"long"', "BUY"), ('"LONG "', "BUY"), ('"flat"', "CLOSE"), ("null", "HOLD"), ('""', "HOLD")],
)
def test_values_stand_for_others_in_any_case_and_a_default_for_none(side, action):
    [found] = become(FIELDS, f'{{"pair": "BTCUSDT", "side": {side}}}')
    assert found["action"] == action


def test_a_mapping_may_be_json():
    mapping = {"fields": {"symbol": "pair", "action": {"from": "side", "values": {"buy": "BUY"}}}}
    [found] = become(json.dumps(mapping), '{"pair": "BTCUSDT", "side": "buy"}')
    assert found["action"] == "BUY"


@pytest.mark.parametrize(
    ("parsers", "extra", "body"),
    [
        ("json", "", '\ufeff{"pair": "BTCUSDT", "side": "buy"}'),
        ("form", "", "pair=BTCUSDT&side=buy"),
        ("pairs", "", "pair = BTCUSDT;\nside = buy\n"),
        ("csv", 'columns = ["pair", "side"]', "BTCUSDT, buy"),
        ("csv", 'columns = ["pair"]', '"BTCUSDT",side=buy,note="a, b"'),
        ("regex", r"patterns = ['(?i)(?P<side>buy)\s+(?P<pair>\w+)']", "Buy BTCUSDT"),
    ],
)
def test_every_parser_reads_its_form(parsers, extra, body):
    [found] = become(f'parsers = ["{parsers}"]\n{extra}\n{FIELDS}', body)
    assert (found["symbol"], found["action"]) == ("BTCUSDT", "BUY")


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("1767323045", "2026-01-02T03:04:05+00:00"),
        ("1767323045.123456", "2026-01-02T03:04:05.123456+00:00"),
        ("1767323045123", "2026-01-02T03:04:05.123000+00:00"),
        ("1767323045123456789", "2026-01-02T03:04:05.123456+00:00"),
        ('"1767323045"', "2026-01-02T03:04:05+00:00"),
        ('"2026-01-02 03:04:05.5+01:00"', "2026-01-02T02:04:05.500000+00:00"),
    ],
)
def test_times_may_be_epochs_of_any_unit(moment, expected):
    body = f'{{"pair": "BTCUSDT", "side": "buy", "at": {moment}}}'
    [found] = become(FIELDS + '\ntimestamp = "at"', body)
    assert found["timestamp"] == expected


def test_a_value_may_be_the_whole_document():
    mapping = """
let.all = "@"
[fields]
symbol = "all.pair"
action.default = "BUY"
signal_id = "all"
"""
    assert become(mapping, '{"pair": "BTCUSDT"}') == ["wrong_type"]


def test_expressions_calculate_exactly():
    fields = """
[let]
distance = "multiply(price, multiply(percent, `0.01`))"
[fields]
symbol = "pair"
action.default = "BUY"
entry_price = "price"
stop_loss = "subtract(price, distance)"
take_profit = "max([add(price, distance), price])"
volume = "to_number('0.1')"
"""
    [found] = become(fields, '{"pair": "BTCUSDT", "price": 0.1, "percent": 3}')
    assert [str(found[name]) for name in ("stop_loss", "take_profit", "volume")] == ["0.097", "0.103", "0.1"]


@pytest.mark.parametrize(
    ("expression", "price"),
    [
        ("sum([price, `0.5`])", "2"),
        ("avg([price, `0.1`])", "0.8"),
        ("sum([avg(lots), price])", "3"),
        ("price == `1.5` && price", "1.5"),
        ("levels[?@ > `1.4`] | [0]", "1.5"),
        ("type(price) == 'number' && price", "1.5"),
        ("sort_by(targets, &at)[0].at", "1.25"),
        ("max_by(targets, &at).at", "2.75"),
        ("levels[::0]", None),
        ("floor(price)", "1"),
        ("ceil(levels[0])", "2"),
        ("sum(lots)", "3"),
    ],
)
def test_every_function_takes_exact_numbers(expression, price):
    body = (
        '{"pair": "BTCUSDT", "price": 1.5, "lots": [1, 2], "levels": [1.1, 1.5], '
        '"targets": [{"at": 2.75}, {"at": 1.25}]}'
    )
    fields = f'{FIELDS}\nentry_price = "{expression}"'
    [found] = become(fields, body)
    assert found.get("entry_price") == price


def test_one_body_may_become_several_signals_or_none():
    mapping = f"skip = \"kind == 'ping'\"\neach = \"[merge(@, {{side: 'flat'}}), @]\"\n{FIELDS}"
    found = become(mapping, '{"pair": "BTCUSDT", "side": "buy"}')
    assert [each["action"] for each in found] == ["CLOSE", "BUY"]
    assert found[0]["signal_id"] != found[1]["signal_id"]
    assert become(mapping, '{"kind": "ping"}') == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("symbol = ", "neither TOML nor JSON"),
        ('{"fields": ', "neither TOML nor JSON"),
        ('parsers = ["yaml"]', "parsers: no parser is called 'yaml'"),
        ('[fields]\nside = "a"', "fields.side: unknown"),
        ('[fields]\nsymbol = "a b"', "fields.symbol.from: not JMESPath"),
        ('[fields]\nsymbol = "shout(a)"', "fields.symbol.from: there is no function shout()"),
        ("[fields]\nsymbol = 7", "fields.symbol.from: a JMESPath expression, as text"),
        ("[fields.symbol]\nvalues = {}", "fields.symbol: has neither `from` nor `default`"),
        (f'[fields]\nsymbol = "{"(" * 900}"', "fields.symbol.from: not JMESPath"),
        (f'[fields]\nsymbol = "{"a" * 1001}"', "at most 1000 characters"),
        (r"patterns = ['(?P<a>']", "patterns: number 1: no regular expression of RE2"),
        (r"patterns = ['(?=a)']", "patterns: number 1: no regular expression of RE2"),
        ("patterns = ['((a{1000}){1000}){1000}']", "patterns: number 1: no regular expression of RE2"),
        ('parsers = ["regex"]', "parsers: regex needs patterns"),
        ("secrets.patterns = ['(']", "secrets.patterns: no regular expression of RE2"),
        ("#" * 40_000, "at most 32768 characters"),
    ],
)
def test_a_mapping_that_cannot_be_used_says_what_is_wrong(text, words):
    with pytest.raises(InvalidMapping) as raised:
        compile_mapping(text)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_without_a_mapping_or_with_a_broken_one_everything_is_a_dead_letter():
    assert become("", '{"pair": "BTCUSDT"}') == ["no_mapping"]
    assert become("broken", '{"pair": "BTCUSDT"}') == ["no_mapping"]


NESTED = '{"a":' * 5000 + "1" + "}" * 5000
HOSTILE = [
    b"{" * 65_536,
    b"[" * 65_536,
    b'{"a":' * 10_000,
    NESTED.encode(),
    b"[" + b"{}," * 20_000 + b"{}]",
    b"&".join(b"a%d=1" % number for number in range(9000)),
    b"a=" * 32_000,
    b";" * 65_536,
    b"a" * 65_536,
    b'"' + b'\\"' * 32_000,
    b'{"secret":' + b" " * 65_000,
    b'secret="' * 8000,
    b" " * 65_536,
    b"\x00" * 65_536,
    b"\xff\xfe" + "buy BTCUSDT".encode("utf-16-le"),
    "sœur=é".encode("latin-1", "replace") + b"\xe9",
    b'{"pair": "\\ud800"}',
    b'{"pair": "\\u0000", "side": "buy"}',
    b'{"pair": 1e999999999999999999999, "side": "buy"}',
    b'{"pair": ' + b"9" * 60_000 + b"}",
    b'{"at": 1e400, "pair": "BTCUSDT", "side": "buy"}',
    b'{"pair": "=cmd|\' /C calc\'!A0", "side": "buy"}',
    b'{"pair": {"a": 1}, "side": ["buy"]}',
    b'{"pair": NaN}',
    b"order buy @ " + b"1" * 65_000,
    b"60123456789,buy," + b'"' * 60_000,
    b"null",
    b"1",
]


@pytest.mark.parametrize("preset", [*presets(), "backtracking"])
def test_no_body_hangs_or_breaks_a_mapping(preset):
    mapping = ""
    if preset == "backtracking":
        mapping = (
            "parsers = ['json', 'pairs', 'regex']\npatterns = ['(a+)+$', '(a|a)*b', '((.*)*)*x']\n" + FIELDS
        )
        preset = "custom"
    started = time.process_time()
    for body in HOSTILE:
        for found in become(mapping, body, preset):
            assert isinstance(found, str | dict)
    assert time.process_time() - started < 5, "all of them together take a tenth of a second"


@pytest.mark.parametrize("expression", ["sum(levels)", "floor(levels[0])", "ceil(levels[0])", "avg(levels)"])
@pytest.mark.parametrize("number", ["9" * 4300, "1e9999", "1e999999"])
def test_no_number_hangs_or_breaks_a_function(expression, number):
    fields = f'[fields]\nsymbol = "{expression}"\naction.default = "BUY"\nentry_price = "{expression}"'
    started = time.process_time()
    [found] = become(fields, f'{{"levels": [{number}, {number}]}}')
    assert found in {"out_of_range", "missing_field", "invalid_value"}
    assert time.process_time() - started < 1


def test_a_form_of_too_many_fields_is_refused():
    form = "&".join(f"a{number}=1" for number in range(MAX_FORM_FIELDS + 1))
    assert become(FIELDS, form) == ["too_many_fields"]


def test_deep_json_is_refused_as_a_whole_body():
    assert become(FIELDS, '{"a":' * 40 + "1" + "}" * 40) == ["json_too_deep"]
    assert become(FIELDS, NESTED) == ["json_too_deep"]


@pytest.mark.parametrize(
    ("preset", "body"),
    [
        ("3commas", '{"secret": "CANARY", "action": "enter_long", "tv_instrument": "BTCUSDT"}'),
        ("3commas", '{"s\\u0065cret": "CANARY", "action": "enter_long"}'),
        ("3commas", '{"a": [{"SECRET": {"deep": ["CANARY"]}}]}'),
        ("3commas", '{"secret": "CANARY", "action": "enter_long"'),
        ("3commas", '{"note": "it"s broken", "secret": "a,b;CANARY", "x": 1}'),
        ("3commas", "{'secret': 'CANARY', 'action': 'enter_long'}"),
        ("3commas", "secret=CANARY&action=enter_long"),
        ("3commas", '[{"action": "x"}, {"secret": "CANARY"}]'),
        ("3commas", '\ufeff{"secret": "\\"CANARY"}'),
        ("pineconnector", "CANARY,buy,EURUSD"),
        ("pineconnector", " CANARY , buy, EURUSD"),
        ("pineconnector", "CANARY"),
        ("pineconnector", "CANARY,nonsense,,,\nCANARY,buy,EURUSD"),
        ("pineconnector", '"CANARY",buy,EURUSD'),
        ("octobot", "EXCHANGE=binance;TOKEN=CANARY;SYMBOL=BTCUSDT;SIGNAL=BUY"),
        ("octobot", "SYMBOL=BTCUSDT\nTOKEN=CANARY and more CANARY\nnonsense"),
        *(
            ("octobot", f"SYMBOL=BTCUSDT{end}TOKEN=x{mark}CANARY{end}SIGNAL=BUY")
            for end in (";", "\n", "\r\n")
            for mark in "&,} "
        ),
        ("tradingview", "ticker=BTCUSDT&passphrase=x,}CANARY&action=buy"),
        ("tradingview", "ticker=BTCUSDT&alert[passphrase]=CANARY&alert%5Btoken%5d=CANARY"),
        ("tradingview", '{"passphrase": "CANARY", "ticker": "BTCUSDT", "action": "buy"}'),
        ("custom", '{"api_key": "CANARY"}'),
        ("tradingview", "https://hub.example.com/api/hooks/shs_CANARYCANARYCANARYCANARY"),
    ],
)
def test_a_producers_secret_is_stored_nowhere(preset, body):
    for given in (body.encode(), body.encode() + b"\xff"):
        assert b"CANARY" not in stored(preset, given)
        # An operator's mapping cannot forget the preset's secrets, and neither can a broken one.
        assert b"CANARY" not in stored(preset, given, FIELDS)
        assert b"CANARY" not in stored(preset, given, "broken")


@pytest.mark.parametrize(
    "body",
    ["TOKEN=a&b,c;SYMBOL=BTCUSDT;SIGNAL=BUY", "TOKEN=a&b\nSYMBOL=BTCUSDT\n", "TOKEN=a,b&SYMBOL=BTCUSDT\n"],
)
def test_what_stands_beside_a_secret_is_read(body):
    [found] = become(FIELDS.replace("pair", "SYMBOL"), body, "octobot")
    assert found["symbol"] == "BTCUSDT"


def test_the_token_of_a_telegram_bot_is_stored_nowhere():
    post = {
        "update_id": 1,
        "channel_post": {"message_id": 1, "date": 1, "chat": {}, "text": f"x {TELEGRAM_TOKEN}"},
    }
    assert TELEGRAM_TOKEN[11:].encode() not in stored("telegram", json.dumps(post).encode())


def test_what_is_no_secret_stays_byte_for_byte():
    body = b'{"secret" : "x", "price": 1.50, "note": "secret: none", "at": "\\u00e9"}'
    assert b'"price": 1.50, "note": "secret: none", "at": "\\u00e9"}' in stored("3commas", body)
    plain = b'{"price": 1.50,  "tv_instrument":"BTCUSDT"}'
    assert plain in stored("3commas", plain)

import json
import random
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecosystems import ECOSYSTEMS
from ecosystems.signal import RULES, Refusal, Signal, parse, split
from tests.ecosystems.bus.rules import BAD, FORBIDDEN, GOOD, LEAST, NO_SYMBOL, nested
from tests.ecosystems.examples import a_signal

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def parsed(**fields):
    """What is said of the smallest signal with these fields changed."""
    return parse(json.dumps(LEAST | fields).encode(), NOW)


def spelled(name, text):
    """What is said of the smallest signal whose field `name` is spelled like this in the JSON."""
    rest = ",".join(f'"{key}":{json.dumps(value)}' for key, value in LEAST.items() if key != name)
    return parse(f'{{{rest},"{name}":{text}}}'.encode(errors="surrogatepass"), NOW)


def test_the_required_fields_are_enough():
    assert parsed() == Signal(
        signal_id="s-1",
        ecosystem="crypto",
        timestamp=datetime(2026, 3, 1, 11, 59, tzinfo=UTC),
        symbol="BTC/USDT",
        action="BUY",
        signal_type="MARKET",
        entry_price=None,
        stop_loss=None,
        take_profit=None,
        volume=None,
        confidence=None,
        agent_source="",
        tags=(),
        raw_payload={},
        refers_to=None,
    )


OPTIONAL = [name for name in RULES if name not in LEAST]


def test_null_is_an_optional_fields_default():
    assert parsed(**dict.fromkeys(OPTIONAL)) == parsed()
    extra = parsed(raw_payload=None, leverage=2)
    assert extra.raw_payload == {"extra": {"leverage": 2}}


# Of signals as they were before `refers_to` was in the schema, by the code of then.
@pytest.mark.parametrize(
    ("text", "digest"),
    [
        (
            """{"signal_id":"s-1","ecosystem":"crypto","timestamp":"2026-03-01T11:59:00Z",
            "symbol":"BTC/USDT","action":"BUY"}""",
            "cb330b7ca7431fc5eedd45eb8a0c0c5b367000193e9fc2b5d54e009e365bdf17",
        ),
        (
            """{"signal_id":"s-2","ecosystem":"forex","timestamp":"2026-01-02T03:04:05.678901+02:00",
            "symbol":"EUR_USD","action":"sell","signal_type":"LIMIT","entry_price":"1.072190","stop_loss":1.08,
            "take_profit":"1e-18","volume":0,"confidence":0.75,"agent_source":"scout ü","tags":["1h","ema"],
            "raw_payload":{"b":[1,2.5,null,{"z":"é"}],"a":true}}""",
            "0b282ff9986552ed7a3ce8e51e821d631477988ae82de7f60c625a00318b887e",
        ),
        (
            """{"signal_id":"s-1","ecosystem":"crypto","timestamp":"2026-03-01T11:59:00Z","symbol":"BTC/USDT",
            "action":"hold","signal_type":"ANALYTICS","entry_price":64000.12345678901,"confidence":1,
            "leverage":3}""",
            "04ee7eadc4382c39f80612969f230d21ab83d1d2e6f8f980dbd3d6d0d21b309c",
        ),
    ],
)
def test_the_digest_of_a_signal_that_refers_to_nothing_never_changes(text, digest):
    assert parse(text.encode(), NOW).digest().hex() == digest
    nothing = parse(text.replace('"action"', '"refers_to":null,"action"').encode(), NOW)
    assert nothing.digest().hex() == digest


@pytest.mark.parametrize("name", LEAST)
def test_each_required_field_is_missed(name):
    fields = {key: value for key, value in LEAST.items() if key != name}
    refusal = parse(json.dumps(fields).encode(), NOW)
    assert (refusal.code, refusal.field) == ("missing_field", name)


@pytest.mark.parametrize(("name", "value"), GOOD)
def test_what_a_field_may_hold_is_kept(name, value):
    kept = getattr(parsed(**{name: value}), name)
    assert (list(kept) if name == "tags" else kept) == value


@pytest.mark.parametrize(("name", "value", "code"), BAD)
def test_what_it_may_not_is_refused_with_its_name(name, value, code):
    refusal = parsed(**{name: value})
    assert (refusal.code, refusal.field) == (code, name)
    assert refusal.detail == f"{name} must be {RULES[name]}"


@pytest.mark.parametrize("text", ["buy", "Buy", "SELL", "hold", "close", "CLOSE"])
def test_an_action_is_kept_in_capitals(text):
    assert parsed(action=text).action == text.upper()
    assert parsed(action=text).digest() == parsed(action=text.upper()).digest()


@pytest.mark.parametrize("text", ["market", "Limit", "STOP", "analytics", "tradE"])
def test_so_is_a_signal_type(text):
    assert parsed(signal_type=text) == parsed(signal_type=text.upper())


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-02T03:04:05", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.678901", datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)),
        ("2026-01-02T03:04:05.678901999Z", datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)),
        ("2026-01-02t03:04:05z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02 03:04:05+02:00", datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05-23:59", datetime(2026, 1, 3, 3, 3, 5, tzinfo=UTC)),
        ("2000-01-01T00:00:00Z", datetime(2000, 1, 1, tzinfo=UTC)),
        ("2024-02-29T00:00:00Z", datetime(2024, 2, 29, tzinfo=UTC)),
        ("2026-03-01T12:05:00Z", NOW + timedelta(minutes=5)),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
        ("2015-07-01T01:59:60.5+02:00", datetime(2015, 7, 1, 0, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-01-02T03:04Z", datetime(2026, 1, 2, 3, 4, tzinfo=UTC)),
        ("2026-01-02 03:04", datetime(2026, 1, 2, 3, 4, tzinfo=UTC)),
        ("2026-01-02T03:04+02", datetime(2026, 1, 2, 1, 4, tzinfo=UTC)),
        ("2026-01-02T03:04:05+0000", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.25-0530", datetime(2026, 1, 2, 8, 34, 5, 250_000, tzinfo=UTC)),
        ("2026-01-02T03:04:05+02", datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)),
    ],
)
def test_a_timestamp_is_a_moment_in_utc(text, moment):
    timestamp = parsed(timestamp=text).timestamp
    assert timestamp == moment
    assert timestamp.tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("1999-12-31T23:59:59.999999Z", "out_of_range"),
        ("2000-01-01T00:00:00+00:01", "out_of_range"),
        ("2026-03-01T12:05:00.000001Z", "out_of_range"),
        ("9999-12-31T23:59:59-01:00", "invalid_value"),
        ("2026-02-29T00:00:00Z", "invalid_value"),
        ("2026-01-02", "invalid_value"),
        ("2026-01-02T03Z", "invalid_value"),
        ("2026-01-02T0304Z", "invalid_value"),
        ("2026-01-02T03:04:Z", "invalid_value"),
        ("2026-01-02T03:04.5Z", "invalid_value"),
        ("2026-01-02T03:60Z", "invalid_value"),
        ("2026-01-02T03:04:05+2", "invalid_value"),
        ("2026-01-02T03:04:05+02:0", "invalid_value"),
        ("2026-01-02T03:04:05+2400", "invalid_value"),
        ("2026-01-02T03:04:05 +0200", "invalid_value"),
        ("20260102T030405Z", "invalid_value"),
        ("2026-W01-1T00:00:00Z", "invalid_value"),
        ("2026-01-02T03:04:05,5Z", "invalid_value"),
        ("2026-01-02T24:00:01Z", "invalid_value"),
        ("2026-01-02T24:00:00Z", "invalid_value"),
        ("2026-01-02T03:04:05+01:60", "invalid_value"),
        ("2026-01-02T03:04:05+24:00", "invalid_value"),
        ("2026-01-02T23:59:60Z", "invalid_value"),
        ("2016-12-31T23:59:60+01:00", "invalid_value"),
        ("2016-12-31T23:59:61Z", "invalid_value"),
        ("9999-12-31T23:59:60Z", "invalid_value"),
        ("1999-12-31T22:59:60-00:59", "invalid_value"),
        ("2026-01-02T03:04:05Z\n", "invalid_value"),
        ("٢٠٢٦-01-02T03:04:05Z", "invalid_value"),
        ("now", "invalid_value"),
        ("", "invalid_value"),
        (1767323045, "wrong_type"),
        (None, "wrong_type"),
    ],
)
def test_no_other_timestamp_is(text, code):
    refusal = parsed(timestamp=text)
    assert (refusal.code, refusal.field) == (code, "timestamp")


PRICES = ["entry_price", "stop_loss", "take_profit", "volume"]


@pytest.mark.parametrize("name", PRICES)
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("null", None),
        ("1", "1"),
        ("64000.123456789012345678", "64000.123456789012345678"),
        ("0.1", "0.1"),
        ("0.000000000000000001", "1e-18"),
        ("1E-18", "1e-18"),
        ("1.1610000500000001e-05", "0.000011610000500000001"),
        (f"999999999999999999.{'9' * 40}", f"999999999999999999.{'9' * 40}"),
        (f'"999999999999999999.{"9" * 40}"', f"999999999999999999.{'9' * 40}"),
        ("1e-40", "1e-40"),
        (f"0.5{'0' * 60}", "0.5"),
        ("9.99e17", "999000000000000000"),
        ('"1.50"', "1.5"),
        ('"1e2"', "100"),
        ('"0012.0"', "12"),
    ],
)
def test_a_price_is_kept_exactly(name, text, value):
    kept = getattr(spelled(name, text), name)
    assert kept == (value and Decimal(value))
    assert str(kept) == str(getattr(spelled(name, json.dumps(value)), name))


@pytest.mark.parametrize("name", PRICES)
@pytest.mark.parametrize(
    "text",
    [
        *("-1", "-0.5", "1e18", "1000000000000000000", f"0.{'1' * 41}", "1e-41"),
        *('"-1"', '"1e18"', '"1e-41"', '"NaN"', '"Infinity"', '"1,5"', '" 1"', '"+1"', '"1_0"', '"٣"', '""'),
        *("true", "[]", "{}", '"0x1"', '"1."', '".5"', f'"{"1" * 65}"', "1" * 400),
    ],
)
def test_no_other_price_is(name, text):
    refusal = spelled(name, text)
    assert isinstance(refusal, Refusal)
    assert refusal.field == name


@pytest.mark.parametrize("text", ["0", "0.0", '"0"', '"0.000"', "-0", "-0.0", "0e5"])
def test_a_price_of_zero_is_none_and_a_volume_may_be_zero(text):
    assert str(spelled("volume", text).volume) == "0"
    for name in ("entry_price", "stop_loss", "take_profit"):
        assert getattr(spelled(name, text), name) is None
        assert spelled(name, text).digest() == parsed().digest()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.0000000000000002", 1),
        ("1.000000001", 1),
        ("-1e-9", 0),
        ("-2.220446049250313e-16", 0),
        ("0.3", 0.3),
    ],
)
def test_noise_around_a_confidence_is_rounded_off(text, value):
    assert spelled("confidence", text).confidence == value
    assert spelled("confidence", text).digest() == parsed(confidence=value).digest()


@pytest.mark.parametrize("text", ["1.00000001", "-0.00000001", "2", "-1", "1e300"])
def test_no_more_than_noise_is(text):
    assert spelled("confidence", text).code == "invalid_value"


@pytest.mark.parametrize("name", [*PRICES, "confidence", "raw_payload", "unknown"])
@pytest.mark.parametrize(
    "text", ["NaN", "Infinity", "-Infinity", "1e", "01", "1e99999", "1e-99999", "1" * 5000]
)
def test_what_is_no_number_in_json_or_far_beyond_any_is_refused_everywhere(name, text):
    value = f'{{"x":[{text}]}}' if name == "raw_payload" else text
    refusal = spelled(name, value)
    assert isinstance(refusal, Refusal) or (name, text, refusal.confidence) == ("confidence", "1e-99999", 0.0)


@pytest.mark.parametrize("name", PRICES)
@pytest.mark.parametrize("text", ["1e500", "1E-500", '"1e500"', "1e99999999999999999999", "-1e500"])
def test_a_price_beyond_all_bounds_is_refused_by_its_name(name, text):
    refusal = spelled(name, text)
    assert (refusal.code, refusal.field, refusal.signal_id) == ("out_of_range", name, LEAST["signal_id"])
    assert refusal.detail == f"{name} must be {RULES[name]}"


def test_an_exponent_beyond_all_bounds_is_refused():
    for name in ("entry_price", "unknown"):
        assert spelled(name, "1e99999999999999999999").code == "out_of_range"
        assert spelled(name, "1e-99999999999999999999").code == "out_of_range"


@pytest.mark.parametrize("escaped", [True, False])
def test_no_text_but_the_payloads_holds_a_control_invisible_or_bidirectional_character(escaped):
    for character in ["\0", *FORBIDDEN]:
        for name, value in {"agent_source": character, "tags": ["fine", f"a{character}"]}.items():
            refusal = spelled(name, json.dumps(value, ensure_ascii=escaped))
            if character < " " and not escaped and isinstance(refusal, Refusal):
                continue  # JSON itself has no such character
            assert (refusal.code, refusal.field) == ("forbidden_character", name), repr(character)
        for name, value in {"raw_payload": {character: [f"{character}b"]}, "unknown": {character: 1}}.items():
            kept = spelled(name, json.dumps(value, ensure_ascii=escaped))
            if character == "\0":
                assert (kept.code, kept.field) == ("forbidden_character", "raw_payload")
            else:
                assert kept.raw_payload == (value if name == "raw_payload" else {"extra": {name: value}})


@pytest.mark.parametrize("half", [r"\ud800", r"\udc00", r"\udc00\ud800", r"\ud83d x"])
def test_half_a_surrogate_pair_is_refused(half):
    for name, text in (
        ("agent_source", f'"{half}"'),
        ("raw_payload", f'{{"{half}":1}}'),
        ("other", f'"{half}"'),
    ):
        assert spelled(name, text).code == "forbidden_character"
    assert spelled("agent_source", r'"\ud83d\ude00"').agent_source == "😀"


def test_a_payload_has_at_most_64_kib():
    empty = len('{"x":""}')
    assert len(parsed(raw_payload={"x": "y" * (65_536 - empty)}).payload_json()) == 65_536
    assert parsed(raw_payload={"x": "y" * (65_537 - empty)}).code == "too_large"
    two_bytes = (65_536 - empty) // 2
    assert isinstance(parsed(raw_payload={"x": "é" * two_bytes}), Signal)
    assert parsed(raw_payload={"x": "é" * (two_bytes + 1)}).code == "too_large"
    assert parsed(unknown="y" * 65_536).code == "too_large"


def test_white_space_does_not_count_for_a_payloads_size():
    assert isinstance(spelled("raw_payload", '{"x":' + " " * 70_000 + "1}"), Signal)


@pytest.mark.parametrize("kind", [list, dict])
def test_a_payload_has_at_most_32_levels(kind):
    assert isinstance(parsed(raw_payload=nested(32, kind)), Signal)
    assert parsed(raw_payload=nested(33, kind)).code == "too_deep"
    assert parsed(unknown=nested(31, kind)).code == "too_deep"
    assert spelled("raw_payload", '{"x":' * 50_000 + "1" + "}" * 50_000).code == "json_too_deep"


def test_many_brackets_are_not_deep():
    assert isinstance(parsed(raw_payload={"x": [{} for _ in range(100)], "y": "[" * 100}), Signal)


def test_unknown_keys_are_kept_as_extra():
    signal = parsed(leverage=2.5, confidence=0.5, raw_payload={"a": 1, "extra": {"b": 2}})
    assert signal.raw_payload == {"a": 1, "extra": {"b": 2, "leverage": Decimal("2.5")}}
    assert signal.confidence == 0.5
    assert parse(signal.to_json(), NOW) == signal


@pytest.mark.parametrize("extra", [5, "text", {"leverage": 3}])
def test_unknown_keys_never_overwrite(extra):
    assert parsed(leverage=2, raw_payload={"extra": extra}).code == "extra_taken"
    assert parsed(raw_payload={"extra": extra}).raw_payload == {"extra": extra}


@pytest.mark.parametrize(
    ("data", "code"),
    [
        *(
            (data, "not_json")
            for data in (b"", b" ", b"{", b"{}x", b"{'a':1}", b'{"a":1,}', b"\xef\xbb\xbf{}")
        ),
        *(
            (data, "not_utf8")
            for data in (b"\xff", b'{"agent_source":"\xc3"}', b'{"agent_source":"\xed\xa0\x80"}')
        ),
        *((data, "not_an_object") for data in (b"null", b"[]", b"[{}]", b"5", b'"x"', b"true")),
        (b"{}", "missing_field"),
        (b"[" * 100_000, "json_too_deep"),
    ],
)
def test_bytes_that_are_no_signal_at_all_are_refused(data, code):
    assert parse(data, NOW).code == code


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        (b' {"a": 1} ', [b' {"a": 1} ']),
        (b"{ no json", [b"{ no json"]),
        (b"[]", []),
        (b' [1, {"a":\t[2]},"]"]\n', [b"1", b'{"a":\t[2]}', b'"]"']),
        (rb'[{"a":"\ud800"},{"b":1}]', [rb'{"a":"\ud800"}', b'{"b":1}']),
        (b"[" + b"1" * 5000 + b",2]", [b"1" * 5000, b"2"]),
    ],
)
def test_a_body_is_split_into_what_was_sent(body, parts):
    assert split(body) == parts


@pytest.mark.parametrize(
    ("body", "code"),
    [
        *(
            (body, "not_json")
            for body in (b"[1,]", b"[1 2]", b"[1", b"[]x", rb'["\ud800",]', b"[NaN]", b"nul", b"")
        ),
        *((body, "not_object_or_array") for body in (b"5", b'"x"', b"null", rb'"\ud800"')),
        (b'["\xff"]', "not_utf8"),
        (b"[" * 100_000 + b"]" * 100_000, "json_too_deep"),
    ],
)
def test_a_body_that_is_no_json_to_look_into_is_refused_whole(body, code):
    assert split(body).code == code


def test_a_refusal_tells_whom_it_is_about_and_quotes_nothing():
    refusal = parsed(symbol="se  cret", agent_source="scout")
    assert (refusal.signal_id, refusal.ecosystem, refusal.agent_source) == ("s-1", "crypto", "scout")
    for name in LEAST:
        for value in ("se  cret", ["se  cret"], {"se  cret": 1}):
            assert "se  cret" not in parsed(**{name: value}).detail
    assert parsed(signal_id="se  cret").signal_id is None
    assert parsed(ecosystem="secret").ecosystem == ""
    assert parsed(agent_source="\u202esecret").agent_source == ""


text = st.text(st.characters(codec="utf-8"), max_size=8)
numbers = st.one_of(
    st.integers(),
    st.floats(),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.sampled_from(["1e400", "-0", "1e-400"]),
)
anything = st.recursive(
    st.none() | st.booleans() | numbers | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)


@given(st.binary())
def test_no_bytes_make_it_raise(data):
    assert isinstance(parse(data, NOW), Signal | Refusal)
    assert isinstance(split(data), list | Refusal)


@given(st.dictionaries(st.sampled_from([*RULES, "extra", "unknown"]), anything), st.integers(0), st.binary())
def test_no_json_and_no_damage_to_it_makes_it_raise(fields, at, damage):
    data = json.dumps(LEAST | fields).encode()
    at %= len(data)
    for version in (data, data[:at], data[:at] + damage + data[at:], b"[" + data + b"]"):
        verdict = parse(version, NOW)
        assert isinstance(verdict, Signal | Refusal)
        if isinstance(verdict, Signal):
            assert parse(verdict.to_json(), NOW) == verdict


safe = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Zl", "Zp"], exclude_characters=FORBIDDEN),
    max_size=20,
)
inside = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
words = st.characters(
    codec="utf-8", exclude_categories=["C", "Z"], exclude_characters=[*FORBIDDEN, *NO_SYMBOL]
)
symbols = st.lists(st.text(words, min_size=1, max_size=20), min_size=1, max_size=3).map(" ".join)
tokens = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=64)
prices = st.none() | st.decimals(Decimal("1e-40"), Decimal("9e17"), places=40)
payloads = st.dictionaries(
    inside,
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(10**40), 10**40)
        | st.floats(allow_nan=False, allow_infinity=False)
        | inside,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(inside, inner, max_size=3),
        max_leaves=6,
    ),
    max_size=4,
)
wire_signals = st.fixed_dictionaries(
    {
        "signal_id": tokens,
        "ecosystem": st.sampled_from(ECOSYSTEMS),
        "timestamp": st.datetimes(datetime(2000, 1, 2), datetime(2026, 2, 27), timezones=st.just(UTC)),  # noqa: DTZ001
        "symbol": symbols,
        "action": st.sampled_from(["BUY", "sell", "Hold", "close"]),
        "refers_to": st.none() | tokens,
        "signal_type": st.sampled_from([None, "market", "LIMIT", "Stop", "ANALYTICS", "TRADE"]),
        **dict.fromkeys(PRICES, prices),
        "confidence": st.none() | st.floats(0, 1),
        "agent_source": st.none() | safe,
        "tags": st.none() | st.lists(safe, max_size=5),
        "raw_payload": st.none() | payloads,
    }
)


@given(wire_signals)
def test_a_signal_survives_the_wire(fields):
    signal = parse(json.dumps(fields, default=str).encode(), NOW)
    assert isinstance(signal, Signal)
    for name in PRICES:
        assert getattr(signal, name) == fields[name]
    assert signal.timestamp == fields["timestamp"]
    assert signal.confidence == fields["confidence"]
    again = parse(signal.to_json(), NOW)
    assert again == signal
    assert again.digest() == signal.digest()


@given(wire_signals, st.randoms(use_true_random=False))
def test_spelling_does_not_change_the_digest(fields, chance: random.Random):
    plain = parse(json.dumps(fields, default=str).encode(), NOW)
    respelled = dict(chance.sample(sorted(fields.items()), len(fields)))
    respelled["timestamp"] = (
        fields["timestamp"].astimezone(timezone(timedelta(hours=chance.randint(-23, 23)))).isoformat()
    )
    respelled["action"] = chance.choice([str.upper, str.lower])(fields["action"])
    respelled["raw_payload"] = dict(reversed((fields["raw_payload"] or {}).items()))
    for name in PRICES:
        if fields[name] is not None:
            respelled[name] = f"00{fields[name]:f}"
    text = json.dumps(respelled, ensure_ascii=chance.choice([True, False]), indent=chance.choice([None, 2]))
    assert parse(text.encode(), NOW).digest() == plain.digest()


@pytest.mark.parametrize(
    ("one", "other"), [("1.50", "1.5"), ("1.5", '"1.5"'), ("2", "2.0"), ("100", "1e2"), ("0.001", "1E-3")]
)
def test_equal_numbers_have_one_digest(one, other):
    assert spelled("entry_price", one).digest() == spelled("entry_price", other).digest()
    payload = [f'{{"x":[{text}]}}' for text in (one, other.strip('"'))]
    assert len({spelled("raw_payload", text).digest() for text in payload}) == 1


def test_a_confidence_of_minus_zero_is_zero():
    assert str(spelled("confidence", "-0.0").confidence) == "0.0"
    assert spelled("confidence", "-0.0").digest() == spelled("confidence", "0").digest()


def test_every_field_counts_for_the_digest():
    changed = {
        "signal_id": "s-2",
        "ecosystem": "stock",
        "timestamp": datetime(2026, 1, 2, 3, 4, 5, 678902, tzinfo=UTC),
        "symbol": "BTCUSDT",
        "action": "SELL",
        "refers_to": "s-0",
        "signal_type": "STOP",
        **dict.fromkeys(PRICES, Decimal("64000.123456789012345679")),
        "confidence": 0.7500000000000001,
        "agent_source": "other",
        "tags": ("1h", "ema"),
        "raw_payload": {"ema": {"fast": 12, "slow": "26"}},
    }
    assert changed.keys() == RULES.keys()
    digests = {a_signal(**{name: value}).digest() for name, value in changed.items()} | {a_signal().digest()}
    assert len(digests) == len(RULES) + 1


def test_fields_next_to_each_other_do_not_run_together():
    assert a_signal(agent_source="a", tags=("b",)).digest() != a_signal(agent_source="ab", tags=()).digest()
    assert a_signal(stop_loss=None, take_profit=Decimal(1)).digest() != (
        a_signal(stop_loss=Decimal(1), take_profit=None).digest()
    )

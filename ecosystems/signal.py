"""The unified signal: one schema for every ecosystem and transport, and the one function that validates it.

Money is `Decimal` throughout and never passes through a float.
"""

import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal, InvalidOperation
from typing import Annotated, Any, Literal, get_args

import msgspec

from ecosystems import ECOSYSTEMS

MAX_PAYLOAD_BYTES = 65_536
MAX_PAYLOAD_DEPTH = 32
MAX_PRICE = Decimal(10) ** 18
MAX_SYMBOL_LENGTH = 64
MAX_AGENT_LENGTH = 128
MAX_DECIMALS = 40
"""Digits after the point of a price: a float's noise fits (`1.1610000500000001e-05` has 21)."""
CONFIDENCE_NOISE = 1e-9
"""How far a confidence may lie outside of 0 to 1 by the rounding of floats; it then counts as 0 or 1."""
MAX_EXPONENT = 400
"""A bound on numbers in `raw_payload`: `1e99999` is seven bytes here and 100 kB in Postgres's output."""
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
MAX_AHEAD = timedelta(minutes=5)

Action = Literal["BUY", "SELL", "HOLD", "CLOSE"]
SignalType = Literal["MARKET", "LIMIT", "STOP", "ANALYTICS", "TRADE"]

_PRICE_RULE = f"null (or 0), or a decimal above 0 and below 1e18 of at most {MAX_DECIMALS} decimal places"
RULES = {
    "signal_id": "1 to 128 printable ASCII characters without spaces",
    "ecosystem": f"one of {', '.join(ECOSYSTEMS)}",
    "timestamp": "RFC 3339 date and time as text, from 2000-01-01 to five minutes from now",
    "symbol": f"1 to {MAX_SYMBOL_LENGTH} printable characters, with single spaces inside only",
    "action": "BUY, SELL, HOLD or CLOSE",
    "refers_to": "null or the signal_id of an earlier signal of the same agent and ecosystem",
    "signal_type": "MARKET, LIMIT, STOP, ANALYTICS or TRADE",
    "entry_price": _PRICE_RULE,
    "stop_loss": _PRICE_RULE,
    "take_profit": _PRICE_RULE,
    "volume": f"null or a decimal of 0 or more and below 1e18 of at most {MAX_DECIMALS} decimal places",
    "confidence": "null or a number from 0 to 1",
    "agent_source": f"text of up to {MAX_AGENT_LENGTH} characters",
    "tags": "a list of up to 32 texts of up to 64 characters",
    "raw_payload": "a JSON object of at most 64 KiB and 32 levels",
}
"""What each field may hold, in the words of error messages and documentation."""


class Signal(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A trading signal as the contract's section 2 defines it."""

    signal_id: str
    ecosystem: str
    timestamp: datetime
    symbol: str
    action: Action
    signal_type: SignalType = "MARKET"
    entry_price: Decimal | None = None
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None
    volume: Decimal | None = None
    confidence: float | None = None
    agent_source: str = ""
    tags: tuple[str, ...] = ()
    raw_payload: dict[str, Any] = {}
    refers_to: str | None = None

    def to_json(self) -> bytes:
        """Return the signal as one JSON object, decimals as exact numbers, which every transport sends."""
        return _wire_encoder.encode(self)

    def payload_json(self) -> bytes:
        """Return `raw_payload` as compact JSON with sorted keys."""
        return _canonical_encoder.encode(self.raw_payload) if self.raw_payload else b"{}"

    def tags_json(self) -> bytes:
        """Return `tags` as a JSON array."""
        return _canonical_encoder.encode(self.tags)

    def digest(self) -> bytes:
        """Return the SHA-256 of the content.

        Spelling does not count: key order, white space, `1.50` against `1.5` or `"1.5"`, time zones. Nor does
        a field that was added to the schema later, as long as it has its default.
        """
        content = msgspec.structs.astuple(self)
        if self.refers_to is None:
            content = content[:-1]
        return hashlib.sha256(_canonical_encoder.encode(content)).digest()


def decimal_text(number: Decimal | None) -> str | None:
    """Return a decimal exactly as text, without an exponent and without zeros at its end."""
    if number is None:
        return None
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """Why an entry is not a signal. `detail` never quotes what was sent."""

    code: str
    detail: str
    field: str | None = None
    signal_id: str | None = None
    ecosystem: str = ""
    agent_source: str = ""

    def about(self, signal: Signal) -> "Refusal":
        """Return this refusal with the identity of the signal that it is about."""
        return msgspec.structs.replace(
            self, signal_id=signal.signal_id, ecosystem=signal.ecosystem, agent_source=signal.agent_source
        )


class _Refused(Exception):
    def __init__(self, code: str, field: str | None = None, detail: str | None = None) -> None:
        self.code = code
        self.field = field
        self.detail = detail or f"{field} must be {RULES[field or '']}"


def _number(text: str) -> Decimal | int:
    """Return a JSON number with a point or an exponent exactly, in the one form that equal numbers share."""
    if text[-1] in "123456789" and len(text) < 40 and "e" not in text and "E" not in text:
        return Decimal(text)  # nearly all numbers, in a third of the time
    try:
        number = Decimal(text)
    except InvalidOperation:  # an exponent beyond Decimal's own bounds
        number = _BEYOND
    if abs(number.adjusted()) > MAX_EXPONENT:
        raise _Refused("out_of_range", detail="a number is too large or too small")
    if number == number.to_integral_value():
        return int(number)
    return number.normalize(_EXACT)


_BEYOND = Decimal(f"1e{MAX_EXPONENT + 1}")
_EXACT = Context(prec=MAX_PAYLOAD_BYTES)

Token = Annotated[str, msgspec.Meta(pattern=r"\A[!-~]+\Z")]
_Tag = Annotated[str, msgspec.Meta(max_length=64)]


class _Wire(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The part of the schema that msgspec checks, in one pass over the bytes."""

    signal_id: Annotated[Token, msgspec.Meta(max_length=128)]
    ecosystem: str
    timestamp: str
    symbol: str
    action: str
    refers_to: Annotated[Token, msgspec.Meta(max_length=128)] | None = None
    signal_type: str | None = None
    entry_price: Any = None
    stop_loss: Any = None
    take_profit: Any = None
    volume: Any = None
    confidence: Annotated[float, msgspec.Meta(ge=-CONFIDENCE_NOISE, le=1 + CONFIDENCE_NOISE)] | None = None
    agent_source: Annotated[str, msgspec.Meta(max_length=MAX_AGENT_LENGTH)] | None = None
    tags: Annotated[tuple[_Tag, ...], msgspec.Meta(max_length=32)] | None = None
    raw_payload: dict[str, Any] | None = None


_wire_encoder = msgspec.json.Encoder(decimal_format="number")
_canonical_encoder = msgspec.json.Encoder(order="sorted", decimal_format="number")
_wire_decoder = msgspec.json.Decoder(_Wire, float_hook=_number)
_loose_decoder = msgspec.json.Decoder(float_hook=_number)
_any_decoder = msgspec.json.Decoder(float_hook=str)


def parse(data: bytes, now: datetime | None = None) -> Signal | Refusal:
    """Parse and validate the JSON of one signal; `timestamp` is compared to `now` (aware).

    Never raises, whatever the bytes.
    """
    try:
        return _parse(data, now or datetime.now(UTC))
    except _Refused as refused:
        fields = _text_fields(data)
        if refused.field is None and (field := _field_beyond(fields)):
            refused = _Refused(refused.code, field)
        return Refusal(refused.code, refused.detail, refused.field, **_hints(fields))
    except UnicodeDecodeError:
        return _NOT_UTF8
    except RecursionError:
        return _TOO_DEEP
    except (msgspec.DecodeError, ValueError):
        return _undecodable(data)


def split(body: bytes) -> list[bytes] | Refusal:
    """Return the entries of a body, one JSON object or an array of them, each as the bytes that were sent.

    An invalid entry is left for `parse` to refuse, so that it does not harm its neighbours. A lone object
    is not decoded at all.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return _NOT_UTF8
    first = body.lstrip(_SPACE)[:1]
    if first == b"[":
        try:
            return [bytes(entry) for entry in msgspec.json.decode(body, type=list[msgspec.Raw])]
        except RecursionError:
            return _TOO_DEEP
        except msgspec.DecodeError:
            return _split_slowly(text)
    if first != b"{":
        refusal = _undecodable(body)
        return refusal if refusal in {_NOT_JSON, _TOO_DEEP} else _NO_SIGNALS
    return [body]


_SPACE = b" \t\r\n"
_TEXT_SPACE = re.compile(r"[ \t\r\n]*")
_TOO_DEEP = Refusal("json_too_deep", "the JSON is nested too deeply")
_NOT_UTF8 = Refusal("not_utf8", "the text is not UTF-8")
_NOT_JSON = Refusal("not_json", "the text is not JSON")
_NO_SIGNALS = Refusal("not_object_or_array", "the text is neither an object nor an array")


def _undecodable(data: bytes) -> Refusal:
    """Return why msgspec refused text that may still be JSON, by the grammar of RFC 8259."""
    try:
        _grammar.decode(data.decode())
    except UnicodeDecodeError:
        return _NOT_UTF8
    except RecursionError:
        return _TOO_DEEP
    except ValueError:
        return _NOT_JSON
    if re.search(rb"[0-9]{1000}", data):
        return Refusal("out_of_range", "a number has too many digits")
    return Refusal("forbidden_character", "an escape stands for half of a surrogate pair")


def _split_slowly(text: str) -> list[bytes] | Refusal:
    """Split an array that msgspec cannot decode, so that only the entry at fault is refused."""
    entries = []
    try:
        position = _after_space(text, text.index("[") + 1)
        while True:
            _, end = _grammar.raw_decode(text, position)
            entries.append(text[position:end].encode())
            position = _after_space(text, end)
            if text[position] == "]":
                break
            if text[position] != ",":
                return _NOT_JSON
            position = _after_space(text, position + 1)
    except RecursionError:
        return _TOO_DEEP
    except (ValueError, IndexError):
        return _NOT_JSON
    return entries if _after_space(text, position + 1) == len(text) else _NOT_JSON


def _after_space(text: str, position: int) -> int:
    match = _TEXT_SPACE.match(text, position)
    return match.end() if match else position


def _no_constant(_: str) -> None:
    raise ValueError


# By RFC 8259's grammar alone: numbers stay text, and NaN is not JSON.
_grammar = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=_no_constant)


def _parse(data: bytes, now: datetime) -> Signal:
    try:
        wire = _wire_decoder.decode(data)
    except msgspec.ValidationError as error:
        wire = _slow_wire(data, error)
    payload = wire.raw_payload or {}
    _check_characters(data, wire, payload)
    # Fewer brackets are never too deep: one is the signal's, and unknown fields move two levels down.
    if data.count(b"{") + data.count(b"[") >= MAX_PAYLOAD_DEPTH and _depth(payload) > MAX_PAYLOAD_DEPTH:
        raise _Refused("too_deep", "raw_payload")
    signal = Signal(
        signal_id=wire.signal_id,
        ecosystem=wire.ecosystem,
        timestamp=_timestamp(wire.timestamp, now),
        symbol=wire.symbol,
        action=_choice("action", wire.action, _ACTIONS),
        signal_type="MARKET"
        if wire.signal_type is None
        else _choice("signal_type", wire.signal_type, _SIGNAL_TYPES),
        entry_price=_price("entry_price", wire.entry_price),
        stop_loss=_price("stop_loss", wire.stop_loss),
        take_profit=_price("take_profit", wire.take_profit),
        volume=_decimal("volume", wire.volume),
        confidence=_confidence(wire.confidence),
        agent_source=wire.agent_source or "",
        tags=wire.tags or (),
        raw_payload=payload,
        refers_to=wire.refers_to,
    )
    if signal.ecosystem not in ECOSYSTEMS:
        raise _Refused("unknown_ecosystem", "ecosystem")
    if len(data) > MAX_PAYLOAD_BYTES and len(signal.payload_json()) > MAX_PAYLOAD_BYTES:
        raise _Refused("too_large", "raw_payload")
    return signal


def _slow_wire(data: bytes, error: msgspec.ValidationError) -> _Wire:
    """Decode again what the one pass refused: keep unknown keys, or name the field that is wrong."""
    fields = _loose_decoder.decode(data)
    if not isinstance(fields, dict):
        raise _Refused("not_an_object", detail="a signal is a JSON object") from error
    unknown = {key: fields.pop(key) for key in [key for key in fields if key not in RULES]}
    if unknown:
        payload = fields.get("raw_payload")
        fields["raw_payload"] = _with_extra({} if payload is None else payload, unknown)
    try:
        wire = msgspec.convert(fields, _Wire)
    except msgspec.ValidationError as failure:
        raise _explained(str(failure)) from failure
    return wire


def _with_extra(payload: Any, unknown: dict[str, Any]) -> Any:
    if not isinstance(payload, dict):
        return payload  # wrong in any case: the conversion reports it
    extra = payload.get("extra", {})
    if not isinstance(extra, dict) or extra.keys() & unknown.keys():
        raise _Refused(
            "extra_taken", "raw_payload", "unknown fields are kept in raw_payload.extra, which holds others"
        )
    return {**payload, "extra": {**extra, **unknown}}


def _explained(message: str) -> _Refused:
    """Return msgspec's error in our words, because its own may quote the value."""
    if missing := re.match(r"Object missing required field `(\w+)`", message):
        return _Refused("missing_field", missing[1], f"{missing[1]} is required: {RULES[missing[1]]}")
    at = re.search(r"at `\$\.(\w+)", message)
    field = at[1] if at and at[1] in RULES else None
    if field is None:
        return _Refused("invalid_value", detail="a field holds an invalid value")
    code = "wrong_type" if re.match(r"Expected `[^`]*`, got", message) else "invalid_value"
    return _Refused(code, field)


_HOUR = "(?:[01][0-9]|2[0-3])"
_TWO = "[0-9][0-9]"
_TIMESTAMP = re.compile(
    rf"{_TWO}{_TWO}-{_TWO}-{_TWO}[Tt ]{_HOUR}:[0-5][0-9](?::{_TWO}(?:\.[0-9]++)?+)?+"
    rf"(?:[Zz]|[+-]{_HOUR}(?::?[0-5][0-9])?+)?+"
)
_SECOND = slice(17, 19)


def _timestamp(text: str, now: datetime) -> datetime:
    if not _TIMESTAMP.fullmatch(text):
        raise _Refused("invalid_value", "timestamp")
    try:
        moment = _after_leap_second(text) if text[_SECOND] == "60" else _moment(text)
    except (ValueError, OverflowError) as error:
        raise _Refused("invalid_value", "timestamp") from error
    if not EARLIEST <= moment <= now + MAX_AHEAD:
        raise _Refused("out_of_range", "timestamp")
    return moment


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text.upper())
    if moment.tzinfo is UTC:
        return moment
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _after_leap_second(text: str) -> datetime:
    """Return second 60, which RFC 3339 has at the end of a month in UTC, as the next, as Postgres does."""
    moment = _moment(f"{text[: _SECOND.start]}59{text[_SECOND.stop :]}") + timedelta(seconds=1)
    if (moment.day, moment.hour, moment.minute) != (1, 0, 0):
        raise ValueError
    return moment


_ACTIONS: dict[str, Action] = {name: name for name in get_args(Action)}
_SIGNAL_TYPES: dict[str, SignalType] = {name: name for name in get_args(SignalType)}


def _choice(field: str, text: str, choices: dict[str, Any]) -> Any:
    # Outside ASCII, letters exist whose upper case is an ASCII letter.
    choice = choices.get(text) or (choices.get(text.upper()) if text.isascii() else None)
    if choice is None:
        raise _Refused("invalid_value", field)
    return choice


def _confidence(number: float | None) -> float | None:
    """Return a number from 0 to 1; -0.0, which equals 0, becomes that as well."""
    if number is None or 0 < number < 1:
        return number
    return min(max(number, 0.0), 1.0) + 0.0


_DECIMALS = ("entry_price", "stop_loss", "take_profit", "volume")
_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")
_ANY_EXPONENT = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def _price(field: str, value: Any) -> Decimal | None:
    """Return a price as `_decimal` does; 0 is null, since MetaTrader writes "no stop" so."""
    return _decimal(field, value) or None


def _decimal(field: str, value: Any) -> Decimal | None:
    """Return a decimal exactly, in the one form that equal ones share; raise _Refused for an invalid one."""
    if value is None:
        return None
    kind = type(value)
    if kind is str:
        if len(value) > 64 or not _DECIMAL.fullmatch(value):
            raise _Refused("invalid_value", field)
        value = _number(value)
    elif kind is not int and kind is not Decimal:
        raise _Refused("wrong_type", field)
    if not 0 <= value < MAX_PRICE:
        raise _Refused("out_of_range", field)
    if type(value) is int:
        return Decimal(value)
    # A short text without an exponent has few enough decimals; this costs a third of `as_tuple`.
    text = str(value)
    if (len(text) > MAX_DECIMALS or "E" in text) and value.as_tuple().exponent < -MAX_DECIMALS:
        raise _Refused("too_precise", field)
    return value  # type: ignore[no-any-return]


_INVISIBLE = (
    "\x00-\x1f\x7f-\x9f"  # control characters
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200d\u2060-\u2064\u3164\ufeff\uffa0"  # of no width
    "\U000e0000-\U000e007f"  # tags, which hide ASCII
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u206f"  # bidirectional marks, overrides and isolates
    "\u2028\u2029\ufff9-\ufffb"  # separators of lines, annotations
)
"""What no text outside of `raw_payload` holds; the table's CHECK constraints have the same list."""
_FORBIDDEN = re.compile(f"[{_INVISIBLE}]")
_NO_SYMBOL = re.compile(
    f"[{_INVISIBLE}"
    "\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"  # spaces that look like one, or like none
    "\ue000-\uf8ff\U000f0000-\U0010ffff\ufdd0-\ufdef\ufffe\uffff]"  # characters of no script
    "|^ |  | \\Z"
)


def is_symbol(text: str) -> bool:
    """Return whether a text is what a signal's `symbol` may be."""
    if not 0 < len(text) <= MAX_SYMBOL_LENGTH:
        return False
    # Nearly all are plain, which a pattern would take three times as long to find.
    is_plain = text.isascii() and text.isprintable() and " " not in text
    return is_plain or not _NO_SYMBOL.search(text)


def is_agent_source(text: str) -> bool:
    """Return whether a text is what a signal's `agent_source` may be."""
    return len(text) <= MAX_AGENT_LENGTH and not _FORBIDDEN.search(text)


def _check_characters(data: bytes, wire: _Wire, payload: dict[str, Any]) -> None:
    """Raise _Refused for text with a character that its field must not hold."""
    if not is_symbol(wire.symbol):
        raise _Refused("invalid_value", "symbol")
    # Escapes and bytes beyond ASCII are the only ways a forbidden character gets through the decoder.
    if data.isascii() and b"\\" not in data and b"\x7f" not in data:
        return
    for field, texts in (("agent_source", (wire.agent_source or "",)), ("tags", wire.tags or ())):
        if any(map(_FORBIDDEN.search, texts)):
            raise _Refused(
                "forbidden_character", field, f"{field} holds a control, invisible or bidirectional character"
            )
    if b"\\u0000" in data and _has_nul(payload):
        raise _Refused("forbidden_character", "raw_payload", "raw_payload holds a NUL character")


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(map(_has_nul, value)) or any(map(_has_nul, value.values()))
    return isinstance(value, list) and any(map(_has_nul, value))


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


def _text_fields(data: bytes) -> dict[str, Any]:
    """Return the fields of a refused entry with numbers as text; none where they cannot be decoded."""
    try:
        fields = _any_decoder.decode(data)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _field_beyond(fields: dict[str, Any]) -> str | None:
    """Return the price or volume whose number is beyond MAX_EXPONENT, None where there is none."""
    for name in _DECIMALS:
        text = fields.get(name)
        try:
            if isinstance(text, str) and _ANY_EXPONENT.fullmatch(text):
                _number(text)
        except _Refused:
            return name
    return None


def _hints(fields: dict[str, Any]) -> dict[str, str]:
    """Return a refused entry's id, ecosystem and agent, each only where it is valid."""
    hints = {}
    signal_id, ecosystem, agent = (fields.get(key) for key in ("signal_id", "ecosystem", "agent_source"))
    if isinstance(signal_id, str) and re.fullmatch(r"[!-~]{1,128}", signal_id):
        hints["signal_id"] = signal_id
    if ecosystem in ECOSYSTEMS:
        hints["ecosystem"] = ecosystem
    if isinstance(agent, str) and is_agent_source(agent):
        hints["agent_source"] = agent
    return hints

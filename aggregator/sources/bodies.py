"""Bodies of producers: cut into parts, each read as a document that a mapping's expressions look into."""

import csv
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import msgspec

from aggregator.sources.mapping import Mapping
from ecosystems.signal import MAX_PAYLOAD_DEPTH, Refusal, parse, split

MAX_FORM_FIELDS = 200
MAX_PARTS = 1000
"""Signals of one body: each costs about a tenth of a millisecond."""
_FORM = re.compile(r"[^=&\s;]+=[^&\s;]*(?:&[^=&\s;]+=[^&\s;]*)*")
_BOM = "\ufeff".encode()
_decode = msgspec.json.Decoder(float_hook=Decimal).decode

NOT_UTF8 = Refusal("not_utf8", "the text is not UTF-8")
TOO_DEEP = Refusal("json_too_deep", f"the JSON has more than {MAX_PAYLOAD_DEPTH} levels")
NO_MATCH = Refusal("no_match", "the text matches no pattern of the mapping")
EMPTY = Refusal("empty", "the body is empty")
TOO_MANY = Refusal("too_many_signals", f"a body may have {MAX_PARTS} signals")

Document = dict[str, Any]


class Part(NamedTuple):
    """One signal's share of a body: its bytes, and what was read from them or why nothing was."""

    raw: bytes
    document: Document
    payload: Any = None
    """What of it goes into `raw_payload`, where that is not the document itself."""
    refusal: Refusal | None = None


def parse_body(body: bytes, mapping: Mapping) -> list[Part]:
    """Return the parts of a body from which the secrets are out, by the first parser that suits it."""
    body = body.removeprefix(_BOM)
    try:
        text = body.decode().strip()
    except UnicodeDecodeError:
        return [Part(body, {}, refusal=NOT_UTF8)]
    if not text:
        return [Part(body, {}, refusal=EMPTY)]
    for name in mapping.parsers:
        if name == "json" and text[0] in "[{":
            return [_with_match(part, mapping) for part in _json(body)]
        if name != "json" and (part := _READERS[name](body, text, mapping)):
            return [part]
    return [Part(body, {}, refusal=_unreadable(mapping, text))]


def _json(body: bytes) -> Iterable[Part]:
    elements = split(body)
    if isinstance(elements, Refusal):
        return [Part(body, {}, refusal=elements)]
    if not 0 < len(elements) <= MAX_PARTS:
        return [Part(body, {}, refusal=TOO_MANY if elements else EMPTY)]
    return map(_element, elements)


def _element(raw: bytes) -> Part:
    try:
        document = _decode(raw)
        if _is_deeper(document, MAX_PAYLOAD_DEPTH):
            return Part(raw, {}, refusal=TOO_DEEP)
    except (msgspec.DecodeError, ValueError, ArithmeticError, RecursionError):
        refusal = parse(raw)  # says what is wrong with text that is no JSON object
        assert isinstance(refusal, Refusal), "what msgspec cannot decode, `parse` refuses"
        return Part(raw, {}, refusal=refusal)
    if not isinstance(document, dict):
        return Part(raw, {}, refusal=Refusal("not_an_object", "an element of the array is no JSON object"))
    return Part(raw, document, msgspec.Raw(raw))


def _form(body: bytes, text: str, _mapping: Mapping) -> Part | None:
    if not _FORM.fullmatch(text):
        return None
    try:
        pairs = parse_qsl(
            text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FORM_FIELDS, separator="&"
        )
    except UnicodeDecodeError:
        return Part(body, {}, refusal=NOT_UTF8)
    except ValueError:
        return Part(body, {}, refusal=Refusal("too_many_fields", f"a form has at most {MAX_FORM_FIELDS}"))
    return Part(body, dict(pairs), dict(pairs))


def _pairs(body: bytes, text: str, _mapping: Mapping) -> Part | None:
    pairs = [line.partition("=") for line in re.split("[;\n]", text) if line.strip()]
    if (
        not pairs
        or len(pairs) > MAX_FORM_FIELDS
        or not all(key.strip() and equals for key, equals, _ in pairs)
    ):
        return None
    return Part(body, {key.strip(): value.strip() for key, _, value in pairs}, {"text": text})


def _csv(body: bytes, text: str, mapping: Mapping) -> Part | None:
    try:
        rows = list(csv.reader(text.splitlines(), skipinitialspace=True))
    except csv.Error:
        return None
    if len(rows) != 1 or len(rows[0]) < len(mapping.columns):
        return None
    cells = [cell.strip() for cell in rows[0]]
    named = dict(zip(mapping.columns, cells, strict=False))
    options = (cell.partition("=") for cell in cells[len(mapping.columns) :])
    return Part(body, {key.strip(): value.strip() for key, _, value in options} | named, {"text": text})


def _regex(body: bytes, text: str, mapping: Mapping) -> Part | None:
    groups = _match(text, mapping, [])
    return None if groups is None else Part(body, groups, {"text": text})


_READERS = {"form": _form, "pairs": _pairs, "csv": _csv, "regex": _regex}


def _with_match(part: Part, mapping: Mapping) -> Part:
    """Add to a document what the patterns find in a text within it; refuse it where none matches."""
    text = mapping.text.search(part.document) if mapping.text and not part.refusal else None
    if not isinstance(text, str):
        return part
    channels = mapping.channel.search(part.document) if mapping.channel else []
    groups = _match(text.strip(), mapping, channels if isinstance(channels, list) else [channels])
    if groups is None:
        return part._replace(refusal=NO_MATCH)
    return part._replace(document=part.document | groups)


def _match(text: str, mapping: Mapping, channels: list[Any]) -> Document | None:
    """Return the named groups of the first pattern for these channels that matches all of a text."""
    names = {str(channel).lower() for channel in channels if channel is not None}
    for regex, channel in mapping.patterns:
        if (not channel or channel in names) and (match := regex.fullmatch(text)):
            return dict(match.groupdict())
    return None


def _unreadable(mapping: Mapping, text: str) -> Refusal:
    if mapping.parsers == ["json"]:
        refusal = split(text.encode())
        assert isinstance(refusal, Refusal), "text that begins with neither { nor [ holds no signals"
        return refusal
    if "regex" in mapping.parsers:
        return NO_MATCH
    return Refusal("unreadable", f"the body is none of: {', '.join(mapping.parsers)}")


def _is_deeper(value: Any, levels: int) -> bool:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    if children is None:
        return False
    return levels == 0 or any(_is_deeper(child, levels - 1) for child in children)

"""Mappings: what a producer's body says, in the fields of a signal. Written in TOML or JSON."""

import tomllib
from collections.abc import Iterator
from collections.abc import Mapping as Table
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from aggregator.sources.expressions import Expression
from aggregator.sources.redaction import Redaction
from aggregator.sources.regexes import compile_regex
from ecosystems.signal import RULES

MAX_MAPPING_LENGTH = 32_768
MAX_PATTERNS = 50
PARSERS = ("json", "form", "pairs", "csv", "regex")
"""`pairs` is `key=value;key=value`, also with line breaks."""
MAPPED_FIELDS = tuple(field for field in RULES if field != "raw_payload")


class InvalidMapping(ValueError):
    """A mapping that cannot be used; the text says in one line what is wrong."""


class Unmapped(Exception):
    """A body holds something that a field's table of values does not have."""


class Field(NamedTuple):
    """How one field of a signal is found."""

    expression: Expression | None
    values: Table[str, Any] | None
    """What stands for what, in lower case; anything else is refused."""
    default: Any

    def find(self, document: Table[str, Any]) -> Any:
        """Return the field's value, None where there is none. Raises Unmapped."""
        found = self.expression.search(document) if self.expression else None
        if isinstance(found, str):
            found = found.strip()
        if found is None or found is False or found == "":
            return self.default
        if self.values is None:
            return found
        try:
            return self.values[str(found).lower()]
        except KeyError:
            raise Unmapped from None


class Pattern(NamedTuple):
    """A regular expression with named groups, for one channel or, where that is empty, for all."""

    regex: Any
    channel: str


class Mapping:
    """A mapping, ready for use."""

    def __init__(self, content: Table[str, Any]) -> None:
        """Raises InvalidMapping."""
        _require_known(content, "", _TABLE)
        self.parsers = _texts(content, "parsers") or ["json", "form", "pairs"]
        self.columns: list[str] = _texts(content, "columns")
        self.patterns = _patterns(content.get("patterns", []))
        self.text = _expression(content, "text")
        self.channel = _expression(content, "channel")
        self.skip = _expression(content, "skip")
        self.each = _expression(content, "each")
        self.pass_through = bool(content.get("pass_through", False))
        self.settings: dict[str, Any] = _table(content, "settings")
        self.redaction = _redaction(_table(content, "secrets"))
        self.let = {name: _field(f"let.{name}", value) for name, value in _table(content, "let").items()}
        """Values that later ones, and the fields, are found with."""
        fields = _table(content, "fields")
        _require_known(fields, "fields.", MAPPED_FIELDS)
        self.fields = {name: _field(f"fields.{name}", value) for name, value in fields.items()}
        for parser in self.parsers:
            if parser not in PARSERS:
                raise InvalidMapping(
                    f"parsers: no parser is called {parser!r}; there are {', '.join(PARSERS)}"
                )
        if "regex" in self.parsers and not self.patterns:
            raise InvalidMapping("parsers: regex needs patterns")

    @property
    def is_empty(self) -> bool:
        """Return whether it says of no field where it is, so that nothing can become a signal."""
        return not self.fields and not self.pass_through


_TABLE = (
    *("parsers", "columns", "patterns", "text", "channel", "skip", "each", "pass_through", "settings"),
    *("secrets", "let", "fields"),
)


@lru_cache(maxsize=256)
def compile_mapping(text: str) -> Mapping:
    """Return the mapping of a text, TOML or JSON. Raises InvalidMapping."""
    if len(text) > MAX_MAPPING_LENGTH:
        raise InvalidMapping(f"a mapping has at most {MAX_MAPPING_LENGTH} characters")
    try:
        content = msgspec.json.decode(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except (tomllib.TOMLDecodeError, msgspec.DecodeError, ValueError, RecursionError) as error:
        raise InvalidMapping(f"neither TOML nor JSON: {str(error).partition(chr(10))[0]}") from None
    return Mapping(content)


def _require_known(content: Table[str, Any], path: str, names: tuple[str, ...]) -> None:
    for name in content:
        if name not in names:
            raise InvalidMapping(f"{path}{name}: unknown; there are {', '.join(names)}")


def _patterns(given: Any) -> list[Pattern]:
    if not isinstance(given, list) or len(given) > MAX_PATTERNS:
        raise InvalidMapping(f"patterns: a list of at most {MAX_PATTERNS}")
    patterns = []
    for number, each in enumerate(given, start=1):
        table = {"pattern": each} if isinstance(each, str) else each
        if not isinstance(table, dict) or not isinstance(table.get("pattern"), str):
            raise InvalidMapping(f"patterns: number {number} is no text and has none under `pattern`")
        with _invalid_at(f"patterns: number {number}"):
            regex = compile_regex(table["pattern"])
        patterns.append(Pattern(regex, str(table.get("channel", "")).lower()))
    return patterns


def _redaction(secrets: Table[str, Any]) -> Redaction:
    _require_known(secrets, "secrets.", ("keys", "patterns"))
    keys, patterns = (_texts(secrets, name, "secrets.") for name in ("keys", "patterns"))
    with _invalid_at("secrets.patterns"):
        return Redaction(keys, patterns)


def _field(path: str, value: Any) -> Field:
    table = value if isinstance(value, dict) else {"from": value}
    _require_known(table, f"{path}.", ("from", "values", "default"))
    values = table.get("values")
    if values is not None and not isinstance(values, dict):
        raise InvalidMapping(f"{path}.values: a table of what stands for what")
    lower = {str(key).lower(): item for key, item in values.items()} if values is not None else None
    expression = _expression(table, "from", f"{path}.")
    if expression is None and "default" not in table:
        raise InvalidMapping(f"{path}: has neither `from` nor `default`")
    return Field(expression, lower, table.get("default"))


def _expression(table: Table[str, Any], name: str, path: str = "") -> Expression | None:
    text = table.get(name)
    if text is None:
        return None
    if not isinstance(text, str):
        raise InvalidMapping(f"{path}{name}: a JMESPath expression, as text")
    with _invalid_at(f"{path}{name}"):
        return Expression(text)


@contextmanager
def _invalid_at(path: str) -> Iterator[None]:
    """Raise InvalidMapping, which says where, in place of ValueError."""
    try:
        yield
    except ValueError as error:
        raise InvalidMapping(f"{path}: {error}") from None


def _texts(table: Table[str, Any], name: str, path: str = "") -> list[str]:
    texts = table.get(name, [])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise InvalidMapping(f"{path}{name}: a list of texts")
    return texts


def _table(table: Table[str, Any], name: str) -> dict[str, Any]:
    found = table.get(name, {})
    if not isinstance(found, dict):
        raise InvalidMapping(f"{name}: a table")
    return found

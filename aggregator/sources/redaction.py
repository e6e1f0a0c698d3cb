"""Taking a producer's own secrets out of a body, before anything of it is stored."""

import json
import re
from collections.abc import Sequence
from typing import Any

from aggregator.sources.regexes import compile_regex
from ecosystems.env import HIDDEN

TOKEN_PREFIX = "shs_"  # noqa: S105 - what all tokens of hooks begin with
_OWN_TOKEN = re.compile(TOKEN_PREFIX + "[A-Za-z0-9_-]{20,}")
# Each string of JSON, so that none is searched for within another; a key has the second group.
_STRING = re.compile(r'("(?:[^"\\]|\\.)*")(\s*:\s*)?')
_END_OF_PAIR, _END_IN_FORM, _END_IN_LIST = ";\r\n", "&\r\n", ",}\r\n"
"""What ends a value that is not quoted."""
_ESCAPED_ASCII = re.compile(r"\\u00([4-7][0-9a-fA-F])")
_scan = json.JSONDecoder().raw_decode


class Redaction:
    """What a mapping names as secret: the values of some keys, and what the group of a pattern matches."""

    def __init__(self, keys: Sequence[str] = (), patterns: Sequence[str] = ()) -> None:
        """Raises ValueError for an invalid pattern."""
        self._keys = frozenset(key.lower() for key in keys)
        self._patterns = [compile_regex(pattern) for pattern in patterns]
        names = "|".join(map(re.escape, sorted(self._keys)))
        # `secret=…` and what resembles JSON, up to what ends a value there. Rather too much than too little.
        self._written = {
            ends: re.compile(
                rf"""((?:{names})(?:["'\]]|%5D)?\s*[:=]\s*)("(?:[^"\\]|\\.)*"?|'[^']*'?|[^{ends}]+)""",
                re.IGNORECASE,
            )
            for ends in (_END_OF_PAIR, _END_IN_FORM, _END_IN_LIST)
        }

    def redact(self, body: bytes) -> bytes:
        """Return the body with HIDDEN in the place of each secret, and else the same bytes."""
        # Latin-1 gives every byte a character, and the same byte back.
        text = _OWN_TOKEN.sub(HIDDEN, body.decode("latin-1"))
        for pattern in self._patterns:
            text = _hide_groups(pattern, text)
        lower = text.lower()
        if any(key in lower for key in self._keys) or (self._keys and "\\" in text):
            text = self._hide_values(text)
        return text.encode("latin-1")

    def _hide_values(self, text: str) -> str:
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            text = _ESCAPED_ASCII.sub(lambda match: chr(int(match[1], 16)), text)
            return self._written[_ends(text.strip())].sub(rf"\1{HIDDEN}", text)
        shown, position = [], 0
        for match in _STRING.finditer(text):
            if match[2] and match.start() >= position and json.loads(match[1]).lower() in self._keys:
                shown += [text[position : match.end()], f'"{HIDDEN}"']
                _, position = _scan(text, match.end())
        return "".join([*shown, text[position:]])


def _ends(text: str) -> str:
    """Return what ends a value in a text that is no JSON: the first there is of what may."""
    if re.search(f"[{_END_OF_PAIR}]", text):
        return _END_OF_PAIR
    return _END_IN_FORM if "&" in text else _END_IN_LIST


def _hide_groups(pattern: Any, text: str) -> str:
    """Hide what the first group of each match holds; the whole match of a pattern without groups."""
    group = 1 if pattern.groups else 0
    shown, position = [], 0
    for match in pattern.finditer(text):
        start, end = match.span(group)
        if end > start:
            shown += [text[position:start], HIDDEN]
            position = end
    return "".join([*shown, text[position:]])

"""Regular expressions that an operator writes: RE2's, which match in linear time, whatever the text."""

from typing import Any

import re2

_OPTIONS = re2.Options()
_OPTIONS.log_errors = False  # the library would write them to stderr
_OPTIONS.max_mem = 2**20
"""Bytes of one compiled expression."""


def compile_regex(pattern: str) -> Any:
    """Return a compiled expression. Raises ValueError, in one line, for a pattern that RE2 does not take."""
    try:
        return re2.compile(pattern, _OPTIONS)
    except re2.error as error:
        reason = error.args[0]
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"no regular expression of RE2: {text}") from None

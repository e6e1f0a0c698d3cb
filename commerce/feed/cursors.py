"""Cursors: a position of the ledger as a text that readers keep and send back.

A reader who also follows what is decided of calls has a longer cursor, for a place in both.

Opaque, so that its form may change, and checked, so that a mangled one is refused instead of silently
skipping signals. Not signed: a cursor grants nothing, and must outlive every secret of the hub.
"""

import base64
import binascii
import struct
import zlib
from typing import NamedTuple

from aggregator.http.problems import Problem
from aggregator.ledger.generations import ledger_head
from commerce.ledger_window import Place

VERSION, PLACE_VERSION = 1, 2
LENGTH, PLACE_LENGTH = 18, 28
"""Characters of a cursor: 1 byte of version, 8 of position, in one of a place 8 of what was decided, and 4 of
CRC-32, in base64url without padding."""
PATTERN = rf"[A-Za-z0-9_-]{{{LENGTH}}}(?:[A-Za-z0-9_-]{{{PLACE_LENGTH - LENGTH}}})?"
_BODY, _PLACE = struct.Struct(">Bq"), struct.Struct(">Bqq")


class InvalidCursor(ValueError):
    """The text is not a cursor of this feed."""


class Cursor(NamedTuple):
    """What a cursor says; it is silent on what was decided unless it is one of a place."""

    position: int
    decided: int | None


def encode(position: int) -> str:
    """Return the cursor from which reading goes on behind `position` (0: from the start)."""
    return _text(_BODY.pack(VERSION, position))


def encode_place(place: Place) -> str:
    """Return the cursor from which reading goes on behind a place."""
    return _text(_PLACE.pack(PLACE_VERSION, *place))


def _text(body: bytes) -> str:
    return base64.urlsafe_b64encode(body + zlib.crc32(body).to_bytes(4)).rstrip(b"=").decode()


def decode(text: str) -> int:
    """Return the position of a cursor. Raises InvalidCursor, whatever the text."""
    return decode_place(text).position


def decode_place(text: str) -> Cursor:
    """Return what a cursor says. Raises InvalidCursor, whatever the text."""
    form = {LENGTH: _BODY, PLACE_LENGTH: _PLACE}.get(len(text))
    if form is None:
        raise InvalidCursor
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        version, *numbers = form.unpack(raw[: form.size])
    except (binascii.Error, struct.error, ValueError):
        raise InvalidCursor from None
    # The comparison also refuses other spellings of the same bytes, and a wrong checksum.
    if version != (VERSION if form is _BODY else PLACE_VERSION) or min(numbers) < 0:
        raise InvalidCursor
    if _text(form.pack(version, *numbers)) != text:
        raise InvalidCursor
    return Cursor(numbers[0], numbers[1] if len(numbers) > 1 else None)


def require_on_record(position: int, frontier: int) -> None:
    """Raise a Problem for a position that the ledger has not reached; `frontier` is one that it has."""
    if position > frontier and position > ledger_head():
        raise cursor_ahead()


def cursor_ahead() -> Problem:
    """Return the Problem for a reader whose cursor the ledger has not reached."""
    return Problem(
        410,
        "cursor_ahead",
        "The cursor is ahead of the ledger, which was restored to an earlier state. Read again from the "
        "start or from an older cursor, and skip by ecosystem and signal_id what you have.",
    )

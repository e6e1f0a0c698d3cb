"""Cursors: a position of the ledger as a text that readers keep and send back.

Opaque, so that its form may change, and checked, so that a mangled one is refused instead of silently
skipping signals. Not signed: a cursor grants nothing, and must outlive every secret of the hub.
"""

import base64
import binascii
import struct
import zlib

from aggregator.ledger.generations import ledger_head

VERSION = 1
LENGTH = 18
"""Characters of a cursor: 1 byte of version, 8 of position, 4 of CRC-32, in base64url without padding."""
_BODY = struct.Struct(">Bq")


class InvalidCursor(ValueError):
    """The text is not a cursor of this feed."""


class CursorAhead(Exception):
    """The cursor is ahead of the ledger, which was restored to an earlier state since."""


def encode(position: int) -> str:
    """Return the cursor from which reading goes on behind `position` (0: from the start)."""
    body = _BODY.pack(VERSION, position)
    return base64.urlsafe_b64encode(body + zlib.crc32(body).to_bytes(4)).rstrip(b"=").decode()


def decode(text: str) -> int:
    """Return the position of a cursor. Raises InvalidCursor, whatever the text."""
    try:
        raw = base64.b64decode(text + "==", altchars=b"-_", validate=True) if len(text) == LENGTH else b""
        version, position = _BODY.unpack(raw[: _BODY.size])
    except (binascii.Error, struct.error, ValueError):
        raise InvalidCursor from None
    # The comparison also refuses other spellings of the same bytes, and a wrong checksum.
    if version != VERSION or position < 0 or encode(position) != text:
        raise InvalidCursor
    return int(position)


def require_on_record(position: int, frontier: int) -> None:
    """Raise CursorAhead for a position that the ledger has not reached; `frontier` is one that it has."""
    if position > frontier and position > ledger_head():
        raise CursorAhead

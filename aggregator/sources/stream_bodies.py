"""Entries of streams that are not the hub's own, as bodies: one JSON object of all fields."""

from collections.abc import Sequence
from typing import Any

import msgspec

_encode = msgspec.json.Encoder(decimal_format="number").encode


def stream_body(fields: Sequence[bytes]) -> bytes:
    """Return a body for an entry; `fields` are names and values in turn, as Redis has them.

    A payload is opened, whether it is JSON or msgpack: a field `encoding` says which, else its first byte.
    """
    named = dict(zip(fields[::2], fields[1::2], strict=True))
    content: dict[str, Any] = {_text(name): _text(value) for name, value in named.items()}
    if (payload := named.get(b"payload")) is not None:
        content["payload"] = _opened(payload, named.get(b"encoding", b"").lower())
    return _encode(content)


def _opened(payload: bytes, encoding: bytes) -> Any:
    """Return a payload's content, or its bytes as text where they are neither JSON nor msgpack."""
    is_json = encoding == b"json" or (not encoding and payload.lstrip()[:1] in {b"{", b"[", b'"'})
    try:
        if is_json:
            msgspec.json.decode(payload)
            return msgspec.Raw(payload)
        opened = msgspec.msgpack.decode(payload)
        _encode(opened)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError):
        return _text(payload)
    return opened


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")

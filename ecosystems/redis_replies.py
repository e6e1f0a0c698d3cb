"""Reading Redis' replies in bounded memory: anybody who may append to a stream may append 512 MiB at once.

Redis sends an entry whole, and hiredis keeps a reply whole. So a reply is read by `MeteredParser`, which
breaks off one that becomes too large; what it held is then asked for again, one by one, through a
`cutting_parser`. That one is slow, and cuts what is too large while it arrives.
"""

import hashlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import redis
from redis._parsers import _HiredisParser, _RESP2Parser

MAX_REPLY_BYTES = 16 * 1024 * 1024
"""Of one reply: thousands of usual signals."""
MAX_HEAD_BYTES = 65_536
"""What is kept of a value that is cut."""
CHUNK_BYTES = 65_536


class ReplyTooLarge(redis.RedisError):
    """A reply has more than MAX_REPLY_BYTES. Redis has done what was asked; the connection is closed."""


class Cut(NamedTuple):
    """What is kept of bytes that are too large."""

    head: bytes
    length: int
    sha256: bytes


def cut(chunks: Iterable[bytes]) -> Cut:
    """Return what is kept of bytes that come in chunks."""
    head, length, digest = b"", 0, hashlib.sha256()
    for chunk in chunks:
        head += chunk[: MAX_HEAD_BYTES - len(head)]
        length += len(chunk)
        digest.update(chunk)
    return Cut(head, length, digest.digest())


def entry_size(fields: list[bytes]) -> int:
    """Return how many bytes a stream's entry has, names and values."""
    return sum(map(len, fields))


def entry_bytes(fields: list[bytes]) -> list[bytes]:
    """Return an entry's bytes in chunks: those of its only value; of several fields all names and values."""
    return fields[1:] if len(fields) == 2 else fields


class _MeteredSocket:
    """A socket from which no more than MAX_REPLY_BYTES can be received for one reply."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self.received = 0

    def recv_into(self, buffer: Any) -> int:
        size: int = self._socket.recv_into(buffer)
        self.received += size
        if self.received > MAX_REPLY_BYTES:
            raise ReplyTooLarge(f"a reply has more than {MAX_REPLY_BYTES} bytes")
        return size

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


class MeteredParser(_HiredisParser):
    """redis-py's parser on hiredis, which raises ReplyTooLarge."""

    def on_connect(self, connection: Any, **options: Any) -> None:
        super().on_connect(connection, **options)  # type: ignore[no-untyped-call]
        self._sock = self._metered = _MeteredSocket(connection._sock)

    def read_response(self, *args: Any, **options: Any) -> Any:
        self._metered.received = 0
        return super().read_response(*args, **options)


def cutting_parser(max_bytes: int) -> type:
    """Return a parser that gives a Cut in place of an entry's fields if they have more than `max_bytes`."""

    class CuttingParser(_RESP2Parser):
        def on_connect(self, connection: Any) -> None:
            super().on_connect(connection)  # type: ignore[no-untyped-call]
            self._file = connection._sock.makefile("rb", CHUNK_BYTES)

        def on_disconnect(self) -> None:
            super().on_disconnect()  # type: ignore[no-untyped-call]
            self._file = None

        def can_read(self, timeout: float = 0) -> bool:  # noqa: ARG002 - redis-py's signature
            return False

        def read_response(self, *_args: Any, **_options: Any) -> Any:
            answer = self._read(self._line())
            if isinstance(answer, redis.ConnectionError):
                raise answer
            return answer

        def _line(self) -> bytes:
            line: bytes = self._file.readline()
            if not line.endswith(b"\r\n"):
                raise redis.ConnectionError("Connection closed by server.")
            return line[:-2]

        def _read(self, line: bytes) -> Any:
            kind, rest = line[:1], line[1:]
            match kind:
                case b"$":
                    return None if rest == b"-1" else b"".join(self._chunks(int(rest)))
                case b"*":
                    return None if rest == b"-1" else self._array(int(rest))
                case b":":
                    return int(rest)
                case b"-":
                    return self.parse_error(rest.decode(errors="replace"))  # type: ignore[no-untyped-call]
            return rest

        def _chunks(self, length: int) -> Iterable[bytes]:
            while length:
                chunk = self._file.read(min(length, CHUNK_BYTES))
                if not chunk:
                    raise redis.ConnectionError("Connection closed by server.")
                length -= len(chunk)
                yield chunk
            self._file.read(2)

        def _array(self, count: int) -> Any:
            items: list[Any] = []
            size = 0
            for _ in range(count):
                line = self._line()
                if line[:1] == b"$" and (size := size + int(line[1:])) > max_bytes:
                    return self._cut(items, count, line)
                items.append(self._read(line))
            return items

        def _cut(self, items: list[bytes], count: int, line: bytes) -> Cut:
            """Cut an array of strings whose item after `items` makes it too large."""

            def chunks() -> Iterable[bytes]:
                if count > 2:
                    yield from items
                yield from self._chunks(int(line[1:]))
                for _ in range(count - len(items) - 1):
                    yield from self._chunks(int(self._line()[1:]))

            return cut(chunks())

    return CuttingParser

"""A load generator where wrk is not installed: prepared requests over keep-alive connections.

It signs nothing and parses no more than a status line and a length while it measures, so that on a machine of
two cores the server stays the bottleneck.
"""

import selectors
import socket
import sys
import time
from collections import deque
from pathlib import Path
from statistics import median

import msgspec


class Connection:
    """One keep-alive connection with at most one request under way."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.sent_at = 0.0

    def send(self, request: bytes) -> None:
        self.sent_at = time.perf_counter()
        self.socket.sendall(request)

    def answered(self) -> int | None:
        """Return the status when the whole answer is there."""
        self.buffer += self.socket.recv(65_536)
        head, separator, body = self.buffer.partition(b"\r\n\r\n")
        if not separator:
            return None
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(body) < length:
            return None
        self.buffer = b""
        return int(head[9:12])


def drive(
    address: tuple[str, int], requests: list[bytes], connections: int, seconds: float
) -> dict[str, float]:
    """Send requests for so long, `connections` at a time; return what wrk's script prints."""
    waiting = deque(requests)
    times: list[float] = []
    failed = 0
    selector = selectors.DefaultSelector()
    for _ in range(connections):
        connection = Connection(address)
        selector.register(connection.socket, selectors.EVENT_READ, connection)
    started = time.perf_counter()
    for key in list(selector.get_map().values()):
        key.data.send(waiting.popleft())
    missing = connections
    while missing:
        for key, _ in selector.select():
            status = key.data.answered()
            if status is None:
                continue
            times.append(time.perf_counter() - key.data.sent_at)
            failed += status >= 300
            missing -= 1
            if waiting and time.perf_counter() - started < seconds:
                missing += 1
                key.data.send(waiting.popleft())
    took = time.perf_counter() - started
    for key in list(selector.get_map().values()):
        key.data.socket.close()
    return {
        "requests": len(times),
        "seconds": took,
        "p50_ms": median(times) * 1000,
        "failed": failed,
    }


if __name__ == "__main__":
    host, port, connections, path, limit = sys.argv[1:]
    prepared = msgspec.msgpack.decode(Path(path).read_bytes(), type=list[bytes])
    sys.stdout.buffer.write(
        msgspec.json.encode(drive((host, int(port)), prepared, int(connections), float(limit)))
    )

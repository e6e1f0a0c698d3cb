"""A load generator for one endpoint: prepared requests over keep-alive connections, one process, no threads.

It signs nothing and parses no more than a status line and a length while it measures, so that on a machine of
two cores the server stays the bottleneck.
"""

import selectors
import socket
import sys
import time
from collections import deque
from pathlib import Path

import msgspec


class Connection:
    """One keep-alive connection with at most one request under way."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

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


def drive(address: tuple[str, int], requests: list[bytes], connections: int) -> tuple[float, dict[int, int]]:
    """Send all requests, `connections` at a time; return the seconds and how often each status came."""
    waiting = deque(requests)
    statuses: dict[int, int] = {}
    selector = selectors.DefaultSelector()
    for _ in range(connections):
        connection = Connection(address)
        selector.register(connection.socket, selectors.EVENT_READ, connection)
    started = time.perf_counter()
    for key in list(selector.get_map().values()):
        key.data.socket.sendall(waiting.popleft())
    missing = len(requests)
    while missing:
        for key, _ in selector.select():
            status = key.data.answered()
            if status is None:
                continue
            statuses[status] = statuses.get(status, 0) + 1
            missing -= 1
            if waiting:
                key.data.socket.sendall(waiting.popleft())
    seconds = time.perf_counter() - started
    for key in list(selector.get_map().values()):
        key.data.socket.close()
    return seconds, statuses


if __name__ == "__main__":
    host, port, connections, path = sys.argv[1:]
    prepared = msgspec.msgpack.decode(Path(path).read_bytes(), type=list[bytes])
    seconds, statuses = drive((host, int(port)), prepared, int(connections))
    sys.stdout.buffer.write(msgspec.json.encode({"seconds": seconds, "statuses": statuses}))

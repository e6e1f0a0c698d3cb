"""A stand-in for name servers, and a record of the sockets that were connected."""

from __future__ import annotations

import ipaddress
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

HERE = ipaddress.ip_network("127.0.0.2/32")
"""Stands for a public address in tests: loopback too, but allowed by name."""


class Names:
    """A name server whose answers follow one another; the last one stays."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, host: str, _port: int) -> list[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


_connects: list[tuple] = []
_watching = threading.Event()


def _audit(event: str, arguments: tuple) -> None:
    if event == "socket.connect" and _watching.is_set():
        _connects.append(arguments[1])


sys.addaudithook(_audit)


@contextmanager
def connecting() -> Iterator[list[tuple]]:
    """Give the addresses of every socket that this process connects, as Python's audit reports them."""
    _connects.clear()
    _watching.set()
    try:
        yield _connects
    finally:
        _watching.clear()

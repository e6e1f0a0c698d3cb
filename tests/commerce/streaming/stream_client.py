"""A real stream process, and a reader of Server-Sent Events that knows no more than the standard."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

import pytest

from tests.servers import WAIT_TIMEOUT_S, Program, answers, eventually


@dataclass(frozen=True)
class Event:
    id: str
    kind: str
    data: Any


def granian(port: int) -> list[str]:
    """Command line of the stream process."""
    options = ["--host", "127.0.0.1", "--port", str(port), "--interface", "asgi"]
    return [sys.executable, "-m", "granian", *options, "config.asgi:application"]


@pytest.fixture
def stream_process(run_program: Callable[..., Program], free_port: int) -> Callable[..., tuple[str, Program]]:
    """Start the stream process: returns its URL, when it answers, and the program."""

    def start() -> tuple[str, Program]:
        url = f"http://127.0.0.1:{free_port}"
        program = run_program(granian(free_port))
        program.until(lambda: answers(f"{url}/livez"), what="/livez")
        return url, program

    return start


class EventSource:
    """One connection to the stream; after it, `last_event_id` is what to go on from."""

    def __init__(
        self, url: str, key: str, last_event_id: str = "", query: str = "", seconds: float = WAIT_TIMEOUT_S
    ) -> None:
        self.last_event_id = last_event_id
        self._seconds = seconds
        self._connection = HTTPConnection(url.removeprefix("http://"), timeout=seconds)
        headers = {"Authorization": f"Bearer {key}", "Accept": "text/event-stream"}
        if last_event_id:
            headers["Last-Event-ID"] = last_event_id
        self._connection.request("GET", f"/api/v1/stream{query}", headers=headers)
        self.response = self._connection.getresponse()
        self.status = self.response.status

    def problem(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.response.read())
        return body

    def __iter__(self) -> Iterator[Event]:
        """Events with data, until the stream ends; OSError when none comes for too long.

        Lines that keep the connection alive are none.
        """
        kind, data, last = "message", [], self.last_event_id
        deadline = time.monotonic() + self._seconds
        for line in iter(self.response.readline, b""):
            if time.monotonic() > deadline:
                raise TimeoutError(f"no event within {self._seconds:.0f} s")
            name, _, value = line.rstrip(b"\r\n").decode().partition(":")
            value = value.removeprefix(" ")
            match name:
                case "id":
                    last = value
                case "event":
                    kind = value
                case "data":
                    data.append(value)
            if line in (b"\n", b"\r\n"):
                self.last_event_id = last
                if data:
                    yield Event(last, kind, json.loads("\n".join(data)))
                    deadline = time.monotonic() + self._seconds
                kind, data = "message", []

    def take(self, count: int) -> list[Event]:
        events = iter(self)
        return [next(events) for _ in range(count)]

    def wait_for_id(self) -> str:
        """Read to the first id, which every stream starts with."""
        while True:
            line = self.response.readline()
            assert line, "the stream ended without an id"
            if line.startswith(b"id: "):
                self.last_event_id = line[4:].strip().decode()
                return self.last_event_id

    def close(self) -> None:
        if self._connection.sock:
            self._connection.sock.shutdown(socket.SHUT_RDWR)
        self.response.close()
        self._connection.close()


__all__ = ["Event", "EventSource", "eventually", "granian", "stream_process"]

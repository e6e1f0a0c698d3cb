"""What `make run` prints for the operator."""

from __future__ import annotations

import http.client
import sys
import threading
from collections.abc import Mapping
from contextlib import closing, suppress


def print_line(text: str, *, error: bool = False) -> None:
    """Print a line; a terminal that is gone is no error."""
    with suppress(OSError):
        print(text, file=sys.stderr if error else sys.stdout, flush=True)


def announce_when_live(port: int, text: str, stopping: threading.Event) -> None:
    """Print a text as soon as the web server answers, unless the hub is being stopped before that."""
    while not stopping.wait(0.2):
        if is_live(port) and not stopping.is_set():
            print_line(text)
            return


def is_live(port: int) -> bool:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        try:
            connection.request("GET", "/livez")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False


def startup_message(environment: Mapping[str, str], name: str, password: str, *, demo: bool) -> str:
    """Return the addresses, the login and how to stop, framed."""
    port = environment["PORT"]
    lines = [
        "Signal Hub is running.",
        "",
        f"Dashboard  http://127.0.0.1:{port}/admin/",
        f"Login      {name}",
        f"Password   {password}",
        f"Signals    POST http://127.0.0.1:{port}/api/signals",
        f"Feed API   http://127.0.0.1:{port}/api/docs/",
        f"Stream     http://127.0.0.1:{environment['STREAM_PORT']}/api/v1/stream",
        f"Receiver   http://127.0.0.1:{environment['RECEIVER_PORT']}/api/signals (the same, for high rates)",
        "",
        *(["Demo agents publish synthetic signals; DEMO=off leaves them out."] if demo else []),
        "Ctrl-C stops everything; the data stays.",
    ]
    width = max(map(len, lines))
    rule = "─" * (width + 2)
    return "\n".join(["", f"┌{rule}┐", *(f"│ {line:<{width}} │" for line in lines), f"└{rule}┘", ""])

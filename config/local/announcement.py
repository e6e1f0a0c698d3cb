"""What `make run` tells the operator."""

from __future__ import annotations

import http.client
import sys
import threading
from contextlib import suppress


def say(text: str, *, error: bool = False) -> None:
    """Print a line, even to a terminal that is gone."""
    with suppress(OSError):
        print(text, file=sys.stderr if error else sys.stdout, flush=True)


class Announcer:
    """Prints a text as soon as the web server answers, unless the hub is being stopped before that."""

    def __init__(self, port: int, text: str) -> None:
        self._port = port
        self._text = text
        self._cancelled = threading.Event()

    def start(self) -> None:
        """Begin to wait, in the background."""
        threading.Thread(target=self._wait, daemon=True).start()

    def cancel(self) -> None:
        """Say nothing any more."""
        self._cancelled.set()

    def _wait(self) -> None:
        while not self._cancelled.wait(0.2):
            if is_live(self._port) and not self._cancelled.is_set():
                say(self._text)
                return


def is_live(port: int) -> bool:
    """Tell whether the web server answers on `/livez`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def box(port: int, stream_port: str, name: str, password: str, *, demo: bool) -> str:
    """Return the lines that tell where to go and how to stop."""
    lines = [
        "Signal Hub is running.",
        "",
        f"Dashboard  http://127.0.0.1:{port}/admin/",
        f"Login      {name}",
        f"Password   {password}",
        f"Signals    POST http://127.0.0.1:{port}/api/signals",
        f"Feed API   http://127.0.0.1:{port}/api/docs/",
        f"Stream     http://127.0.0.1:{stream_port}/api/v1/stream",
        "",
        *(["Demo agents publish synthetic signals; DEMO=off leaves them out."] if demo else []),
        "Ctrl-C stops everything; the data stays.",
    ]
    width = max(map(len, lines))
    rule = "─" * (width + 2)
    return "\n".join(["", f"┌{rule}┐", *(f"│ {line:<{width}} │" for line in lines), f"└{rule}┘", ""])

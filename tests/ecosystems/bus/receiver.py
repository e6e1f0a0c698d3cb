"""A real HTTP server that keeps what it is sent and gives the answers that a test lays out."""

import json
import threading
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass
class Answer:
    """What to answer to one request; `wait` keeps the client waiting until the event is set."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    wait: threading.Event | None = None


@dataclass
class Received:
    """One request as it came in."""

    body: bytes
    headers: dict[str, str]
    connection: tuple[str, int]

    @property
    def signals(self) -> list[dict[str, Any]]:
        content = json.loads(self.body)
        return content if isinstance(content, list) else [content]


class Receiver:
    """Answers what stands in `script`, then 202 to everything, in the contract's words."""

    def __init__(self, port: int = 0) -> None:
        self.script: deque[Answer] = deque()
        self.requests: list[Received] = []
        self._server = _Server(("127.0.0.1", port), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}/api/signals"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def answer(self, received: Received) -> Answer:
        return self.script.popleft() if self.script else accepted(len(received.signals))

    @property
    def ids(self) -> list[str]:
        """Ids of all signals of all requests, in the order of their arrival."""
        return [signal["signal_id"] for request in self.requests for signal in request.signals]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Clients that are killed or give up are what the tests are about."""


def accepted(count: int, *rejected: dict[str, Any]) -> Answer:
    """202, with what a hub says of the signals that it did not take."""
    body = {
        "status": "accepted",
        "accepted": count - len(rejected),
        "duplicates": 0,
        "rejected": list(rejected),
    }
    return Answer(202, json.dumps(body).encode())


def problem(status: int, code: str, detail: str, *errors: dict[str, Any], **headers: str) -> Answer:
    """An RFC 9457 problem; header names are given with underscores."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": "A problem",
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": "r",
    }
    if errors:
        body["errors"] = list(errors)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, json.dumps(body).encode(), named)


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Without it each answer waits 40 ms for the client's delayed acknowledgement.
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            body = self.rfile.read(length)
            if len(body) < length:
                return  # of a client that was killed while it sent
            headers = {name.lower(): value for name, value in self.headers.items()}
            received = Received(body, headers, self.client_address)
            receiver.requests.append(received)
            answer = receiver.answer(received)
            if answer.wait is not None:
                answer.wait.wait(30)
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(answer.body)))
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler

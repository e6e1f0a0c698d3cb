"""Receive pushed signals: prints each one whose signature is right, once.

    SECRET=whsec_… python examples/receive_signals.py [PORT]

Needs Python 3.11 and `pip install standardwebhooks`. Give a push endpoint the public https:// address of this
server (behind a proxy that ends TLS), and SECRET what the hub showed when the endpoint was made.
"""

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

webhook = Webhook(os.environ["SECRET"])
seen: set[str] = set()
"""A server that is started again needs them on disk: attempts of one message share their id."""


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            message = webhook.verify(body, dict(self.headers))
        except WebhookVerificationError:
            self.answer(401)
            return
        if self.headers["webhook-id"] not in seen:
            print(message["type"], message["data"], flush=True)  # noqa: T201
            seen.add(self.headers["webhook-id"])
        self.answer(204)  # only now: what was not answered 2xx is sent again

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print signals alone."""


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 9000
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()

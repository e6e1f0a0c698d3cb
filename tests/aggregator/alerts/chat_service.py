"""A chat service of the tests: what alerts are sent to."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from aggregator import encryption
from aggregator.alerts import delivery
from aggregator.models import AlertChannel
from tests.aggregator.ledger.samples import rows

TOKEN = "a-token-that-must-stay-secret"


class Receiver(ThreadingHTTPServer):
    """A chat service: keeps what is posted to it, and answers `status` as soon as `let` is set."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.messages, self.status, self.location = [], 200, ""
        self.let = threading.Event()
        self.let.set()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def close(self):
        self.let.set()
        self.shutdown()
        self.server_close()

    @property
    def url(self):
        return f"json://user:{TOKEN}@127.0.0.1:{self.server_address[1]}/hook"

    @property
    def titles(self):
        return [message["title"] for message in self.messages]


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.status == 200:
            self.server.messages.append(json.loads(body))
        self.server.let.wait(30)
        self.send_response(self.server.status)
        if self.server.location:
            self.send_header("Location", self.server.location)
        self.end_headers()

    def log_message(self, *args):
        pass


def open_channel(receiver, name="chat"):
    """A channel to this service."""
    encrypted = encryption.encrypt(receiver.url, delivery.PURPOSE)
    return AlertChannel.objects.create(name=name, encrypted_url=encrypted)


def send_due():
    """Send what is due, as the watcher does; how many were sent in time."""
    return delivery.NotificationSender().send_due()


def passes(minutes):
    """Let time pass for all alerts and notifications."""
    for column in ("since", "found_at", "fired_at", "repeat_at"):
        rows(f"UPDATE alerts SET {column} = {column} - make_interval(mins => %s) RETURNING 1", minutes)
    for column in ("created_at", "due_at", "claimed_until"):
        rows(
            f"UPDATE alert_notifications SET {column} = {column} - make_interval(mins => %s) RETURNING 1",
            minutes,
        )

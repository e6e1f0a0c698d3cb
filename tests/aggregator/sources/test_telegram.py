"""Telegram: registering a hook at its API, and real updates of a channel by that hook."""

import io
import json
import threading
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import telegram
from django.core.management import CommandError, call_command
from django.test import Client

from aggregator.models import DeadLetter, Source, TradingSignal
from tests.aggregator.sources.made import made

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("unhurried_hooks")]
TOKEN = "7104512345:AAFq1b2c3d4e5f6g7h8i9j0kAbCdEfGhIjK"
PUBLIC = "https://hub.example.com"


class Api:
    """A server that answers as https://core.telegram.org/bots/api#setwebhook says."""

    def __init__(self):
        self.answer = (200, {"ok": True, "result": True, "description": "Webhook was set"})
        self.calls = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                api.calls.append((self.path, json.loads(body)))
                status, content = api.answer
                raw = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def api(settings):
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, signal_endpoint=f"{PUBLIC}/api/signals")
    api = Api()
    yield api
    api.server.shutdown()
    api.server.server_close()


@pytest.fixture
def register(api, monkeypatch):
    """Run `manage.py source telegram` with a token on standard input; return all that it prints."""

    def run(name="channel", token=TOKEN, url=None):
        out = io.StringIO()
        monkeypatch.setattr("sys.stdin", io.StringIO(token + "\n"))
        call_command("source", "telegram", name, "--api", url or api.url, stdout=out, stderr=out)
        return out.getvalue()

    return run


def update(number, text, *, edited=False):
    """Return an update as Telegram sends it, made by python-telegram-bot."""
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    chat = telegram.Chat(-1001234567890, "channel", title="Signals", username="signals")
    message = telegram.Message(
        42,
        at,
        chat,
        text=text,
        sender_chat=chat,
        author_signature="Olga",
        edit_date=at.replace(minute=number + 5) if edited else None,
        entities=[telegram.MessageEntity("bold", 0, 3)],
    )
    kind = "edited_channel_post" if edited else "channel_post"
    return telegram.Update(number, **{kind: message}).to_json().encode()


def test_the_hook_is_registered_and_takes_the_bots_updates_only_with_its_secret(api, register):
    _, before = made("channel", "telegram", agent="olga")
    text = register()
    [(path, asked)] = api.calls
    assert path == f"/bot{TOKEN}/setWebhook"
    assert asked["allowed_updates"] == ["channel_post", "edited_channel_post"]
    assert asked["url"].startswith(f"{PUBLIC}/api/hooks/shs_")
    for secret in (TOKEN, asked["url"], asked["secret_token"]):
        assert secret not in text
    header = {"X-Telegram-Bot-Api-Secret-Token": asked["secret_token"]}
    hook = asked["url"].removeprefix(PUBLIC)

    def send(body, headers=header, path=hook):
        return Client(headers=headers).generic("POST", path, body, "application/json").status_code

    opened = update(1, "BUY BTCUSDT @ 64250\nSL 63000\nTP 66000")
    assert send(opened, {}) == send(opened, {"X-Telegram-Bot-Api-Secret-Token": "x"}) == 404
    assert send(opened, {}, before) == 404
    # It repeats an update until it is answered 2xx.
    assert [send(opened), send(opened)] == [202, 200]
    assert send(update(2, "BUY BTCUSDT @ 64250\nSL 64000\nTP 66000", edited=True)) == 202
    assert send(update(3, "Good luck everybody!")) == 422
    assert send(update(4, "close BTCUSDT", edited=True)) == 202
    fields = ("action", "stop_loss", "refers_to", "agent_source")
    rows = TradingSignal.objects.order_by("position").values_list(*fields)
    assert [(action, stop and int(stop), *rest) for action, stop, *rest in rows] == [
        ("BUY", 63000, None, "olga"),
        ("BUY", 64000, "channel:-1001234567890:42", "olga"),
        ("CLOSE", None, "channel:-1001234567890:42", "olga"),
    ]
    assert TradingSignal.objects.order_by("position").first().signal_id == "channel:-1001234567890:42"
    assert DeadLetter.objects.get().code == "no_match"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((401, {"ok": False, "error_code": 401, "description": "Unauthorized"}), "refuses: Unauthorized"),
        (
            (400, {"ok": False, "error_code": 400, "description": f"Bad Request: bad webhook {TOKEN}"}),
            "Bad Request: bad webhook ****",
        ),
        (
            (429, {"ok": False, "error_code": 429, "description": "Too Many Requests: retry after 5"}),
            "Too Many Requests: retry after 5",
        ),
        ((502, b"<html>Bad Gateway</html>"), "Telegram answers 502 without JSON"),
        ((200, [1]), "no reason given"),
    ],
)
def test_what_telegram_refuses_changes_nothing_and_shows_no_token(api, register, answer, words):
    source, _ = made("channel", "telegram")
    api.answer = answer
    with pytest.raises(CommandError) as raised:
        register()
    assert words in str(raised.value)
    assert TOKEN not in str(raised.value)
    after = Source.objects.get()
    assert (bytes(after.token_digest), after.header_digest) == (bytes(source.token_digest), None)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"token": "secret"}, "no bot's token"),
        ({"token": f"{TOKEN}/../x"}, "no bot's token"),
        ({"token": ""}, "no bot's token"),
        ({"url": "http://127.0.0.1:1"}, "does not answer: ConnectError"),
        ({"url": "not a url"}, "does not answer: UnsupportedProtocol"),
        ({"name": "nobody"}, "there is no source nobody"),
    ],
)
def test_what_cannot_be_registered_is_said_in_one_line(api, register, given, words):
    made("channel", "telegram")
    with pytest.raises(CommandError) as raised:
        register(**given)
    assert words in str(raised.value)
    assert api.calls == []

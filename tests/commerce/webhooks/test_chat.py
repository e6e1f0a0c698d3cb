"""Messages that people read in a chat, as the services get them; a local server stands in for each."""

from __future__ import annotations

import json
import time

import pytest
from apprise.plugins.discord import NotifyDiscord
from apprise.plugins.slack import NotifySlack
from apprise.plugins.telegram import NotifyTelegram

from commerce.models import Attempt, Message
from commerce.webhooks import endpoints
from tests.aggregator.track_record.recording import call, candle_rows, insert, score
from tests.commerce.webhooks.pushing import customer, dispatch, endpoint, record
from tests.commerce.webhooks.receiver import Answering, receiver
from tests.servers import eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("receivers_here")]

TOKEN = "123456789:" + "A" * 35
DISCORD = "https://discord.com/api/webhooks/123456789012345678/" + "abcDEF123_-" * 6
SLACK = "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
HOSTILE = {"agent_source": "<b>@everyone</b> *x* & <!channel>"}


@pytest.fixture
def service(monkeypatch):
    """What stands at the addresses of the three services; answers with success."""
    with receiver() as server:
        server.answer = lambda _: Answering(body=b'{"ok": true, "result": {}}')
        monkeypatch.setattr(NotifyDiscord, "notify_url", server.url("/discord"))
        monkeypatch.setattr(NotifySlack, "webhook_url", server.url("/slack"))
        monkeypatch.setattr(NotifyTelegram, "notify_url", server.url("/telegram/bot"))
        yield server


def sent(service) -> dict:
    [request] = service.received
    return json.loads(request.body)


def test_telegram_gets_html_with_nothing_of_the_agents_own(service):
    endpoint(customer(), f"{TOKEN}/-100123", channel="telegram")
    record("a", stop_loss="60000", confidence=0.75, **HOSTILE)
    assert dispatch() == 1
    message = sent(service)
    assert service.received[0].path == f"/telegram/bot{TOKEN}/sendMessage"
    assert str(message["chat_id"]) == "-100123"
    assert message["parse_mode"] == "HTML"
    assert "<b>BUY BTC/USDT</b>" in message["text"]
    assert "Entry 64000.5 · Stop 60000 · Confidence 75%" in message["text"]
    assert "&lt;b&gt;@everyone" in message["text"]
    assert "not investment advice" in message["text"]


@pytest.mark.parametrize(
    ("fields", "lines"),
    [
        ({"action": "CLOSE", "refers_to": "call_1"}, ["*CLOSE BTC/USDT*", "Closes call call_1"]),
        ({"action": "CLOSE"}, ["*CLOSE BTC/USDT*", "Closes all open calls of this agent"]),
        ({"refers_to": "call_1"}, ["*BUY BTC/USDT*", "Changes stop and target of call call_1"]),
    ],
)
def test_a_message_says_what_a_signal_does_to_an_earlier_call(service, fields, lines):
    endpoint(customer(), SLACK, channel="slack")
    record("a", stop_loss="60000", **fields)
    assert dispatch() == 1
    text = sent(service)["attachments"][0]["text"]
    assert text.splitlines()[:2] == lines
    assert "Stop 60000" in text


@pytest.mark.parametrize(
    ("prices", "became"),
    [
        ("100.5/101/100/101 · 101/104.5/101/104", "Closed by target: 100.5 to 104, +1.32 R"),
        ("97.5/99/97/98", "Missed"),
    ],
)
def test_a_chat_gets_outcomes_if_it_asks_for_them(service, prices, became):
    owner = customer(simulated=True)
    endpoint(owner, SLACK, channel="slack", outcomes=True)
    call(entry_price=100, stop_loss=98, take_profit=104)
    insert(candle_rows(prices))
    score()
    assert eventually(lambda: dispatch() >= 0 and len(service.received) == 2)
    texts = [json.loads(request.body)["attachments"][0]["text"].splitlines() for request in service.received]
    assert texts[0][0] == "*BUY BTC/USDT*"
    assert texts[1][:3] == ["*Outcome of BUY BTC/USDT*", "REPLAY: simulated, not a live signal", became]
    assert "Entry" not in "".join(texts[1])
    other, _ = endpoint(owner, DISCORD, channel="discord")
    assert not other.outcomes


def test_an_operators_own_template_is_taken(service, settings, tmp_path):
    own = tmp_path / "commerce" / "chat" / "telegram.html"
    own.parent.mkdir(parents=True)
    own.write_text("{% autoescape off %}<i>{{ signal.name }}</i> by {{ signal.agent }}{% endautoescape %}")
    [engine] = settings.TEMPLATES
    settings.TEMPLATES = [{**engine, "DIRS": [tmp_path, *engine["DIRS"]]}]
    endpoint(customer(), f"{TOKEN}/-100123", channel="telegram")
    record("a", **HOSTILE)
    assert dispatch() == 1
    assert sent(service)["text"].startswith("<i>BTC/USDT</i> by &lt;b&gt;@everyone")


def test_discord_gets_markdown_without_mentions(service):
    endpoint(customer(), DISCORD, channel="discord")
    record("a", **HOSTILE)
    assert dispatch() == 1
    content = json.dumps(sent(service), ensure_ascii=False)
    assert "**BUY BTC/USDT**" in content
    assert "@everyone" not in content
    assert r"\\*x\\*" in content
    assert service.received[0].path.startswith("/discord/123456789012345678/")


def test_slack_gets_its_own_escapes(service):
    endpoint(customer(), SLACK, channel="slack")
    record("a", **HOSTILE)
    assert dispatch() == 1
    content = json.dumps(sent(service))
    assert "*BUY BTC/USDT*" in content
    assert "<!channel>" not in content
    assert service.received[0].path == "/slack/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"


@pytest.mark.parametrize(
    ("channel", "address"),
    [
        ("telegram", f"{TOKEN}/@mychannel"),
        ("discord", DISCORD),
        ("slack", SLACK),
    ],
)
def test_a_test_message_says_so(service, channel, address):
    made, secret = endpoint(customer("me@example.com"), address, channel=channel)
    assert secret is None
    endpoints.send_test(made)
    assert dispatch() == 1
    assert "This is a test" in service.received[0].body.decode()


def test_a_service_that_asks_to_slow_down_holds_no_thread(service):
    """apprise itself would sleep until then, longer than a claim lasts."""
    endpoint(customer(), DISCORD, channel="discord")
    limits = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()) + 300)}
    service.answer = lambda _: Answering(429, limits)
    record("a")
    started = time.monotonic()
    assert dispatch() == 1
    assert time.monotonic() - started < 60
    assert Message.objects.get().state == "waiting"


def test_what_a_service_refuses_is_tried_again(service):
    endpoint(customer(), DISCORD, channel="discord")
    service.answer = lambda _: Answering(404)
    record("a")
    assert dispatch() == 1
    assert Attempt.objects.get().error == "the service did not accept it"
    assert Message.objects.get().state == "waiting"

"""Deliveries that people read, as the services get them; a local server stands in for each."""

from __future__ import annotations

import json

import pytest
from apprise.plugins.discord import NotifyDiscord
from apprise.plugins.slack import NotifySlack
from apprise.plugins.telegram import NotifyTelegram
from django.core import mail

from commerce import chat
from commerce.deliveries import endpoints
from commerce.models import Attempt, Delivery
from tests.commerce.pushing import customer, deliver, endpoint, record
from tests.commerce.receiver import Answering, receiver

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
    assert deliver() == 1
    message = sent(service)
    assert service.received[0].path == f"/telegram/bot{TOKEN}/sendMessage"
    assert str(message["chat_id"]) == "-100123"
    assert message["parse_mode"] == "HTML"
    assert "<b>BUY BTC/USDT</b>" in message["text"]
    assert "Entry 64000.5 · Stop 60000 · Confidence 75%" in message["text"]
    assert "&lt;b&gt;@everyone" in message["text"]
    assert "not investment advice" in message["text"]


def test_discord_gets_markdown_without_mentions(service):
    endpoint(customer(), DISCORD, channel="discord")
    record("a", **HOSTILE)
    assert deliver() == 1
    content = json.dumps(sent(service), ensure_ascii=False)
    assert "**BUY BTC/USDT**" in content
    assert "@everyone" not in content
    assert r"\\*x\\*" in content
    assert service.received[0].path.startswith("/discord/123456789012345678/")


def test_slack_gets_its_own_escapes(service):
    endpoint(customer(), SLACK, channel="slack")
    record("a", **HOSTILE)
    assert deliver() == 1
    content = json.dumps(sent(service))
    assert "*BUY BTC/USDT*" in content
    assert "<!channel>" not in content
    assert service.received[0].path == "/slack/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"


def test_e_mail_goes_to_the_customers_own_address():
    endpoint(customer("me@example.com"), "me@example.com", channel="email")
    record("a")
    assert deliver() == 1
    [message] = mail.outbox
    assert message.to == ["me@example.com"]
    assert message.subject == "BUY BTC/USDT"
    assert "Entry 64000.5" in message.body
    assert Delivery.objects.get().state == "delivered"


@pytest.mark.parametrize(
    ("channel", "address"),
    [
        ("telegram", f"{TOKEN}/@mychannel"),
        ("discord", DISCORD),
        ("slack", SLACK),
        ("email", "me@example.com"),
    ],
)
def test_a_test_message_says_so(service, channel, address):
    made, secret = endpoint(customer("me@example.com"), address, channel=channel)
    assert secret is None
    endpoints.send_test(made)
    assert deliver() == 1
    text = mail.outbox[0].body if channel == "email" else service.received[0].body.decode()
    assert "This is a test" in text


def test_what_a_service_refuses_is_tried_again(service):
    endpoint(customer(), DISCORD, channel="discord")
    service.answer = lambda _: Answering(404)
    record("a")
    assert deliver() == 1
    assert Attempt.objects.get().error == "the service did not take it"
    assert Delivery.objects.get().state == "waiting"


@pytest.mark.parametrize(
    ("channel", "address"),
    [
        ("telegram", "json://127.0.0.1/x"),
        ("telegram", f"{TOKEN}/1?format=text"),
        ("telegram", f"{TOKEN}/"),
        ("discord", "http://discord.com/api/webhooks/123456789012345678/" + "a" * 60),
        ("discord", DISCORD.replace("discord.com", "discord.com.evil.example")),
        ("discord", DISCORD + "/slack"),
        ("slack", "https://hooks.slack.com/workflows/T1/F1/X/Y"),
        ("slack", SLACK.replace("hooks.slack.com", "hooks.slack.com@127.0.0.1")),
        ("email", "me@example.com\nBcc: you@example.com"),
        ("email", "mailto://user:pass@10.0.0.1"),
    ],
)
def test_an_address_of_another_form_is_no_address(channel, address):
    with pytest.raises(ValueError, match="address"):
        chat.shown(channel, address)


def test_a_hostile_subject_stays_one_line():
    endpoint(customer("me@example.com"), "me@example.com", channel="email")
    record("a", symbol="X" * 64)
    deliver()
    assert "\n" not in mail.outbox[0].subject

"""What an endpoint is sent: bodies, signatures that others verify, and secrets that stay secret."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest
from django.utils import timezone
from standardwebhooks import Webhook, WebhookVerificationError

from aggregator.models import TradingSignal
from commerce.feed.signal_serializer import serialize
from commerce.models import Attempt, Endpoint, UsageDay
from commerce.webhooks import endpoints
from commerce.webhooks.signing_secrets import signing_secret
from tests.commerce.webhooks.pushing import customer, dispatch, endpoint, ids, local, message_ids, record

NODE = Path(__file__).parent / "node"

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("receivers_here")]


def test_what_is_recorded_arrives_in_order_and_signed(inbox):
    owner = customer()
    _, secret = endpoint(owner, inbox.url())
    record("a", "b", "c")
    assert dispatch() == 3
    assert ids(inbox) == ["a", "b", "c"]
    assert dispatch() == 0
    for request in inbox.received:
        message = Webhook(secret).verify(request.body, request.headers)
        assert message["type"] == "signal.recorded"
        assert request.headers["content-type"] == "application/json"
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(inbox.received[0].body + b" ", inbox.received[0].headers)
    assert len(set(message_ids(inbox))) == 3


def test_the_body_holds_what_the_feed_gives(inbox):
    endpoint(customer(), inbox.url())
    record("a", tags=["x"], stop_loss="1.50")
    dispatch()
    data = json.loads(inbox.received[0].body)["data"]
    assert data == msgspec.json.decode(msgspec.json.encode(serialize(TradingSignal.objects.get())))
    assert data["stop_loss"] == "1.5"
    assert "raw_payload" not in data


def test_requests_verify_with_the_npm_package(inbox):
    node = shutil.which("node")
    if not node or not (NODE / "node_modules").is_dir():
        pytest.skip("no node, or not its packages: `make tests` installs them where there is npm")
    _, secret = endpoint(customer(), inbox.url())
    record("a", "b", agent_source="Zürich „quoted“ 🚀")
    dispatch()
    lines = [
        {"secret": secret, "headers": request.headers, "body": request.body.decode()}
        for request in inbox.received
    ]
    lines.append({**lines[0], "body": lines[0]["body"].replace("BUY", "SELL")})
    done = subprocess.run(
        [node, "verify.mjs"],
        cwd=NODE,
        input="\n".join(map(json.dumps, lines)),
        capture_output=True,
        text=True,
        check=True,
    )
    *good, forged = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["verified"]["data"]["signal_id"] for answer in good] == ["a", "b"]
    assert forged == {"error": "No matching signature found"}


def test_after_a_rotation_both_secrets_verify_for_a_while(inbox):
    made, old = endpoint(customer(), inbox.url())
    new = endpoints.rotate(made)
    assert new != old
    record("a")
    dispatch()
    for secret in (old, new):
        assert Webhook(secret).verify(inbox.received[0].body, inbox.received[0].headers)
    Endpoint.objects.update(previous_until=timezone.now())
    record("b")
    dispatch()
    assert Webhook(new).verify(inbox.received[1].body, inbox.received[1].headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(old).verify(inbox.received[1].body, inbox.received[1].headers)


def test_a_test_message_is_sent_even_when_nothing_is_recorded(inbox):
    made, secret = endpoint(customer(), inbox.url())
    endpoints.send_test(made)
    dispatch()
    [request] = inbox.received
    assert Webhook(secret).verify(request.body, request.headers)["type"] == "webhook.test"
    assert not UsageDay.objects.exists()


def test_neither_addresses_nor_secrets_are_in_the_database(inbox):
    made, secret = endpoint(customer(), inbox.url("/hook/with-a-token"))
    row = Endpoint.objects.filter(pk=made.pk).values().get()
    text = str(row)
    assert "with-a-token" not in text
    assert secret.removeprefix("whsec_") not in text
    assert signing_secret(made) == secret


def test_a_changed_core_secret_is_named_and_crashes_nothing(inbox, settings):
    endpoint(customer(), inbox.url())
    record("a")
    local(settings, auth_secret="another")
    dispatch()
    assert "CORE_AUTH_SECRET" in Attempt.objects.get().error
    assert inbox.connections == 0

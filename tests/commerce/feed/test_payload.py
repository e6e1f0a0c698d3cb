"""`raw_payload` is for plans that include it, whichever way a signal goes, also beside readers who get it."""

import json

import pytest

from aggregator.models import TradingSignal
from commerce import entitlements
from commerce.feed import NO_FILTERS
from commerce.ledger_window import Place
from commerce.models import Plan
from commerce.streaming import broadcaster
from commerce.webhooks import chats
from commerce.webhooks.planning import Planner
from tests.commerce.feed.reading import reader, record
from tests.commerce.webhooks.pushing import customer, dispatch, endpoint

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("receivers_here")]

PAYLOAD = {"rsi": 27}


@pytest.fixture(autouse=True)
def ledger():
    record("a", raw_payload=PAYLOAD)


def payloads(inbox):
    """What arrived of the payload, by the path of the endpoint."""
    data = {request.path: json.loads(request.body)["data"] for request in inbox.received}
    return {path: each.get("raw_payload") for path, each in data.items()}


def test_rest_shows_it_where_the_plan_includes_it():
    for plan, expected in ((True, PAYLOAD), (False, None)):
        one = reader(payload=plan)
        assert one.page()["signals"][0].get("raw_payload") == expected
        assert one.get("signals/crypto/a").json().get("raw_payload") == expected


def test_streams_show_it_where_the_plan_includes_it():
    for plan, expected in ((True, PAYLOAD), (False, None)):
        scope = entitlements.Scope(payload=plan)
        [(_, event)] = broadcaster.read_events(scope, NO_FILTERS, Place(0, 0), Place(10**18, 0)).events
        assert json.loads(event.partition(b"data: ")[2]).get("raw_payload") == expected


def test_webhooks_that_are_sent_together_get_what_the_plan_of_each_includes(inbox):
    for plan in (True, False):
        endpoint(customer(payload=plan), inbox.url(f"/{plan}"))
    assert Planner().run() == 2
    assert dispatch() == 2
    assert payloads(inbox) == {"/True": PAYLOAD, "/False": None}


@pytest.mark.parametrize("later", [True, False])
def test_a_message_that_waits_has_what_the_plan_includes_when_it_is_sent(inbox, later):
    endpoint(customer(payload=not later), inbox.url("/"))
    assert Planner().run() == 1
    Plan.objects.update(payload=later)
    assert dispatch() == 1
    assert payloads(inbox) == {"/": PAYLOAD if later else None}


def test_chats_and_mail_never_hold_it():
    scope = entitlements.Scope(payload=True)
    signal = entitlements.visible(scope, scope.window()).get()
    assert isinstance(signal, TradingSignal)
    for service in ("discord.md", "email.txt", "slack.md", "telegram.html"):
        assert "rsi" not in chats.render(f"commerce/chat/{service}", str, signal)

"""Signals of history or of made-up prices are outside of every plan that does not include them."""

import json

import pytest
from django.core.management import call_command
from django.test import Client

from aggregator.models import TradingSignal
from commerce import entitlements
from commerce.billing.default_plans import DEFAULT_PLANS
from commerce.feed import NO_FILTERS
from commerce.ledger_window import Place
from commerce.models import Plan
from commerce.streaming import broadcaster
from commerce.webhooks import chats
from tests.commerce.feed.reading import reader, record
from tests.commerce.webhooks.pushing import customer, dispatch, endpoint, ids
from tests.servers import eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("receivers_here")]

ALL = ["live", "replayed", "made-up", "seeded", "named-so"]
REAL = ["live", "named-so"]


@pytest.fixture(autouse=True)
def ledger():
    record("live", agent_source="real", tags=["ema"])
    record("replayed", agent_source="replayer", symbol="GOOGUSDT", tags=["replay"])
    record("made-up", agent_source="simulator", symbol="ETHUSDT", tags=["demo", "synthetic"])
    record("seeded", agent_source="simulator", symbol="ETHUSDT", tags=["synthetic", "synthetic:7"])
    record("named-so", agent_source="real", tags=["replays", "synthetics"])


@pytest.mark.parametrize(("simulated", "expected"), [(False, REAL), (True, ALL)])
def test_rest_shows_them_where_the_plan_includes_them(simulated, expected):
    one = reader(simulated=simulated)
    assert one.ids() == expected
    assert one.ids(agent="simulator") == [name for name in expected if name in {"made-up", "seeded"}]
    assert one.get("signals/crypto/replayed").status_code == (200 if simulated else 404)
    listed = {row["instrument"] for row in one.get("instruments").json()["instruments"]}
    assert listed == ({"BTC/USDT", "ETH/USDT", "GOOGUSDT"} if simulated else {"BTC/USDT"})
    agents = {row["agent"] for row in one.get("agents").json()["agents"]}
    assert agents == ({"real", "replayer", "simulator"} if simulated else {"real"})
    assert one.get("me").json()["rights"]["simulated"] is simulated
    tagged = {row["signal_id"]: row["tags"] for row in one.page()["signals"]}
    assert tagged.get("replayed", ["replay"]) == ["replay"]


@pytest.mark.parametrize(("simulated", "expected"), [(False, REAL), (True, ALL)])
def test_streams_and_webhooks_do_as_rest_does(inbox, simulated, expected):
    owner = customer(simulated=simulated)
    scope = entitlements.scope(Plan.objects.get())
    events = broadcaster.read_events(scope, NO_FILTERS, Place(0, 0), Place(10**18, 0)).events
    found = [json.loads(event.partition(b"data: ")[2])["signal_id"] for _, event in events]
    assert found == expected
    endpoint(owner, inbox.url("/"))
    eventually(lambda: dispatch() or ids(inbox) == expected)
    assert ids(inbox) == expected


def test_a_message_that_waits_is_withheld_when_the_plan_includes_them_no_more(inbox):
    owner = customer(simulated=True)
    scope = entitlements.scope(Plan.objects.get())
    endpoint(owner, inbox.url("/"))
    Plan.objects.update(simulated=False)
    dispatch()
    assert ids(inbox) == REAL
    assert scope != entitlements.scope(Plan.objects.get())


def test_they_are_marked_in_chats_mail_and_the_admin(admin_client):
    for name, mark in (("replayed", "replay"), ("seeded", "synthetic"), ("live", ""), ("named-so", "")):
        signal = TradingSignal.objects.get(signal_id=name)
        assert signal.simulation == mark
        for service in ("discord.md", "email.txt", "slack.md", "telegram.html"):
            text = chats.render(f"commerce/chat/{service}", str, signal)
            assert ("simulated, not a live signal" in text) == bool(mark), service
        assert chats._subject(signal).startswith(f"[{mark}] BUY" if mark else "BUY")
    shown = admin_client.get("/admin/aggregator/tradingsignal/", headers={"host": "localhost"})
    assert shown.content.decode().count("BUY market, synthetic") == 2
    assert shown.content.decode().count("BUY market, replay") == 1


def test_the_plans_of_a_demo_hub_include_them(client: Client):
    call_command("seed_plans", "--simulated")
    assert set(Plan.objects.values_list("slug", "simulated")) == {(slug, True) for slug in DEFAULT_PLANS}
    assert (
        "Includes simulated signals" in client.get("/plans/", headers={"host": "localhost"}).content.decode()
    )
    Plan.objects.all().delete()
    call_command("seed_plans")
    assert not Plan.objects.filter(simulated=True).exists()

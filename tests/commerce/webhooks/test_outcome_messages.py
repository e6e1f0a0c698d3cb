"""What became of a call is sent to webhooks, under the entitlement of the call."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from standardwebhooks import Webhook

from commerce.models import Endpoint, Message, Plan, UsageDay
from commerce.webhooks import attempts, endpoints
from commerce.webhooks.dispatcher import claim_due
from commerce.webhooks.planning import Planner
from tests.aggregator.track_record.recording import call, candle_rows, insert, score
from tests.commerce.feed.reading import pass_time
from tests.commerce.webhooks.pushing import customer, dispatch, endpoint, message_ids

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("receivers_here")]

LONG = {"entry_price": 100, "stop_loss": 98, "take_profit": 104}
SIMULATED = {
    name: True
    for name in ("simulated", "include_simulated")
    if name in {field.name for field in Plan._meta.get_fields()}
}


def decide(**fields):
    signal_id = call(**LONG | fields)
    insert(candle_rows("100.5/101/100/101 · 101/104.5/101/104"), instrument=fields.get("symbol", "BTC/USDT"))
    score()
    return signal_id


def sent(inbox):
    return [json.loads(request.body) for request in inbox.received]


def test_what_was_decided_is_sent_after_the_call_once_and_signed(inbox):
    owner = customer(**SIMULATED)
    _, secret = endpoint(owner, inbox.url())
    signal_id = decide()
    assert dispatch() == 2
    assert dispatch() == 0
    first, second = sent(inbox)
    assert (first["type"], second["type"]) == ("signal.recorded", "outcome.decided")
    data = second["data"]
    assert (data["signal_id"], data["state"], data["exit_reason"]) == (signal_id, "closed", "target")
    assert data["cursor"] == first["data"]["cursor"]
    for request in inbox.received:
        Webhook(secret).verify(request.body, request.headers)
    assert UsageDay.objects.get().signals == 2


def test_a_change_by_late_prices_is_sent_too(inbox):
    endpoint(customer(**SIMULATED), inbox.url())
    prices = candle_rows("100.5/101/100/101 · 101/102/97/99 · 101/105/100.9/104.5")
    call(**LONG)
    insert([prices[0], prices[2]])
    score()
    dispatch()
    insert([prices[1]])
    score()
    dispatch()
    assert [each["data"].get("exit_reason") for each in sent(inbox)][1:] == ["target", "stop"]


def test_an_endpoint_gets_what_its_plan_has_and_nothing_of_before(inbox):
    decide(symbol="SOL/USDT")
    endpoint(customer(instruments=["BTC/*"], **SIMULATED), inbox.url(), after=None)
    decide(symbol="ETH/USDT")
    signal_id = decide()
    dispatch()
    assert {each["data"]["signal_id"] for each in sent(inbox)} == {signal_id}


def test_a_plans_delay_holds_back_what_was_decided(inbox):
    endpoint(customer(delay=timedelta(hours=1), **SIMULATED), inbox.url())
    decide()
    dispatch()
    assert sent(inbox) == []
    assert Endpoint.objects.get().outcomes_to == 0


def test_a_webhook_may_leave_them_out(inbox):
    endpoint(customer(**SIMULATED), inbox.url(), outcomes=False)
    decide()
    dispatch()
    assert [each["type"] for each in sent(inbox)] == ["signal.recorded"]


def test_of_a_call_behind_the_cursor_of_a_new_endpoint_what_was_decided_is_sent_too(inbox):
    decide()
    endpoint(customer(**SIMULATED), inbox.url(), after=0)
    dispatch()
    assert [each["type"] for each in sent(inbox)] == ["signal.recorded", "outcome.decided"]


def test_what_was_decided_within_the_delay_before_an_endpoint_was_created_is_sent_later(inbox):
    endpoint(customer(delay=timedelta(hours=1), **SIMULATED), inbox.url(), after=None)
    signal_id = decide()
    endpoint(customer(delay=timedelta(hours=1), **SIMULATED), inbox.url(), after=None)
    dispatch()
    assert sent(inbox) == []
    pass_time(timedelta(hours=2))
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("UPDATE outcome_events SET decided_at = decided_at - interval '2 hours'")
        cursor.execute("SET session_replication_role = origin")
    dispatch()
    assert Counter((each["type"], each["data"]["signal_id"]) for each in sent(inbox)) == {
        ("signal.recorded", signal_id): 2,
        ("outcome.decided", signal_id): 2,
    }


def test_a_replay_sends_what_was_decided_again(inbox):
    created, _ = endpoint(customer(**SIMULATED), inbox.url())
    decide()
    dispatch()
    endpoints.replay(created, 0)
    dispatch()
    assert len(message_ids(inbox)) == 4
    assert message_ids(inbox)[2:] == message_ids(inbox)[:2]


def test_an_endpoint_whose_day_is_used_up_is_not_looked_at_each_time(inbox):
    endpoint(customer(signals_per_day=1, **SIMULATED), inbox.url())
    decide()
    assert dispatch() == 1
    planner = Planner()
    planner.run()
    with CaptureQueriesContext(connection) as captured:
        planner.run()
    assert not [query for query in captured if "FOR UPDATE" in query["sql"]]


def test_what_is_due_to_many_endpoints_takes_no_more_queries_than_to_one(inbox):
    owner = customer(**SIMULATED)
    for number in range(3):
        endpoint(owner, inbox.url(f"/{number}"))
    decide()
    assert dispatch() == 6
    queries = {}
    for count in (1, 3):
        Message.objects.filter(outcome_event__isnull=False).update(state="waiting", due_at=Now())
        Endpoint.objects.update(free_at=Now())
        with CaptureQueriesContext(connection) as captured:
            claims, _ = claim_due(count, slow=False)
            assert [attempts.send(claim).status for claim in claims] == [200] * count
        assert sent(inbox)[-1]["type"] == "outcome.decided"
        queries[count] = len(captured)
    assert queries[1] == queries[3]

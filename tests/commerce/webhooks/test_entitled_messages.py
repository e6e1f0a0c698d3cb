"""What is delivered is what the subscription covers, asked anew each time."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from commerce.models import Message, Plan, Subscription, UsageDay
from tests.commerce.feed.reading import pass_time
from tests.commerce.webhooks.pushing import answering, customer, deliver, endpoint, hurry, ids, record

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("receivers_here")]


def test_without_a_live_subscription_nothing_is_sent_and_nothing_is_lost(inbox):
    owner = customer()
    endpoint(owner, inbox.url())
    record("a")
    Subscription.objects.update(state="expired")
    assert deliver() == 0
    Subscription.objects.update(state="active")
    hurry()
    deliver()
    assert ids(inbox) == ["a"]


def test_a_subscription_that_lapses_between_two_attempts_holds_the_delivery(inbox):
    endpoint(customer(), inbox.url())
    inbox.answer = answering(500)
    record("a")
    deliver()
    Subscription.objects.update(state="past_due", grace_until=timezone.now() - timedelta(seconds=1))
    hurry()
    assert deliver() == 0
    Subscription.objects.update(grace_until=timezone.now() + timedelta(hours=1))
    hurry()
    assert deliver() == 1


def test_a_plan_that_shrinks_withholds_what_it_no_longer_covers(inbox):
    owner = customer()
    endpoint(owner, inbox.url())
    inbox.answer = answering(500)
    record("a")
    deliver()
    plan = Subscription.objects.get().plan
    plan.ecosystems = ["forex"]
    plan.save()
    hurry()
    deliver()
    assert Message.objects.get().state == "withheld"
    assert len(inbox.received) == 1


def test_only_what_the_plan_and_the_key_cover_is_sent(inbox):
    owner = customer(ecosystems=["crypto", "forex"], instruments=["BTC/*", "EUR/USD"])
    endpoint(owner, inbox.url("/all"))
    endpoint(owner, inbox.url("/forex"), ecosystems=["forex"])
    record("btc")
    record("eth", symbol="ETHUSDT")
    record("eur", ecosystem="forex", symbol="EURUSD")
    record("aapl", ecosystem="stock", symbol="AAPL")
    deliver()
    got = {(r.path, json.loads(r.body)["data"]["signal_id"]) for r in inbox.received}
    assert got == {("/all", "btc"), ("/all", "eur"), ("/forex", "eur")}


def test_a_delayed_plan_gets_a_signal_when_it_is_old_enough(inbox):
    owner = customer(delay=timedelta(minutes=15))
    endpoint(owner, inbox.url())
    record("a")
    for passed, attempts in ((0, 0), (14, 0), (2, 1)):
        pass_time(timedelta(minutes=passed))
        hurry()
        assert deliver() == attempts
    assert ids(inbox) == ["a"]


def test_the_signals_of_a_day_are_counted_once_and_end_at_the_limit(inbox):
    owner = customer(signals_per_day=3)
    made, _ = endpoint(owner, inbox.url())
    inbox.answer = answering(500)
    record("a", "b", "c", "d", "e")
    deliver()
    inbox.answer = answering(200)
    for _ in range(3):
        hurry(timedelta(minutes=20))
        deliver()
    assert sorted(ids(inbox)[1:]) == ["a", "b", "c"]
    assert UsageDay.objects.get().signals == 3
    made.refresh_from_db()
    assert made.plan_at > timezone.now()
    UsageDay.objects.update(signals=0)
    hurry()
    deliver()
    assert sorted(ids(inbox)[1:]) == ["a", "b", "c", "d", "e"]


def test_a_greater_plan_ends_the_wait_for_the_next_day(inbox):
    endpoint(customer(signals_per_day=1), inbox.url())
    record("a", "b")
    assert deliver() == 1
    Plan.objects.update(signals_per_day=10)
    hurry(timedelta(minutes=1))
    deliver()
    assert ids(inbox) == ["a", "b"]


def test_endpoints_beyond_a_smaller_plan_are_held(inbox):
    owner = customer(webhooks=2)
    endpoint(owner, inbox.url("/first"))
    endpoint(owner, inbox.url("/second"))
    Plan.objects.update(webhooks=1)
    record("a")
    deliver()
    assert [request.path for request in inbox.received] == ["/first"]
    Plan.objects.update(webhooks=2)
    hurry()
    deliver()
    assert [request.path for request in inbox.received] == ["/first", "/second"]

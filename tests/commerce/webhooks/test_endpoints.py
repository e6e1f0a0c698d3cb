"""What owners do with endpoints: make, pause, replay, switch on again, delete."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from aggregator.models import TradingSignal
from aggregator.periodic import PeriodicJobs
from commerce.models import Attempt, Endpoint, Message
from commerce.webhooks import endpoints
from commerce.webhooks.message_retention import delete_old_messages
from tests.commerce.webhooks.pushing import (
    answering,
    customer,
    deliver,
    endpoint,
    hurry,
    ids,
    local,
    message_ids,
    record,
)
from tests.commerce.webhooks.receiver import Answering

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("receivers_here")]


def test_a_new_endpoint_begins_with_now(inbox):
    owner = customer()
    record("before")
    endpoint(owner, inbox.url(), after=None)
    record("after")
    deliver()
    assert ids(inbox) == ["after"]


def test_a_pause_holds_and_a_resumption_sends_the_meantime(inbox):
    made, _ = endpoint(customer(), inbox.url())
    endpoints.set_paused(made, True)
    record("a", "b")
    assert deliver() == 0
    endpoints.set_paused(made, False)
    deliver()
    assert ids(inbox) == ["a", "b"]


def test_switched_on_again_it_goes_on_where_it_stopped(inbox):
    made, _ = endpoint(customer(), inbox.url())
    inbox.answer = answering(410)
    record("a", "b", "c")
    deliver()
    inbox.answer = answering(200)
    endpoints.set_paused(made, False)
    deliver()
    assert ids(inbox) == ["a", "b", "c"]
    assert sorted(Message.objects.values_list("state", flat=True)) == ["delivered", "delivered", "failed"]


def test_a_replay_sends_again_under_the_same_ids(inbox):
    made, _ = endpoint(customer(), inbox.url())
    record("a", "b", "c")
    deliver()
    endpoints.replay(made, TradingSignal.objects.get(signal_id="a").position)
    deliver()
    assert ids(inbox) == ["a", "b", "c", "b", "c"]
    sent = message_ids(inbox)
    assert sent[1:3] == sent[3:5]
    assert Attempt.objects.count() == 5


def test_a_cursor_from_the_future_skips_nothing(inbox):
    made, _ = endpoint(customer(), inbox.url(), after=10**12)
    endpoints.replay(made, 10**12)
    record("a")
    deliver()
    assert ids(inbox) == ["a"]


def test_a_replay_outlives_the_pruning_of_old_messages(inbox):
    made, _ = endpoint(customer(), inbox.url())
    record("a")
    deliver()
    assert delete_old_messages() == 0
    Message.objects.update(created_at=timezone.now() - timedelta(days=31))
    assert delete_old_messages() == 1
    assert not Attempt.objects.exists()
    endpoints.replay(made, 0)
    deliver()
    assert len(set(message_ids(inbox))) == 1
    assert len(inbox.received) == 2


def test_an_endpoint_deleted_under_way_is_sent_nothing_more(inbox):
    made, _ = endpoint(customer(), inbox.url())
    inbox.answer = lambda _: Answering(before=lambda: Endpoint.objects.filter(pk=made.pk).delete())
    record("a", "b")
    deliver()
    hurry()
    assert deliver() == 0
    assert len(inbox.received) == 1


def test_a_deletion_does_not_wait_for_deliveries_which_go_with_age(inbox, django_assert_num_queries):
    made, _ = endpoint(customer(), inbox.url())
    inbox.answer = answering(500)
    record("a", "b", "c")
    deliver()
    with django_assert_num_queries(1):
        made.delete()
    assert delete_old_messages() == 0
    Message.objects.update(created_at=timezone.now() - timedelta(days=31))
    assert delete_old_messages() == 3
    assert not Attempt.objects.exists()


def test_deliveries_are_kept_as_long_as_the_operator_says(inbox, settings):
    endpoint(customer(), inbox.url())
    record("a")
    deliver()
    inbox.answer = answering(500)
    record("waits")
    deliver()
    Message.objects.update(created_at=timezone.now() - timedelta(days=31))
    local(settings, delivery_days=32)
    assert delete_old_messages() == 0
    local(settings, delivery_days=30)
    assert delete_old_messages() == 1
    assert Message.objects.get().state == "waiting"


def test_a_periodic_job_deletes_what_is_old(inbox):
    endpoint(customer(), inbox.url())
    record("a")
    deliver()
    Message.objects.update(created_at=timezone.now() - timedelta(days=31))
    jobs = PeriodicJobs()
    while jobs.run_once():
        pass
    assert not Message.objects.exists()

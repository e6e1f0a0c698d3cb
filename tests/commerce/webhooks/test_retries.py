"""When a message fails: what is on record, when it is attempt again, and when an endpoint is given up."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core import mail
from django.utils import timezone

from commerce.models import Attempt, Endpoint, Message
from commerce.webhooks import retries
from tests.commerce.webhooks.pushing import (
    answering,
    customer,
    deliver,
    endpoint,
    hurry,
    local,
    message_ids,
    record,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("receivers_here")]


def test_a_failure_is_tried_again_under_the_same_id_and_is_on_record(inbox):
    endpoint(customer(), inbox.url())
    inbox.answer = answering(500, body=b"\x00" + b"x" * 5000)
    record("a")
    assert deliver() == 1
    row = Message.objects.get()
    assert (row.state, row.attempt_count) == ("waiting", 1)
    assert timedelta(seconds=4) < row.due_at - Attempt.objects.get().at < timedelta(seconds=5.6)
    inbox.answer = answering(204)
    hurry()
    assert deliver() == 1
    first, second = Attempt.objects.order_by("number")
    assert (first.number, first.status, len(first.excerpt)) == (1, 500, 1024)
    assert (second.number, second.status, second.error) == (2, 204, "")
    assert len(set(message_ids(inbox))) == 1
    row.refresh_from_db()
    assert row.state == "delivered"
    assert Endpoint.objects.get().failing_since is None


def test_the_schedule_is_kept_to_its_end(inbox):
    endpoint(customer(), inbox.url())
    inbox.answer = answering(503)
    record("a")
    waits = []
    for _ in retries.SCHEDULE:
        hurry()
        assert deliver() == 1
        row = Message.objects.get()
        waits.append(row.due_at - Attempt.objects.latest("number").at)
    for wait, planned in zip(waits, retries.SCHEDULE[1:], strict=False):
        assert planned <= wait <= planned * (1 + retries.JITTER)
    assert row.state == "failed"
    hurry()
    assert deliver() == 0
    assert len(inbox.received) == 10


def test_retry_after_is_honoured_for_all_of_an_endpoints_messages(inbox):
    endpoint(customer(), inbox.url())
    inbox.answer = answering(429, headers={"Retry-After": "3600"})
    record("a", "b")
    assert deliver() == 1
    assert Message.objects.get(signal__signal_id="a").due_at - timezone.now() > timedelta(minutes=59)
    hurry(timedelta(minutes=58))
    record("c")
    assert deliver() == 0
    inbox.answer = answering(200)
    hurry(timedelta(minutes=2))
    assert deliver() == 3


def test_410_disables_at_once_and_its_owner_is_told(inbox):
    owner = customer("owner@example.com")
    made, _ = endpoint(owner, inbox.url())
    inbox.answer = answering(410)
    record("a", "b")
    deliver()
    made.refresh_from_db()
    assert (made.state, made.notify) == ("disabled", False)
    assert len(inbox.received) == 1
    [notice] = mail.outbox
    assert notice.to == ["owner@example.com"]
    assert "410 Gone" in notice.body
    assert made.public_id in notice.body
    hurry()
    assert deliver() == 0
    assert len(mail.outbox) == 1


def test_five_days_of_failure_disable_with_one_notice(inbox):
    made, _ = endpoint(customer(), inbox.url())
    inbox.answer = answering(500)
    record("a")
    deliver()
    Endpoint.objects.update(failing_since=timezone.now() - timedelta(days=4, hours=23))
    hurry()
    deliver()
    made.refresh_from_db()
    assert made.state == "active"
    Endpoint.objects.update(failing_since=timezone.now() - timedelta(days=5, seconds=1))
    hurry()
    deliver()
    made.refresh_from_db()
    assert (made.state, made.reason) == ("disabled", "It failed for five days.")
    assert len(mail.outbox) == 1


def test_after_an_outage_what_waits_comes_soon(inbox):
    endpoint(customer(), inbox.url())
    inbox.answer = answering(500)
    record("a", "b", "c")
    for _ in range(3):
        deliver()
        Endpoint.objects.update(wake_at=timezone.now(), plan_at=timezone.now())
    Message.objects.update(due_at=timezone.now() + timedelta(hours=20))
    first = Message.objects.order_by("position").first()
    Message.objects.filter(pk=first.pk).update(due_at=timezone.now())
    Endpoint.objects.update(failing_since=timezone.now() - timedelta(hours=1), wake_at=timezone.now())
    inbox.answer = answering(200)
    deliver()
    waiting = Message.objects.filter(state="waiting")
    assert waiting
    assert all(row.due_at - timezone.now() < timedelta(seconds=11) for row in waiting)


def test_an_address_turned_bad_is_refused_at_sending(inbox, settings):
    endpoint(customer(), inbox.url())
    record("a")
    local(settings, networks=())
    deliver()
    assert inbox.connections == 0
    assert Attempt.objects.get().error == "refused: address_not_public"


def test_a_redirect_is_a_failure(inbox):
    endpoint(customer(), inbox.url())
    inbox.answer = answering(302, headers={"Location": inbox.url("/elsewhere")})
    record("a")
    deliver()
    assert [request.path for request in inbox.received] == ["/hook"]
    assert Message.objects.get().state == "waiting"

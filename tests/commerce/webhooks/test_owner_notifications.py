"""The e-mail that says an endpoint was disabled."""

from __future__ import annotations

import socket

import pytest
from django.core import mail
from django.utils import timezone

from commerce.models import Endpoint
from commerce.webhooks import endpoints, owner_notifications
from tests.commerce.webhooks.pushing import answering, customer, dispatch, endpoint, record
from tests.servers import WAIT_TIMEOUT_S

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("receivers_here")]


def test_a_notification_that_cannot_be_mailed_is_due_until_it_can(inbox, settings, free_port):
    backend = settings.EMAIL_BACKEND
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", free_port
    endpoint(customer(), inbox.url())
    inbox.answer = answering(410)
    record("a")
    dispatch()
    assert owner_notifications.send_due() == 0
    settings.EMAIL_BACKEND = backend
    assert owner_notifications.send_due() == 0, "not again at once"
    let_time_pass()
    assert owner_notifications.send_due() == 1
    assert len(mail.outbox) == 1


def test_an_address_that_no_host_can_have_stops_no_job():
    owned, _ = endpoint(customer("a@" + "\u0131" * 63 + ".example"), "https://93.184.215.14/")
    Endpoint.objects.update(state="disabled", notify_at=timezone.now())
    assert owner_notifications.send_due() == 0
    assert Endpoint.objects.get(pk=owned.pk).notify_at > timezone.now()


def test_an_endpoint_that_was_resumed_meanwhile_is_none_to_notify_of(inbox):
    owned, _ = endpoint(customer(), inbox.url())
    inbox.answer = answering(410)
    record("a")
    dispatch()
    endpoints.set_paused(owned, False)
    assert owner_notifications.send_due() == 0
    assert not mail.outbox


def test_a_notification_that_a_killed_worker_was_sending_is_sent_by_another(inbox, run_manage):
    gone, _ = endpoint(customer(), inbox.url())
    Endpoint.objects.update(state="disabled", notify_at=timezone.now())
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(WAIT_TIMEOUT_S)
        host, port = silent.getsockname()
        worker = run_manage("run_worker", "--only", "periodic", EMAIL_URL=f"smtp://{host}:{port}")
        held, _ = silent.accept()
        assert owner_notifications.send_due() == 0, "only one worker sends it"
        worker.kill()
        held.close()
    let_time_pass()
    assert owner_notifications.send_due() == 1
    assert owner_notifications.send_due() == 0
    assert len(mail.outbox) == 1
    assert Endpoint.objects.get(pk=gone.pk).notify_at is None


def let_time_pass() -> None:
    Endpoint.objects.exclude(notify_at=None).update(notify_at=timezone.now())

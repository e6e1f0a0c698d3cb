"""The e-mail that says an endpoint was disabled."""

from __future__ import annotations

import socket
import threading

import pytest
from django.core import mail

from aggregator.worker import Worker
from commerce.models import Endpoint
from commerce.webhooks.dispatcher import Dispatcher
from tests.commerce.webhooks.pushing import answering, customer, deliver, endpoint, record
from tests.servers import WAIT_TIMEOUT_S, eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("receivers_here")]


def test_a_notice_that_cannot_be_mailed_is_owed_until_it_can(inbox, settings, free_port):
    backend = settings.EMAIL_BACKEND
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", free_port
    endpoint(customer(), inbox.url())
    inbox.answer = answering(410)
    record("a")
    deliver()
    assert Endpoint.objects.get().notify
    settings.EMAIL_BACKEND = backend
    deliver()
    assert len(mail.outbox) == 1


def test_a_notice_that_a_killed_worker_had_under_way_is_still_owed(inbox, run_manage):
    gone, _ = endpoint(customer(), inbox.url())
    Endpoint.objects.update(state="disabled", notify=True)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(WAIT_TIMEOUT_S)
        host, port = silent.getsockname()
        worker = run_manage("run_worker", "--only", "webhooks", EMAIL_URL=f"smtp://{host}:{port}")
        held, _ = silent.accept()
        deliver()
        assert mail.outbox == [], "only one worker is at it"
        worker.process.kill()
        worker.wait()
        held.close()
    eventually(lambda: (deliver(), mail.outbox)[1])
    deliver()
    assert len(mail.outbox) == 1
    assert not Endpoint.objects.get(pk=gone.pk).notify


def test_a_mail_server_that_hangs_holds_up_no_delivery(inbox, settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(WAIT_TIMEOUT_S)
        settings.EMAIL_HOST, settings.EMAIL_PORT = silent.getsockname()
        settings.EMAIL_TIMEOUT = 300
        endpoint(customer(), inbox.url())
        gone, _ = endpoint(customer(), inbox.url())
        Endpoint.objects.filter(pk=gone.pk).update(state="disabled", notify=True)
        stop = threading.Event()
        deliverer = Dispatcher(stop)
        runner = threading.Thread(target=Worker({"webhooks": lambda: deliverer}, stop).run)
        runner.start()
        held, _ = silent.accept()
        record("a")
        eventually(lambda: inbox.received)
        stop.set()
        held.close()
        runner.join()
    assert Endpoint.objects.get(pk=gone.pk).notify

"""Signals by e-mail, over the server of EMAIL_URL, a real one."""

from __future__ import annotations

import ssl
from urllib.parse import quote

import pytest
import trustme
from django.core import mail
from django.test import Client

from aggregator.http.problems import Problem
from commerce.models import Attempt, Message
from commerce.webhooks import endpoints
from tests.commerce.pages.mail_server import PASSWORD, USER, mail_over, mail_server
from tests.commerce.webhooks.pushing import customer, dispatch, endpoint, hurry, record

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("receivers_here")]

LOGIN = f"{quote(USER)}:{quote(PASSWORD, safe='')}"


@pytest.fixture
def authority(monkeypatch, tmp_path) -> trustme.CA:
    """An authority that this process trusts."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return authority


def mailing(address: str = "me@example.com"):
    """An endpoint that mails to its owner."""
    return endpoint(customer(address), address, channel="email")[0]


def test_a_signal_goes_to_the_customers_own_address(settings, free_port):
    mail_over(settings, f"smtp://127.0.0.1:{free_port}")
    mailing()
    record("a", stop_loss="60000", agent_source="Zürich <b>& Bcc: you@example.com")
    with mail_server(free_port) as kept:
        assert dispatch() == 1
    [(recipients, message)] = kept.messages
    assert recipients == ["me@example.com"]
    assert (message["To"], message["From"]) == ("me@example.com", "Signal Hub <hub@example.com>")
    assert message["Subject"] == "BUY BTC/USDT"
    assert message.get_content_type() == "text/plain"
    text = message.get_content()
    assert "Entry 64000.5 · Stop 60000" in text
    assert "Zürich <b>& Bcc: you@example.com" in text
    assert "not investment advice" in text
    assert "Bcc" not in message
    assert Message.objects.get().state == "delivered"


def test_a_mail_can_be_unsubscribed_from_by_its_link_and_by_the_mail_programs_button(
    settings, free_port, client
):
    settings.PUBLIC_ORIGIN = "https://hub.example"
    mail_over(settings, f"smtp://127.0.0.1:{free_port}")
    made = mailing()
    record("a")
    with mail_server(free_port) as kept:
        assert dispatch() == 1
        [(_, message)] = kept.messages
        link = message["List-Unsubscribe"].strip(" <>")
        assert link in message.get_content()
        assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        path = link.removeprefix("https://hub.example")
        assert "Stop sending signals to" in client.get(path).content.decode()
        made.refresh_from_db()
        assert made.state == "active", "opening a link must not use it: mail scanners do that"
        stranger = Client(enforce_csrf_checks=True)
        pressed = stranger.post(path, {"List-Unsubscribe": "One-Click"})
        assert "No more signals are sent" in pressed.content.decode()
        made.refresh_from_db()
        assert (made.state, made.reason) == ("disabled", "Unsubscribed by the link in an e-mail.")
        record("b")
        assert dispatch() == 0
    assert stranger.post(path[:-1] + ("x" if path[-1] != "x" else "y")).status_code == 404
    endpoints.set_paused(made, False)
    assert made.state == "active"


@pytest.mark.parametrize(
    ("scheme", "starttls"), [("smtp+tls", True), ("smtp+ssl", False), ("submission", True)]
)
def test_it_logs_in_over_tls(settings, free_port, authority, scheme, starttls):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    mail_over(settings, f"{scheme}://{LOGIN}@127.0.0.1:{free_port}")
    endpoints.send_test(mailing())
    with mail_server(free_port, tls, starttls=starttls) as kept:
        assert dispatch() == 1
    assert kept.logins == [USER]
    [(_, message)] = kept.messages
    assert "This is a test" in message.get_content()


def test_a_server_with_a_certificate_of_nobodys_is_not_spoken_to(settings, free_port):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
    mail_over(settings, f"smtp+tls://{LOGIN}@127.0.0.1:{free_port}")
    mailing()
    record("a")
    with mail_server(free_port, tls, starttls=True) as kept:
        assert dispatch() == 1
    assert (kept.messages, kept.logins) == ([], [])
    assert Message.objects.get().state == "waiting"


def test_what_the_server_refuses_or_is_not_there_for_is_tried_again(settings, free_port):
    mail_over(settings, f"smtp://127.0.0.1:{free_port}")
    mailing()
    record("a")
    assert dispatch() == 1  # there is no server
    with mail_server(free_port) as kept:
        kept.refuses = True
        hurry()
        assert dispatch() == 1
        kept.refuses = False
        hurry()
        assert dispatch() == 1
    assert len(kept.messages) == 1
    assert list(Attempt.objects.values_list("status", flat=True)) == [0, 0, 200]


def test_an_address_that_no_host_can_have_is_tried_again_as_any_other(settings, caplog):
    settings.EMAIL_URL = "console:"
    made = mailing()
    made.customer.email = "a@" + "\u0131" * 63 + ".example"
    endpoints.follow_address(made.customer)
    record("a")
    assert dispatch() == 1
    assert Attempt.objects.get().error == "the service did not accept it"
    assert "crashed" not in caplog.text


@pytest.mark.parametrize("address", ["o'brien@example.com", "a+b@example.com", "{x}@sub.example.co.uk"])
def test_an_unusual_address_is_taken_by_the_letter(settings, free_port, address):
    mail_over(settings, f"smtp://127.0.0.1:{free_port}")
    endpoints.send_test(mailing(address))
    with mail_server(free_port) as kept:
        assert dispatch() == 1
    assert [recipients for recipients, _ in kept.messages] == [[address]]


def test_a_hub_without_a_mail_server_makes_no_such_endpoint_and_reports_no_success(settings):
    settings.EMAIL_URL = "console:"
    made = mailing()
    settings.EMAIL_URL, settings.EMAIL_BACKEND = None, "django.core.mail.backends.dummy.EmailBackend"
    with pytest.raises(Problem, match="sends no e-mail"):
        mailing("you@example.com")
    endpoints.send_test(made)
    assert dispatch() == 1
    assert Attempt.objects.get().status == 0


def test_debug_prints_it(settings):
    settings.EMAIL_URL = "console:"
    endpoints.send_test(mailing())
    assert dispatch() == 1
    assert "This is a test" in mail.outbox[0].body

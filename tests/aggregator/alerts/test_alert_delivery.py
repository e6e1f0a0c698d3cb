"""Notifications are sent once each, whatever dies, hangs or rejects them."""

import dataclasses
import threading
from contextlib import closing

import pytest
from django.db import connection

from aggregator.alerts import delivery, messages, transitions
from aggregator.alerts.rules import Condition, Conditions
from aggregator.alerts.watcher import AlertWatcher
from aggregator.background import run_in_thread
from aggregator.models import AlertNotification, AlertPolicy
from tests.aggregator.alerts.chat_service import TOKEN, Receiver, open_channel, passes, send_due
from tests.aggregator.ledger.samples import rows
from tests.servers import eventually

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "forex"])

SILENT = Condition("agent_silent", "crypto/bot-1", "No signal for 1 h")


@pytest.fixture(autouse=True)
def policy():
    AlertPolicy.current()
    rows("UPDATE alert_policy SET all_clear_on = '2999-01-01' RETURNING 1")


SEND = """
from aggregator.alerts import delivery
delivery.SEND_TIMEOUT_S = 60
delivery.NotificationSender().send_due()
"""


def record(*conditions):
    transitions.record_conditions(Conditions(list(conditions)))


def interrupted(channel):
    """Start to send the channel's next notification, as a worker that is killed then."""
    with connection.cursor() as cursor:
        cursor.execute(delivery.CLAIM_NEXT, [channel.pk])
        cursor.execute(delivery.START_ATTEMPT, cursor.fetchone())
        assert cursor.fetchone() is not None


def notification():
    return AlertNotification.objects.get()


def test_a_worker_killed_while_it_sends_sends_it_twice_only_by_the_schedule(run_manage, channel, receiver):
    """Killed after the service got it and before the worker knows: the worst moment there is."""
    with connection.cursor() as cursor:
        transitions.create_notifications(cursor, messages.Notification("info", "title", "body"))
    for count in (1, 2):
        receiver.let.clear()
        worker = run_manage("shell", "-c", SEND)  # only sends: an evaluation could find something else
        worker.until(lambda count=count: len(receiver.messages) == count)
        worker.kill()
        receiver.let.set()
        assert send_due() == 0
        passes(58)
        assert send_due() == 0
        assert notification().sent_at is None
        passes(3)
    first, second = (message["message"] for message in receiver.messages)
    assert "interrupted" not in first
    assert "interrupted" in second
    assert send_due() == 0  # killed once more: given up, since it may have arrived twice
    assert notification().given_up_at is not None


def test_what_was_claimed_and_not_started_is_sent_minutes_later(channel, receiver):
    record(SILENT)
    with connection.cursor() as cursor:
        cursor.execute(delivery.CLAIM_NEXT, [channel.pk])  # and the worker is killed here: nothing was sent
        claim = cursor.fetchone()
    assert send_due() == 0
    passes(3)
    with connection.cursor() as cursor:
        cursor.execute(delivery.START_ATTEMPT, claim)  # it was only slow: the claim has run out
        assert cursor.fetchone() is None
    assert send_due() == 1
    (message,) = receiver.messages
    assert "interrupted" not in message["message"]


def test_what_was_interrupted_is_sent_once_more_and_marked(channel, receiver):
    record(SILENT)
    interrupted(channel)
    passes(58)
    assert send_due() == 0
    passes(3)
    assert send_due() == 1
    assert len(receiver.messages) == 1
    assert (notification().sent_at is not None, notification().given_up_at) == (True, None)


def test_what_fails_after_it_was_interrupted_is_tried_again(channel, receiver):
    record(SILENT)
    interrupted(channel)
    passes(61)
    receiver.status = 500
    assert send_due() == 0
    assert notification().given_up_at is None
    receiver.status = 200
    passes(61)
    assert send_due() == 1


def test_a_channel_that_hangs_delays_no_other_and_not_the_watcher(monkeypatch, channel, receiver):
    healthy = Receiver()
    open_channel(healthy, "other")
    monkeypatch.setattr(delivery, "SEND_TIMEOUT_S", 3.0)
    sender = delivery.NotificationSender()
    receiver.let.clear()
    record(SILENT)
    assert sender.send_due() == 1
    record(SILENT, Condition("agent_silent", "crypto/bot-2", "No signal for 1 h"))
    assert sender.send_due() == 1
    assert (len(healthy.messages), len(receiver.messages)) == (2, 1)

    receiver.let.set()
    eventually(lambda: len(receiver.messages) == 2)
    eventually(lambda: AlertNotification.objects.filter(sent_at=None).count() == 0)
    assert eventually(sender.send_due) == 2
    healthy.close()


def test_the_watcher_ends_only_after_what_is_under_way(monkeypatch, channel, receiver, redis_client):
    """Interrupted, a notification that arrived would be repeated by the schedule."""
    monkeypatch.setattr(delivery, "SEND_TIMEOUT_S", 0.0)
    receiver.let.clear()
    with connection.cursor() as cursor:
        transitions.create_notifications(cursor, messages.Notification("info", "title", "body"))
    watcher = AlertWatcher()
    watcher.run_once()
    eventually(lambda: receiver.messages)
    closing = run_in_thread(watcher.close)
    assert notification().sent_at is None
    receiver.let.set()
    closing.result(60)
    assert notification().sent_at is not None


def test_apprise_waits_longer_than_a_slow_service_takes(channel, receiver):
    """Given up after Apprise's own four seconds, it would be sent again and again."""
    import apprise

    timeouts = []
    real = apprise.Apprise.notify

    def notify(self, **texts):
        timeouts.extend(service.request_timeout for service in self)
        return real(self, **texts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(apprise.Apprise, "notify", notify)
        record(SILENT)
        assert send_due() == 1
    assert timeouts == [(4.0, delivery.SERVICE_TIMEOUT_S)]


def test_what_apprise_raises_is_a_failure_that_shows_no_url(monkeypatch, channel, receiver, caplog):
    import apprise

    def notify(self, **_texts):
        raise ValueError(f"bad URL {receiver.url}")

    monkeypatch.setattr(apprise.Apprise, "notify", notify)
    record(SILENT)
    assert send_due() == 0
    channel.refresh_from_db()
    assert channel.last_error == delivery.REJECTED
    assert "ValueError" in caplog.text
    assert TOKEN not in caplog.text


def test_an_agents_name_mentions_no_one(channel, receiver):
    record(Condition("agent_silent", "crypto/@everyone <@&1> <!here> bot_1@host", "No signal"))
    send_due()
    (message,) = receiver.messages
    for text in (message["title"], message["message"]):
        assert "@everyone" not in text
        assert "<@" not in text
        assert "<!" not in text
        assert "bot_1@host" in text


def test_threads_racing_for_many_notifications_send_each_once(channel, receiver):
    with connection.cursor() as cursor:
        for number in range(40):
            transitions.create_notifications(cursor, messages.Notification("info", f"n{number}", "body"))

    def send():
        send_due()
        connection.close()

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(receiver.titles) == sorted(f"n{number}" for number in range(40))


def test_a_service_that_is_down_gets_it_later_and_delays_no_other(channel, receiver):
    receiver.status = 500
    healthy = Receiver()
    open_channel(healthy, "other")
    record(SILENT)
    assert send_due() == 1
    assert len(healthy.messages) == 1
    channel.refresh_from_db()
    assert channel.last_error == delivery.REJECTED

    receiver.status = 200
    assert send_due() == 0
    passes(1)
    assert send_due() == 1
    assert len(receiver.messages) == len(healthy.messages) == 1
    channel.refresh_from_db()
    assert (channel.last_error, channel.last_sent_at is not None) == ("", True)
    healthy.close()


def test_a_service_that_stays_down_is_given_up(channel, receiver):
    receiver.status = 500
    record(SILENT)
    for _ in range(20):
        send_due()
        passes(61)
    notification = AlertNotification.objects.get()
    assert (notification.attempts, notification.given_up_at is not None) == (delivery.MAX_ATTEMPTS, True)


def test_nothing_that_is_sent_or_logged_shows_the_token(channel, receiver, caplog):
    caplog.set_level("DEBUG", "signal_hub")
    receiver.status = 500
    record(SILENT)
    send_due()
    assert "channel=chat" in caplog.text
    assert TOKEN not in caplog.text


def test_discord_shows_an_agents_name_as_it_is(receiver, monkeypatch):
    from apprise.plugins.discord import NotifyDiscord

    monkeypatch.setattr(NotifyDiscord, "notify_url", f"http://127.0.0.1:{receiver.server_address[1]}")
    target = delivery.ChannelTarget("chat", "discord://123456789/a-token-of-its-own")
    assert delivery.post(target, messages.Notification("info", "bot `a`", "crypto/__x__ *b* ||c|| @everyone"))
    (message,) = receiver.messages
    body = r"crypto/\_\_x\_\_ \*b\* \|\|c\|\| @" + "\u200beveryone"
    assert message["content"] == r"bot \`a\`" + f"\r\n{body}"


def test_a_channel_reaches_no_service_of_this_machine_unless_its_network_is_allowed(
    settings, channel, receiver, caplog
):
    settings.ENVIRONMENT = dataclasses.replace(settings.ENVIRONMENT, alert_networks=())
    record(SILENT)
    send_due()
    channel.refresh_from_db()
    assert receiver.messages == []
    assert channel.last_error == "its address is not public; CORE_ALERT_NETWORKS may allow it"
    assert TOKEN not in caplog.text


def test_a_redirect_is_not_followed(channel, receiver):
    with closing(Receiver()) as other:
        receiver.status, receiver.location = 307, f"http://127.0.0.1:{other.server_address[1]}/"
        record(SILENT)
        send_due()
        assert other.messages == []
    channel.refresh_from_db()
    assert channel.last_error


@pytest.mark.parametrize(
    "url",
    [
        "mailto://user:password@example.com?smtp=127.0.0.1",
        f"nostr://{'1' * 64}/?relay=ws://127.0.0.1:7777",
    ],
)
def test_no_parameter_of_a_channel_leads_to_this_machine(settings, url):
    settings.ENVIRONMENT = dataclasses.replace(settings.ENVIRONMENT, alert_networks=())
    with pytest.raises(delivery.NotAllowed):
        delivery.post(delivery.ChannelTarget("hidden", url), messages.Notification("info", "t", "b"))

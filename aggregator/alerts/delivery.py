"""Notices to channels: each is claimed by a conditional UPDATE, begun by another, sent, and marked.

A worker that dies between the first two has sent nothing: the notice is free again after two minutes. One
that dies later leaves a notice of which nobody knows whether it came: it is sent once more, but only when the
schedule would repeat an alert. Sooner it could come twice in a row; never, an end or an all-clear could be
lost.
"""

import logging
from collections.abc import Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection, connections
from django.utils import timezone

from aggregator import encryption
from aggregator.alerts import messages
from aggregator.alerts.messages import Notification
from aggregator.background import DAEMONS
from aggregator.models import AlertChannel, AlertNotification

logger = logging.getLogger("signal_hub.alerts")

PURPOSE = b"alert-channels"
"""What the key of the channels' URLs is derived for."""
FIRST_RETRY = timedelta(seconds=30)
LONGEST_RETRY = timedelta(hours=1)
MOST_ATTEMPTS = 12
"""Some five hours of trying."""
WITHIN_S = 8.0
"""How long a turn waits for the channels; one that takes longer goes on in its thread."""
ANSWER_S = 30.0
"""How long a service may take to answer: apprise's own 4 s would send again to one that is only slow."""
MARKDOWN_ONLY = ("Discord", "Guilded", "Mattermost", "Zulip")
"""Services that know no other kind of text, and of which apprise lets one through as it is."""
KEPT_FOR = timedelta(days=90)
"""How long notifications are kept for an operator to look up."""
REFUSED = "the service did not take it, or could not be reached"

DUE = """sent_at IS NULL AND given_up_at IS NULL AND due_at <= now()
    AND (claimed_until IS NULL OR claimed_until < now())"""

CHANNELS = f"""
    SELECT * FROM alert_channels
    WHERE enabled AND id IN (SELECT channel_id FROM alert_notifications WHERE {DUE})
    ORDER BY id"""

CLAIM = f"""
    UPDATE alert_notifications SET claimed_until = now() + interval '2 minutes'
    WHERE id = (
        SELECT id FROM alert_notifications
        WHERE {DUE} AND channel_id = (SELECT id FROM alert_channels WHERE id = %s AND enabled)
        ORDER BY due_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING id, claimed_until"""

# What was begun before and has not ended was cut off. It has one more go: given up, unless that ends well.
BEGIN = """
    UPDATE alert_notifications SET attempts = attempts + 1, started_at = now(),
        claimed_until = now() + make_interval(
            hours => coalesce((SELECT repeat_hours[1] FROM alert_policy WHERE id = 1), 1)),
        given_up_at = CASE WHEN started_at IS NOT NULL THEN now() END
    WHERE id = %s AND claimed_until = %s AND claimed_until > now()
    RETURNING attempts, created_at, severity, title, body"""

SENT = """
    UPDATE alert_notifications
    SET sent_at = now(), claimed_until = NULL, started_at = NULL, given_up_at = NULL
    WHERE id = %s"""

LATER = """
    UPDATE alert_notifications SET claimed_until = NULL, started_at = NULL,
        due_at = now() + make_interval(secs => %(wait)s),
        given_up_at = CASE WHEN attempts >= %(most)s THEN now() END
    WHERE id = %(id)s"""


@dataclass(frozen=True)
class Target:
    """A channel that can be used without the database."""

    name: str
    url: str

    def __repr__(self) -> str:
        return f"Target({self.name})"


class NotificationSender:
    """Sends what is due, each channel's in a thread: one that hangs holds up no other, and no turn."""

    def __init__(self) -> None:
        self._running: dict[int, Future[int]] = {}

    def send_due(self) -> int:
        """Send every notice that is due and nobody else has claimed; return how many were sent in time."""
        ended = [self._running.pop(number) for number, each in list(self._running.items()) if each.done()]
        started = {
            channel.pk: DAEMONS.submit(_send_channel, channel)
            for channel in AlertChannel.objects.raw(CHANNELS)
            if channel.pk not in self._running
        }
        in_time, _ = wait(started.values(), WITHIN_S)
        self._running |= {number: each for number, each in started.items() if each not in in_time}
        return sum(each.result() for each in (*ended, *in_time))

    def close(self) -> None:
        """Wait for what is still under way, as long as a service may take: cut off, it would come again."""
        wait(self._running.values(), ANSWER_S)


def _send_channel(channel: AlertChannel) -> int:
    """Send a channel's notices until one fails, which then waits; return how many were sent."""
    sent = 0
    try:
        while (claimed := _claim(channel)) is not None:
            number, attempts, notice = claimed
            error = deliver(channel, notice)
            with connection.cursor() as cursor:
                if error:
                    pause = min(FIRST_RETRY * 2 ** (attempts - 1), LONGEST_RETRY).total_seconds()
                    cursor.execute(LATER, {"id": number, "wait": pause, "most": MOST_ATTEMPTS})
                    break
                cursor.execute(SENT, [number])
                sent += 1
    finally:
        connections.close_all()  # this thread's own; it ends here
    return sent


def _claim(channel: AlertChannel) -> tuple[int, int, Notification] | None:
    """Claim and begin the channel's next notice; return its id, which attempt this is, and what to send."""
    with connection.cursor() as cursor:
        cursor.execute(CLAIM, [channel.pk])
        claim: tuple[int, datetime] | None = cursor.fetchone()
        if claim is None:
            return None
        import apprise  # noqa: F401 - takes a second, and is better cut off before it is begun

        cursor.execute(BEGIN, claim)
        row: tuple[int, datetime, str, str, str] | None = cursor.fetchone()
    if row is None:  # it took longer than the claim lasts
        return None
    attempts, created_at, *texts = row
    notice = Notification(*texts)
    return claim[0], attempts, messages.again(notice, created_at) if attempts > 1 else notice


def deliver(channel: AlertChannel, notice: Notification) -> str:
    """Send a notice over one channel and note how that went; return why not, or ""."""
    try:
        target = Target(channel.name, encryption.decrypt(channel.encrypted_url, PURPOSE))
        error = "" if post(target, notice) else REFUSED
    except encryption.DecryptionError as unreadable:
        error = str(unreadable)
    changed = {"last_error": error} | ({} if error else {"last_sent_at": timezone.now()})
    AlertChannel.objects.filter(pk=channel.pk).update(**changed)
    if error:
        logger.warning("alert channel=%s not sent: %s", channel.name, error)
    return error


def post(target: Target, notice: Notification) -> bool:
    """Hand a notice to apprise; return whether the service took it. Never raises: a text may hold the URL."""
    # Imported here: it brings a hundred services, which a web request has no use for.
    import apprise

    messenger = apprise.Apprise()
    try:
        if not messenger.add(target.url):
            return False
        write = messages.plain
        for service in messenger:
            service.socket_read_timeout = max(service.socket_read_timeout, ANSWER_S)
            if str(service.service_name) in MARKDOWN_ONLY:
                write = messages.literal
        return bool(
            messenger.notify(
                body=write(notice.body),
                title=write(notice.title),
                notify_type=apprise.NotifyType(notice.severity),
                body_format=apprise.NotifyFormat.TEXT,
            )
        )
    except Exception as error:  # a hundred services' code
        logger.warning("alert channel=%s apprise raised %s", target.name, type(error).__name__)
        return False


def broadcast(targets: Sequence[Target], notice: Notification) -> None:
    """Send a notice to all at once, without the database, and log how that went."""
    sendings = {target: DAEMONS.submit(post, target, notice) for target in targets}
    wait(sendings.values(), WITHIN_S)
    for target, each in sendings.items():
        state = "not answered yet" if not each.done() else "sent" if each.result() else "not sent"
        logger.warning("alert channel=%s %s: %s", target.name, state, notice.title)


def targets() -> list[Target]:
    """Return the channels that can be used now."""
    found = []
    for channel in AlertChannel.objects.filter(enabled=True).order_by("id"):
        try:
            found.append(Target(channel.name, encryption.decrypt(channel.encrypted_url, PURPOSE)))
        except encryption.DecryptionError as error:
            logger.warning("alert channel=%s %s", channel.name, error)
    return found


def delete_old_notifications() -> int:
    """Delete the notifications created more than KEPT_FOR ago; return how many."""
    old = AlertNotification.objects.filter(created_at__lt=timezone.now() - KEPT_FOR)
    return old.delete()[0]

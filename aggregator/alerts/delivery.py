"""Sends notifications to channels: each is claimed by a conditional UPDATE, started by another, sent, marked.

A worker that dies between the first two has sent nothing: the notification is free again after two minutes.
One that dies later leaves a notification that may or may not have arrived: it is sent once more, when the
schedule would repeat an alert. Sooner, it could arrive twice in a row; never, a recovery could be lost.
"""

import ipaddress
import logging
from collections.abc import Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone

from aggregator import encryption
from aggregator.alerts import messages
from aggregator.alerts.messages import Notification
from aggregator.background import run_in_thread
from aggregator.http.ssrf import is_public, resolve
from aggregator.models import AlertChannel, AlertNotification
from aggregator.postgres.pool import release_connections

logger = logging.getLogger("signal_hub.alerts")

PURPOSE = b"alert-channels"
"""What the key of the channels' URLs is derived for."""
FIRST_RETRY_DELAY = timedelta(seconds=30)
MAX_RETRY_DELAY = timedelta(hours=1)
MAX_ATTEMPTS = 12
"""Some five hours of retries."""
SEND_TIMEOUT_S = 8.0
"""How long a caller waits for the channels; one that takes longer continues in its thread."""
SERVICE_TIMEOUT_S = 30.0
"""How long a service may take to answer: Apprise's own 4 s would send again to one that is only slow."""
MARKDOWN_ONLY = ("Discord", "Guilded", "Mattermost", "Zulip")
"""Services that know no other kind of text, one of which Apprise passes on unescaped."""
HOSTS = ("host", "smtp_host", "xmpp_host")
"""Where services keep the hosts that they call: of e-mail and XMPP, that of the address may be another."""
REJECTED = "the service rejected it or could not be reached"

NOT_PUBLIC = "its address is not public; CORE_ALERT_NETWORKS may allow it"


class NotAllowed(Exception):
    """A channel leads to where notifications may not go."""


DUE = """sent_at IS NULL AND given_up_at IS NULL AND due_at <= now()
    AND (claimed_until IS NULL OR claimed_until < now())"""

CHANNELS = f"""
    SELECT * FROM alert_channels
    WHERE enabled AND id IN (SELECT channel_id FROM alert_notifications WHERE {DUE})
    ORDER BY id"""

CLAIM_NEXT = f"""
    UPDATE alert_notifications SET claimed_until = now() + interval '2 minutes'
    WHERE id = (
        SELECT id FROM alert_notifications
        WHERE {DUE} AND channel_id = (SELECT id FROM alert_channels WHERE id = %s AND enabled)
        ORDER BY due_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING id, claimed_until"""

# An attempt that was started and has not ended was interrupted. One more is made, which is the last.
START_ATTEMPT = """
    UPDATE alert_notifications SET attempts = attempts + 1, started_at = now(),
        claimed_until = now() + make_interval(
            hours => coalesce((SELECT repeat_hours[1] FROM alert_policy WHERE id = 1), 1)),
        given_up_at = CASE WHEN started_at IS NOT NULL THEN now() END
    WHERE id = %s AND claimed_until = %s AND claimed_until > now()
    RETURNING attempts, created_at, severity, title, body"""


@dataclass(frozen=True)
class ChannelTarget:
    """A channel that can be used without the database."""

    name: str
    url: str = field(repr=False)


class NotificationSender:
    """Sends what is due, each channel's in a thread: one that hangs delays no other, and no evaluation."""

    def __init__(self) -> None:
        self._running: dict[int, Future[int]] = {}

    def send_due(self) -> int:
        """Send every notification that is due and not claimed by another worker; return how many were sent.

        Returns after SEND_TIMEOUT_S at most; what is sent later counts in a later call.
        """
        ended = [self._running.pop(pk) for pk, each in list(self._running.items()) if each.done()]
        started = {
            channel.pk: run_in_thread(_send_channel, channel)
            for channel in AlertChannel.objects.raw(CHANNELS)
            if channel.pk not in self._running
        }
        in_time, _ = wait(started.values(), SEND_TIMEOUT_S)
        self._running |= {pk: each for pk, each in started.items() if each not in in_time}
        return sum(each.result() for each in (*ended, *in_time))

    def close(self) -> None:
        """Wait for what is being sent, as long as a service may take: interrupted, it would be sent again."""
        wait(self._running.values(), SERVICE_TIMEOUT_S)


def _send_channel(channel: AlertChannel) -> int:
    """Send a channel's notifications until one fails, which is retried later; return how many were sent."""
    sent = 0
    while (claimed := _claim(channel)) is not None:
        pk, attempts, notification = claimed
        row = AlertNotification.objects.filter(pk=pk)
        if deliver(channel, notification):
            delay = min(FIRST_RETRY_DELAY * 2 ** (attempts - 1), MAX_RETRY_DELAY)
            given_up_at = Now() if attempts >= MAX_ATTEMPTS else None
            row.update(claimed_until=None, started_at=None, due_at=Now() + delay, given_up_at=given_up_at)
            break
        row.update(sent_at=Now(), claimed_until=None, started_at=None, given_up_at=None)
        sent += 1
    return sent


def _claim(channel: AlertChannel) -> tuple[int, int, Notification] | None:
    """Claim and start the channel's next notification; return its id, the number of this attempt and it."""
    with connection.cursor() as cursor:
        cursor.execute(CLAIM_NEXT, [channel.pk])
        claim: tuple[int, datetime] | None = cursor.fetchone()
        if claim is None:
            return None
        import apprise  # noqa: F401 - takes a second, and is better interrupted before the start

        cursor.execute(START_ATTEMPT, claim)
        row: tuple[int, datetime, str, str, str] | None = cursor.fetchone()
    if row is None:  # it took longer than the claim lasts
        return None
    attempts, created_at, *texts = row
    notification = Notification(*texts)
    return claim[0], attempts, messages.as_retry(notification, created_at) if attempts > 1 else notification


def deliver(channel: AlertChannel, notification: Notification) -> str:
    """Send a notification over one channel and save the result there; return the error, "" for none."""
    try:
        target = ChannelTarget(channel.name, encryption.decrypt(channel.encrypted_url, PURPOSE))
        error = "" if post(target, notification) else REJECTED
    except (encryption.DecryptionError, NotAllowed) as unreadable:
        error = str(unreadable)
    changed = {"last_error": error} | ({} if error else {"last_sent_at": timezone.now()})
    AlertChannel.objects.filter(pk=channel.pk).update(**changed)
    if error:
        logger.warning("alert channel=%s not sent: %s", channel.name, error)
    return error


def post(target: ChannelTarget, notification: Notification) -> bool:
    """Return whether the service accepted the notification. Raises NotAllowed and nothing else: the text of
    another error may hold the URL.
    """
    # Imported here: it brings a hundred services, which a web request has no use for.
    import apprise

    release_connections()  # a service may take its time
    messenger = apprise.Apprise(asset=apprise.AppriseAsset(http_redirects=False))
    try:
        if not messenger.add(target.url):
            return False
        escape = messages.without_mentions
        if not all(map(may_reach, messenger)):
            raise NotAllowed(NOT_PUBLIC)
        for service in messenger:
            service.socket_read_timeout = max(service.socket_read_timeout, SERVICE_TIMEOUT_S)
            if str(service.service_name) in MARKDOWN_ONLY:
                escape = messages.as_markdown
        return bool(
            messenger.notify(
                body=escape(notification.body),
                title=escape(notification.title),
                notify_type=apprise.NotifyType(notification.severity),
                body_format=apprise.NotifyFormat.TEXT,
            )
        )
    except NotAllowed:
        raise
    except Exception as error:  # a hundred services' code
        logger.warning("alert channel=%s Apprise raised %s", target.name, type(error).__name__)
        return False


def may_reach(service: Any) -> bool:
    """Return whether all addresses that a service calls are public, or in networks that the operator named.

    `service` is one of Apprise's; those with a fixed host have none here.
    """
    hosts = {getattr(service, name, None) for name in HOSTS}
    hosts |= {urlsplit(relay).hostname for relay in getattr(service, "relays", ())}
    networks = settings.ENVIRONMENT.alert_networks
    for host in filter(None, hosts):
        try:
            found = [ipaddress.ip_address(text) for text in resolve(host, service.port or 443)]
        except (OSError, ValueError, UnicodeError):
            continue  # it has no address: the attempt fails, and is made again
        if not all(is_public(address) or any(address in each for each in networks) for address in found):
            return False
    return True


def broadcast(targets: Sequence[ChannelTarget], notification: Notification) -> None:
    """Send a notification to all targets at once, without the database, and log the results."""
    running = {target: run_in_thread(post, target, notification) for target in targets}
    wait(running.values(), SEND_TIMEOUT_S)
    for target, each in running.items():
        is_sent = each.done() and each.exception() is None and each.result()
        state = "sent" if is_sent else "not sent" if each.done() else "not answered yet"
        logger.warning("alert channel=%s %s: %s", target.name, state, notification.title)


def usable_targets() -> list[ChannelTarget]:
    """Return the enabled channels whose URL can be decrypted."""
    found = []
    for channel in AlertChannel.objects.filter(enabled=True).order_by("id"):
        try:
            found.append(ChannelTarget(channel.name, encryption.decrypt(channel.encrypted_url, PURPOSE)))
        except encryption.DecryptionError as error:
            logger.warning("alert channel=%s %s", channel.name, error)
    return found

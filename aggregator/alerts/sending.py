"""Notices to channels: each is claimed by a conditional UPDATE, sent, and tried again where that fails."""

import logging
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import connection
from django.utils import timezone

from aggregator.alerts import sealing
from aggregator.alerts.models import AlertChannel
from aggregator.alerts.wording import Notice

logger = logging.getLogger("signal_hub.alerts")

LEASE = timedelta(minutes=2)
"""How long a claim lasts: a worker that died while sending leaves the notice to another after that."""
FIRST_RETRY = timedelta(seconds=30)
LONGEST_RETRY = timedelta(hours=1)
MOST_ATTEMPTS = 12
"""Some six hours of trying."""
REFUSED = "the service did not take it, or could not be reached"

CLAIM = """
    UPDATE alert_notices SET claimed_until = now() + make_interval(secs => %(lease)s), attempts = attempts + 1
    WHERE id = (
        SELECT id FROM alert_notices
        WHERE sent_at IS NULL AND given_up_at IS NULL AND due_at <= now()
            AND (claimed_until IS NULL OR claimed_until < now())
            AND channel_id IN (SELECT id FROM alert_channels WHERE enabled)
        ORDER BY due_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING id, channel_id, severity, title, body, attempts"""

SENT = "UPDATE alert_notices SET sent_at = now(), claimed_until = NULL WHERE id = %s"

LATER = """
    UPDATE alert_notices SET claimed_until = NULL, due_at = now() + make_interval(secs => %(wait)s),
        given_up_at = CASE WHEN attempts >= %(most)s THEN now() END
    WHERE id = %(id)s"""


@dataclass(frozen=True)
class Target:
    """A channel that can be used without the database."""

    name: str
    url: str

    def __repr__(self) -> str:
        return f"Target({self.name})"


def send_due() -> int:
    """Send every notice that is due and nobody else has claimed; return how many were sent."""
    sent = 0
    while (claimed := _claim()) is not None:
        number, channel_id, notice, attempts = claimed
        channel = AlertChannel.objects.filter(pk=channel_id).first()
        if channel is None:
            continue  # removed just now, and its notices with it
        error = deliver(channel, notice)
        with connection.cursor() as cursor:
            if error:
                wait = min(FIRST_RETRY * 2 ** (attempts - 1), LONGEST_RETRY).total_seconds()
                cursor.execute(LATER, {"id": number, "wait": wait, "most": MOST_ATTEMPTS})
            else:
                cursor.execute(SENT, [number])
                sent += 1
    return sent


def _claim() -> tuple[int, int, Notice, int] | None:
    with connection.cursor() as cursor:
        cursor.execute(CLAIM, {"lease": LEASE.total_seconds()})
        row = cursor.fetchone()
    if row is None:
        return None
    number, channel_id, severity, title, body, attempts = row
    return number, channel_id, Notice(severity, title, body), attempts


def deliver(channel: AlertChannel, notice: Notice) -> str:
    """Send a notice over one channel and note how that went; return why not, or ""."""
    try:
        target = Target(channel.name, sealing.unseal(settings.ENVIRONMENT, channel.sealed_url))
        error = "" if post(target, notice) else REFUSED
    except sealing.Unreadable as unreadable:
        error = str(unreadable)
    changed = {"last_error": error} | ({} if error else {"last_sent_at": timezone.now()})
    AlertChannel.objects.filter(pk=channel.pk).update(**changed)
    if error:
        logger.warning("alert channel=%s not sent: %s", channel.name, error)
    return error


def post(target: Target, notice: Notice) -> bool:
    """Hand a notice to apprise; return whether the service took it."""
    # Imported here: it brings a hundred services, which a web request has no use for.
    import apprise

    messenger = apprise.Apprise()
    if not messenger.add(target.url):
        return False
    return bool(
        messenger.notify(
            body=notice.body,
            title=notice.title,
            notify_type=apprise.NotifyType(notice.severity),
            body_format=apprise.NotifyFormat.TEXT,
        )
    )


def targets() -> list[Target]:
    """Return the channels that can be used now."""
    found = []
    for channel in AlertChannel.objects.filter(enabled=True).order_by("id"):
        try:
            found.append(Target(channel.name, sealing.unseal(settings.ENVIRONMENT, channel.sealed_url)))
        except sealing.Unreadable as error:
            logger.warning("alert channel=%s %s", channel.name, error)
    return found

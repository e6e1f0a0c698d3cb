"""Who sends what: leases on endpoints and claims on messages, each one conditional UPDATE.

A lease keeps an endpoint's messages in one worker's hands, one after the other. A claim counts the attempt
before it is made, so that even a worker that outlived its lease cannot send the same one again.
"""

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from commerce.models import Endpoint, Message

LEASE = timedelta(seconds=45)
"""Twice as long as a request with its look-up; after it the endpoint of a killed worker is free again."""

# `position < head` keeps endpoints that have seen everything asleep, whatever their number. A lease that is
# never released wakes its endpoint when it has run out: what its worker left behind is due by then.
LEASE_ONE = """
    UPDATE endpoints SET lease = %(lease)s, leased_until = now() + %(length)s, wake_at = now()
    WHERE id = (
        SELECT id FROM endpoints
        WHERE state = 'active' AND (leased_until IS NULL OR leased_until <= now())
            AND (failing_since IS NOT NULL) = %(failing)s
            AND (wake_at <= now() OR (plan_at <= now()
                AND position < (SELECT max(position) FROM trading_signals)))
        ORDER BY least(wake_at, plan_at) LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING id"""

CLAIM = """
    UPDATE webhook_messages SET attempt_count = attempt_count + 1, due_at = now() + %(length)s
    WHERE state = 'waiting' AND id = (
        SELECT id FROM webhook_messages
        WHERE endpoint_id = %(endpoint)s AND state = 'waiting' AND due_at <= now()
        ORDER BY due_at, position NULLS FIRST, id LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING id"""

RELEASE = """
    UPDATE endpoints SET lease = NULL, leased_until = NULL,
        plan_at = greatest(plan_at, now() + %(rest)s),
        wake_at = (
            SELECT greatest(min(due_at), now() + %(rest)s) FROM webhook_messages
            WHERE endpoint_id = %(endpoint)s AND state = 'waiting' HAVING count(*) > 0)
    WHERE id = %(endpoint)s AND lease = %(lease)s"""


@dataclass(frozen=True)
class Lease:
    """A worker's hold on an endpoint."""

    endpoint_id: int
    token: uuid.UUID

    def renew(self) -> Endpoint | None:
        """Return the endpoint as it is now, held for another LEASE; None where it is not ours to send to."""
        kept = Endpoint.objects.filter(
            pk=self.endpoint_id, lease=self.token, state=Endpoint.State.ACTIVE
        ).update(leased_until=timezone.now() + LEASE)
        return Endpoint.objects.select_related("customer").get(pk=self.endpoint_id) if kept else None

    def claim(self) -> Message | None:
        """Return the next message that is due, its attempt counted."""
        row = _run(CLAIM, endpoint=self.endpoint_id, length=LEASE)
        return Message.objects.select_related("signal").get(pk=row[0]) if row else None

    def release(self, rest: timedelta) -> None:
        """Let go; the endpoint wakes when its next message is due, and not before it has rested."""
        _run(RELEASE, endpoint=self.endpoint_id, lease=self.token, rest=rest)


def lease(*, failing: bool) -> Lease | None:
    """Take hold of an endpoint that has work, among those that fail or among those that do not."""
    token = uuid.uuid4()
    row = _run(LEASE_ONE, lease=token, length=LEASE, failing=failing)
    return Lease(row[0], token) if row else None


def _run(sql: str, **parameters: Any) -> Any:
    """Run a statement; return the first row that it returns, if any."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchone() if cursor.description else None

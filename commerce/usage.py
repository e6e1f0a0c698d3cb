"""Customers' usage and the limits of a day (UTC), counted in Postgres for all processes together.

A signal counts when it is sent, whichever way. At the limit reading stops, and no cursor moves past what was
sent.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from django.db import connection

from commerce.entitlements import OPERATOR

ONE_DAY = timedelta(days=1)
DAY_S = 86_400
TODAY = "(statement_timestamp() AT TIME ZONE 'UTC')::date"

REQUEST = f"""
    INSERT INTO usage_days AS usage (customer_id, day, requests, signals)
    SELECT %(customer)s, {TODAY}, 1, 0 WHERE %(limit)s::bigint IS NULL OR %(limit)s::bigint > 0
    ON CONFLICT (customer_id, day) DO UPDATE SET requests = usage.requests + 1
        WHERE %(limit)s::bigint IS NULL OR usage.requests < %(limit)s::bigint
    RETURNING requests, signals, day"""

# The row is locked first, so that two processes cannot be granted the same remainder.
SIGNALS = f"""
    WITH before AS (
        SELECT id, greatest(0, least(%(wanted)s, coalesce(%(limit)s - signals, %(wanted)s))) AS granted
        FROM usage_days WHERE customer_id = %(customer)s AND day = {TODAY} FOR UPDATE)
    UPDATE usage_days AS usage SET signals = usage.signals + before.granted
    FROM before WHERE usage.id = before.id
    RETURNING before.granted"""

OPEN_DAY = f"""
    INSERT INTO usage_days (customer_id, day, requests, signals) VALUES (%s, {TODAY}, 0, 0)
    ON CONFLICT (customer_id, day) DO NOTHING"""

READ = f"""
    SELECT coalesce(max(requests), 0), coalesce(max(signals), 0), {TODAY}
    FROM usage_days WHERE customer_id = %s AND day = {TODAY}"""


@dataclass(frozen=True)
class Usage:
    """What a customer used today."""

    requests: int
    signals: int
    resets_at: datetime


class LimitReached(Exception):
    """A day's limit is reached."""

    def __init__(self, policy: str, limit: int, resets_at: datetime) -> None:
        super().__init__(f"{limit} {policy} a day are used up")
        self.policy = policy
        """`requests` or `signals`."""
        self.limit = limit
        self.resets_at = resets_at


def count_request(customer_id: int, limit: int | None) -> Usage:
    """Count one request and return the day's usage with it. Raises LimitReached, and then counts nothing.

    What an operator reads is not counted.
    """
    if customer_id == OPERATOR:
        return today(customer_id)
    with connection.cursor() as cursor:
        cursor.execute(REQUEST, {"customer": customer_id, "limit": limit})
        row = cursor.fetchone()
    if row is None:
        assert limit is not None, "only a limit refuses"
        raise LimitReached("requests", limit, today(customer_id).resets_at)
    return _usage(*row)


def count_signals(customer_id: int, wanted: int, limit: int | None) -> int:
    """Count up to `wanted` signals that are about to be sent, and return how many may be."""
    if not wanted or customer_id == OPERATOR:
        return wanted
    parameters = {"customer": customer_id, "wanted": wanted, "limit": limit}
    with connection.cursor() as cursor:
        cursor.execute(SIGNALS, parameters)
        row = cursor.fetchone()
        if row is None:
            cursor.execute(OPEN_DAY, [customer_id])
            cursor.execute(SIGNALS, parameters)
            row = cursor.fetchone()
    return int(row[0]) if row else 0


def require_signals_left(used: Usage, limit: int | None) -> None:
    """Raise LimitReached if the day's signals are used up."""
    if limit is not None and used.signals >= limit:
        raise LimitReached("signals", limit, used.resets_at)


def today(customer_id: int) -> Usage:
    """Return what a customer used today."""
    with connection.cursor() as cursor:
        cursor.execute(READ, [customer_id])
        return _usage(*cursor.fetchone())


def _usage(requests: int, signals: int, day: datetime) -> Usage:
    return Usage(requests, signals, datetime.combine(day, time(), UTC) + ONE_DAY)

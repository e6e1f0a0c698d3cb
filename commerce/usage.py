"""Customers' usage and the limits of a day (UTC), counted in Postgres for all processes together.

A signal counts when it is sent, whichever way. At the limit reading stops, and no cursor moves past what was
sent. HTTP shows the limits by draft-ietf-httpapi-ratelimit-headers-11, with its problem type for exceeded
quotas.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from django.db import connection

from aggregator.http.problems import Problem
from commerce.entitlements import OPERATOR, Entitlement

ONE_DAY = timedelta(days=1)
DAY_S = 86_400
QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
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


def count_request(customer_id: int, limit: int | None) -> Usage:
    """Count one request and return the day's usage with it. Raises Problem 429, and then counts nothing.

    What an operator reads is not counted.
    """
    if customer_id == OPERATOR:
        return today(customer_id)
    with connection.cursor() as cursor:
        cursor.execute(REQUEST, {"customer": customer_id, "limit": limit})
        row = cursor.fetchone()
    if row is None:
        assert limit is not None, "only a limit refuses"
        raise limit_reached("requests", limit, today(customer_id).resets_at)
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
    """Raise Problem 429 if the day's signals are used up."""
    if limit is not None and used.signals >= limit:
        raise limit_reached("signals", limit, used.resets_at)


def today(customer_id: int) -> Usage:
    """Return what a customer used today."""
    with connection.cursor() as cursor:
        cursor.execute(READ, [customer_id])
        return _usage(*cursor.fetchone())


def _usage(requests: int, signals: int, day: datetime) -> Usage:
    return Usage(requests, signals, datetime.combine(day, time(), UTC) + ONE_DAY)


def limit_reached(policy: str, limit: int, resets_at: datetime) -> Problem:
    """Return the 429 for a limit of `requests` or `signals` that is reached, with when it resets."""
    return Problem(
        429,
        f"{policy}_used_up",
        f"The {limit} {policy} of this day are used up. Resets at 00:00 UTC.",
        headers={
            "Retry-After": str(_seconds_until(resets_at)),
            **_headers([(policy, limit, limit)], resets_at),
        },
        **{
            "type": QUOTA_EXCEEDED,
            "violated-policies": [policy],
            "resets_at": resets_at.isoformat().replace("+00:00", "Z"),
        },
    )


def rate_limit_headers(entitlement: Entitlement, used: Usage) -> dict[str, str]:
    """Return the headers with the limits and what remains of them; none where nothing is limited."""
    requests = ("requests", entitlement.requests_per_day, used.requests)
    signals = ("signals", entitlement.signals_per_day, used.signals)
    return _headers([requests, signals], used.resets_at)


def _headers(policies: Iterable[tuple[str, int | None, int]], resets_at: datetime) -> dict[str, str]:
    """Return the headers of policies, each with its limit and what is used of it."""
    wait = _seconds_until(resets_at)
    limits = [(name, limit, max(0, limit - count)) for name, limit, count in policies if limit is not None]
    if not limits:
        return {}
    return {
        "RateLimit": ", ".join(f'"{name}";r={left};t={wait}' for name, _, left in limits),
        "RateLimit-Policy": ", ".join(
            f'"{name}";q={limit};w={DAY_S};qu="{name}"' for name, limit, _ in limits
        ),
    }


def _seconds_until(moment: datetime) -> int:
    return max(1, round((moment - datetime.now(UTC)).total_seconds()))

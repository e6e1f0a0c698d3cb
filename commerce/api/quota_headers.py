"""A day's limits in HTTP: the headers `RateLimit` and `RateLimit-Policy`, and the 429.

By draft-ietf-httpapi-ratelimit-headers-11, with its problem type for exceeded quotas.
"""

from datetime import UTC, datetime

from aggregator.http.problems import Problem
from commerce.entitlements import Entitlement
from commerce.usage import DAY_S, LimitReached, Usage

QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"


def rate_limit_headers(entitlement: Entitlement, used: Usage) -> dict[str, str]:
    """Return the headers with the limits and what remains of them; none where nothing is limited."""
    wait = seconds_until(used.resets_at)
    left, policies = [], []
    for name, limit, count in (
        ("requests", entitlement.requests_per_day, used.requests),
        ("signals", entitlement.signals_per_day, used.signals),
    ):
        if limit is not None:
            left.append(f'"{name}";r={max(0, limit - count)};t={wait}')
            policies.append(f'"{name}";q={limit};w={DAY_S};qu="{name}"')
    return {"RateLimit": ", ".join(left), "RateLimit-Policy": ", ".join(policies)} if left else {}


def limit_reached_problem(reached: LimitReached) -> Problem:
    """Return the 429 that names the limit that is reached and when it resets."""
    wait = seconds_until(reached.resets_at)
    return Problem(
        429,
        f"{reached.policy}_used_up",
        f"The {reached.limit} {reached.policy} of this day are used up. Resets at 00:00 UTC.",
        headers={
            "Retry-After": str(wait),
            "RateLimit": f'"{reached.policy}";r=0;t={wait}',
            "RateLimit-Policy": f'"{reached.policy}";q={reached.limit};w={DAY_S};qu="{reached.policy}"',
        },
        **{
            "type": QUOTA_EXCEEDED,
            "violated-policies": [reached.policy],
            "resets_at": reached.resets_at.isoformat().replace("+00:00", "Z"),
        },
    )


def seconds_until(moment: datetime) -> int:
    return max(1, round((moment - datetime.now(UTC)).total_seconds()))

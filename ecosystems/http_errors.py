"""What all who speak HTTP share: how long a server asks to wait, and what led to an error."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MAX_WAIT_S = 3600.0
"""A longer `Retry-After` is taken for a mistake: it would hold an agent's signals for days."""


def retry_after(value: str, now: datetime, most: float = MAX_WAIT_S) -> float | None:
    """Return the wait in seconds that a `Retry-After` header asks for: seconds or a date (RFC 9110)."""
    value = value.strip()
    if value.isascii() and value.isdecimal():
        return min(float(value[:9]), most)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max((moment - now).total_seconds(), 0.0), most)


def causes(error: BaseException) -> list[BaseException]:
    """The error and what led to it: urllib3 hides causes in `reason` and in the arguments, too."""
    found = [error]
    for known in found:
        hidden = [known.__cause__, known.__context__, getattr(known, "reason", None), *known.args]
        found += [one for one in hidden if isinstance(one, BaseException) and one not in found]
    return found

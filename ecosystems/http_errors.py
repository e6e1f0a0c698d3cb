"""Errors of HTTP requests: the wait that a server asks for, the chain of causes, one line of text."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MAX_RETRY_AFTER_S = 3600.0
"""A longer `Retry-After` is treated as a mistake: it would delay an agent's signals for days."""


def retry_after(value: str, now: datetime, most: float = MAX_RETRY_AFTER_S) -> float | None:
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


def error_chain(error: BaseException) -> list[BaseException]:
    """Return the error and its causes: urllib3 keeps some in `reason` and in the arguments."""
    found = [error]
    for known in found:
        hidden = [known.__cause__, known.__context__, getattr(known, "reason", None), *known.args]
        found += [one for one in hidden if isinstance(one, BaseException) and one not in found]
    return found


def innermost_text(error: BaseException) -> str:
    """Return the text of the innermost cause: requests wraps it three times, with the whole URL."""
    words = [one.strerror for one in error_chain(error) if isinstance(one, OSError) and one.strerror]
    return words[-1] if words else type(error).__name__


def one_line(error: BaseException | str) -> str:
    """Return an error's text in one line, or the error's type where it has none."""
    return " ".join(str(error).split()) or type(error).__name__

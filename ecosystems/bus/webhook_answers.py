"""The fate of each signal of a request, by the hub's answer (docs/webhook.md)."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import Literal

import msgspec

from ecosystems.bus.transport import CONFIRMED, Fate, Refused, postpone
from ecosystems.http_errors import retry_after

REFUSING_STATUSES = frozenset({400, 401, 403, 409, 411, 413, 415, 422})
"""Statuses that refuse a request for good. After all others it is sent again."""

MAX_ANSWER_TEXT = 500


class _Rejection(msgspec.Struct):
    index: int
    code: str = "rejected"
    detail: str = ""


class _Outcome(msgspec.Struct):
    """Body of 200 and 202. A page of another server that answers 200 does not decode as one."""

    status: Literal["accepted", "duplicate"]
    rejected: list[_Rejection] = []


class Problem(msgspec.Struct):
    """Body of every other answer, as RFC 9457 defines it."""

    title: str = ""
    detail: str = ""
    code: str = ""
    errors: list[_Rejection] = []


def fates_of(status: int, headers: Mapping[str, str], body: bytes, count: int, now: datetime) -> list[Fate]:
    """Return the fates of the `count` signals of a request, in its order.

    `headers` is case-insensitive; `now` (aware) is what a `Retry-After` date is counted from.
    """
    if status in {200, 202}:
        try:
            outcome = msgspec.json.decode(body, type=_Outcome)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return postpone(count, f"{status} from a server that is not a hub: check the webhook URL")
        return _with_rejections(outcome.rejected, [CONFIRMED] * count)
    problem = problem_of(body)
    if status in REFUSING_STATUSES:
        detail = _clean(problem.detail or problem.title) or f"the hub answered {status}"
        refused = Refused(_clean(problem.code) or f"http_{status}", detail)
        return _with_rejections(problem.errors, [refused] * count)
    reason = f"the hub answered {status}" + (f": {text}" if (text := _clean(problem.detail)) else "")
    if 300 <= status < 400:
        reason += " (redirects are not followed: set the URL that it points to)"
    return postpone(count, reason, retry_after(headers.get("Retry-After", ""), now))


def problem_of(body: bytes) -> Problem:
    """Return the problem that a body is, an empty one for a body that is none."""
    try:
        return msgspec.json.decode(body, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Problem()


def _with_rejections(rejections: list[_Rejection], fates: list[Fate]) -> list[Fate]:
    """Return the fates with each rejected signal's own reason; one signal may break several rules."""
    reasons: dict[int, list[_Rejection]] = defaultdict(list)
    for rejection in rejections:
        reasons[rejection.index].append(rejection)
    return [
        Refused(
            _clean(reasons[index][0].code),
            _clean("; ".join(rejection.detail for rejection in reasons[index])),
        )
        if index in reasons
        else fate
        for index, fate in enumerate(fates)
    ]


def _clean(text: str) -> str:
    """Return the receiver's text as one printable line, for logs and terminals."""
    return "".join(letter for letter in " ".join(text.split()) if letter.isprintable())[:MAX_ANSWER_TEXT]

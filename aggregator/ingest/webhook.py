"""Ingest over HTTP: `POST /api/signals`. It translates; the ledger decides."""

from collections.abc import Sequence

import msgspec
from django.conf import settings

from aggregator.http import api_keys, rate_limits
from aggregator.http.answers import Answer
from aggregator.http.problems import Problem, unavailable
from aggregator.http.requests import ReceivedRequest, body_length, require_json, require_post
from aggregator.ledger.entries import AGENT_FORBIDDEN, ECOSYSTEM_FORBIDDEN, Entry, Fate, Result
from aggregator.ledger.group_commit import RECORD_TIMEOUT_S
from ecosystems.signal import Refusal, split

SIGNALS_PATH = "/api/signals"
BODY_CODES = frozenset({"not_json", "not_utf8", "json_too_deep", "not_object_or_array"})
"""Refusals of a whole body rather than of a signal in it."""
FORBIDDEN_CODES = frozenset({ECOSYSTEM_FORBIDDEN.code, AGENT_FORBIDDEN.code})
"""Refusals of what this key may not send."""


class Webhook:
    """The webhook as both servers know it (a WayIn)."""

    timeout_s = RECORD_TIMEOUT_S

    def check(self, request: ReceivedRequest) -> int:
        require_post(request)
        length = body_length(request.headers, settings.ENVIRONMENT.webhook_max_bytes)
        require_json(request.headers)
        if not api_keys.auth_manager(settings.ENVIRONMENT).has_credentials(request.headers):
            count_failure(request)
            raise api_keys.Unauthenticated
        return length

    def entries(self, request: ReceivedRequest) -> list[Entry]:
        sender = self.authenticate(request)
        self.authorize(sender)
        self.throttle(sender)
        return self.entries_from(sender, request.body)

    def authenticate(self, request: ReceivedRequest) -> api_keys.Principal:
        """Return who signed the body. Raises Unauthenticated; Problem 429 after too many failures."""
        manager = api_keys.auth_manager(settings.ENVIRONMENT)
        try:
            return manager.authenticate(request.headers, request.body, request.address)
        except api_keys.Unauthenticated:
            count_failure(request)
            raise

    def authorize(self, sender: api_keys.Principal) -> None:
        """Raise Problem 403 if the sender may not publish."""
        if api_keys.PUBLISH not in sender.scopes:
            raise Problem(403, "scope_missing", "The API key may not publish signals.")

    def throttle(self, sender: api_keys.Principal) -> None:
        """Count a request of the sender. Raises Problem 429 beyond its rate."""
        environment = settings.ENVIRONMENT
        if environment.webhook_rate:
            rate_limits.rate_limiter(environment).hit(environment.webhook_rate, "requests", sender.name)

    def entries_from(self, sender: api_keys.Principal, body: bytes) -> list[Entry]:
        """Return the body's entries; one that is refused whole where the body is no JSON to look into.

        Raises Problem 400 for an empty body or array, 413 for too many signals.
        """
        parts = split(body) if body.strip() else []
        if isinstance(parts, Refusal):
            return [Entry(body, sender.name, refusal=parts)]
        if not parts:
            raise Problem(400, "empty", "Send at least one signal.")
        if len(parts) > (most := settings.ENVIRONMENT.webhook_max_signals):
            raise Problem(413, "too_many_signals", f"A request may have {most} signals.")
        return [Entry(part, sender.name, sender.ecosystems, agents=sender.agents) for part in parts]

    def answer(self, results: Sequence[Result]) -> Answer:
        return build_answer(results)


def count_failure(request: ReceivedRequest) -> None:
    """Count a request that proves no sender. Raises Problem 429 after too many from its address."""
    environment = settings.ENVIRONMENT
    rate_limits.rate_limiter(environment).hit(environment.webhook_failed_rate, "failed", request.address)


def build_answer(results: Sequence[Result], *, by_cause: bool = True) -> Answer:
    """Return the answer to a batch of which something is on record; raise Problem for any other.

    Its status is that of the cause, or 422 whatever the cause is.
    """
    fates = [result.fate for result in results]
    if Fate.DEFERRED in fates:
        raise unavailable("An open transaction holds the same signal; send it again later.", "busy")
    accepted, duplicates = fates.count(Fate.ACCEPTED), fates.count(Fate.DUPLICATE)
    refused = [(index, result.refusal) for index, result in enumerate(results) if result.refusal]
    if not accepted and not duplicates:
        raise _refused(results, refused, by_cause)
    body = {
        "status": "accepted" if accepted else "duplicate",
        "accepted": accepted,
        "duplicates": duplicates,
        "rejected": [
            {"index": index, "signal_id": refusal.signal_id, "code": refusal.code, "detail": refusal.detail}
            for index, refusal in refused
        ],
    }
    return Answer(202 if accepted else 200, msgspec.json.encode(body))


def _refused(results: Sequence[Result], refused: list[tuple[int, Refusal]], by_cause: bool) -> Problem:
    """Return the Problem of a request of which nothing is on record."""
    first = refused[0][1]
    if len(refused) == 1 and first.code in BODY_CODES:
        return Problem(400, first.code, f"The body is no signal: {first.detail}.")
    errors = [
        {"index": index, "field": refusal.field, "code": refusal.code, "detail": refusal.detail}
        for index, refusal in refused
    ]
    if by_cause and all(refusal.code in FORBIDDEN_CODES for _, refusal in refused):
        return Problem(403, first.code, f"{first.detail[0].upper()}{first.detail[1:]}.", errors=errors)
    if by_cause and all(result.fate is Fate.CONFLICT for result in results):
        return Problem(409, first.code, f"{first.detail.capitalize()}.", errors=errors)
    return Problem(422, "invalid", "No signal of the request is valid.", errors=errors)


webhook = Webhook()

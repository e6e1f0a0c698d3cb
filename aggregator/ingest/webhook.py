"""Ingest over HTTP: `POST /api/signals`. It translates; the ledger decides."""

from collections.abc import Sequence

from django.conf import settings

from aggregator.http import api_keys, rate_limits
from aggregator.http.answers import Answer
from aggregator.http.problems import Problem
from aggregator.http.requests import ReceivedRequest, body_length, require_json, require_post
from aggregator.ingest.webhook_messages import build_answer, entries_of
from aggregator.ledger import Entry, Result
from aggregator.ledger.group_commit import RECORD_TIMEOUT_S

SIGNALS_PATH = "/api/signals"


class Webhook:
    """The webhook as both servers know it (a WayIn)."""

    timeout_s = RECORD_TIMEOUT_S

    def check(self, request: ReceivedRequest) -> int:
        require_post(request)
        length = body_length(request.headers, settings.ENVIRONMENT.webhook_max_bytes)
        require_json(request.headers)
        if not _manager().has_credentials(request.headers):
            _count_failure(request)
            raise api_keys.Unauthenticated
        return length

    def entries(self, request: ReceivedRequest) -> list[Entry]:
        sender = self.authenticate(request)
        self.authorize(sender)
        self.throttle(sender)
        return self.entries_from(sender, request)

    def authenticate(self, request: ReceivedRequest) -> api_keys.Principal:
        """Return who signed the body. Raises Unauthenticated; Problem 429 after too many failures."""
        try:
            return _manager().authenticate(request.headers, request.body, request.address)
        except api_keys.Unauthenticated:
            _count_failure(request)
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

    def entries_from(self, sender: api_keys.Principal, request: ReceivedRequest) -> list[Entry]:
        return entries_of(request.body, sender, settings.ENVIRONMENT.webhook_max_signals)

    def answer(self, results: Sequence[Result]) -> Answer:
        return build_answer(results)


def _manager() -> api_keys.AuthManager:
    return api_keys.auth_manager(settings.ENVIRONMENT)


def _count_failure(request: ReceivedRequest) -> None:
    environment = settings.ENVIRONMENT
    rate_limits.rate_limiter(environment).hit(environment.webhook_failed_rate, "failed", request.address)


webhook = Webhook()

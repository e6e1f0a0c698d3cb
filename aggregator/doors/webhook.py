"""The webhook door: `POST /api/signals`. It translates; the ledger decides."""

from django.conf import settings
from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.views import APIView

from aggregator import auth, rates
from aggregator.doors.exchange import answer, entries_of, headers_of, read_body
from aggregator.group_commit import GroupCommit
from aggregator.problems import Problem

commits = GroupCommit("webhook")


class SignalDoor(APIView):
    """Takes one signal or an array of them, signed; answers when they are committed."""

    http_method_names = ["post"]

    def initial(self, request: Request, *args: object, **kwargs: object) -> None:
        """Leave out the framework's negotiation, authentication and throttles: this door has its own."""

    def post(self, request: Request) -> HttpResponse:
        environment = settings.ENVIRONMENT
        body = read_body(request._request, environment.webhook_max_bytes)
        sender = self.sender(request, body)
        if auth.PUBLISH not in sender.scopes:
            raise Problem(403, "scope_missing", "The API key may not publish signals.")
        if environment.webhook_rate:
            rates.limiter(environment).hit(environment.webhook_rate, "requests", sender.name)
        entries = entries_of(body, sender, environment.webhook_max_signals)
        return answer(commits.record(entries))

    def sender(self, request: Request, body: bytes) -> auth.Sender:
        environment = settings.ENVIRONMENT
        address = rates.client_address(request.META, environment.trusted_proxies)
        try:
            return auth.manager(environment).authenticate(headers_of(request.META), body, address)
        except auth.Unauthenticated:
            rates.limiter(environment).hit(environment.webhook_failed_rate, "failed", address)
            raise

"""The webhook in REST framework: `POST /api/signals` of the hub's web server."""

from typing import Any, cast

from django.http import HttpResponse
from rest_framework.authentication import BaseAuthentication
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from aggregator.http.api_keys import Principal
from aggregator.http.requests import ReceivedRequest, read_body, received_by_django
from aggregator.ingest.in_django import received_by_loop, record_for
from aggregator.ingest.webhook import webhook
from aggregator.ingest.webhook_documentation import webhook_documentation


class SignatureAuthentication(BaseAuthentication):
    """A signature over the raw body, and an API key; what AuthManager accepts."""

    def authenticate(self, request: Request) -> tuple[Principal, ReceivedRequest]:
        """Return the sender, and the request with its body, which is read only if its head is in order."""
        received = received_by_loop(request._request)
        if received is None:
            received = received_by_django(request._request)
            length = webhook.check(received)
            received.body = read_body(request._request.read, length)
        return webhook.authenticate(received), received


class MayPublish(BasePermission):
    def has_permission(self, request: Request, view: APIView) -> bool:  # noqa: ARG002
        """Raise Problem 403 for a sender without the scope."""
        webhook.authorize(_sender(request))
        return True


class SenderThrottle(BaseThrottle):
    def allow_request(self, request: Request, view: APIView) -> bool:  # noqa: ARG002
        """Raise Problem 429 for a sender beyond its rate."""
        webhook.throttle(_sender(request))
        return True


class NoNegotiation(BaseContentNegotiation):
    """JSON comes and JSON goes, whatever `Accept` says."""

    def select_parser(self, request: Request, parsers: Any) -> Any:  # noqa: ARG002
        return None

    def select_renderer(self, request: Request, renderers: Any, format_suffix: Any = None) -> Any:  # noqa: ARG002
        return None, "application/json"


class SignalsView(APIView):
    """Records one signal or an array of them, signed; answers when they are committed."""

    http_method_names = ["post"]
    authentication_classes = [SignatureAuthentication]
    permission_classes = [MayPublish]
    throttle_classes = [SenderThrottle]
    content_negotiation_class = NoNegotiation
    parser_classes = []  # the signature is over the bytes, and the ledger parses them
    renderer_classes = []
    default_response_headers: dict[str, str] = {}

    @webhook_documentation
    def post(self, request: Request) -> HttpResponse:
        received = cast(ReceivedRequest, request.auth)
        entries = webhook.entries_from(_sender(request), received.body)
        return record_for(webhook, entries, request._request, webhook.timeout_s)


def _sender(request: Request) -> Principal:
    return cast(Principal, request.user)

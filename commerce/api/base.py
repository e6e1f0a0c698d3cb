"""What all views of `/api/v1/` share: authentication, the day's limits, validation and errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import msgspec
from django.conf import settings
from django.http import HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import ParseError
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import JSONParser
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.serializers import Serializer
from rest_framework.views import APIView

from aggregator.http import rate_limits
from aggregator.http.client_address import client_address
from aggregator.http.problems import Problem
from aggregator.ledger.errors import classified
from commerce import readers, usage
from commerce.entitlements import Entitlement
from commerce.readers import Reader


@contextmanager
def counting_failures(address: str) -> Iterator[None]:
    """Count a failed authentication against an address. Raises Problem 429 when there were too many."""
    try:
        yield
    except Problem as problem:
        if problem.status == 401:
            environment = settings.ENVIRONMENT
            rate_limits.rate_limiter(environment).hit(environment.webhook_failed_rate, "failed", address)
        raise


class ReaderKeyAuthentication(BaseAuthentication):
    """A customer's API key, as `Authorization: Bearer` or `X-API-Key`."""

    def authenticate(self, request: Request) -> tuple[Reader, None]:
        """Return the reader. Raises Problem 401 or 403; 429 for too many failures from an address."""
        with counting_failures(client_address(request.META)):
            return readers.find_reader(request.headers), None


class JSONOnly(BaseContentNegotiation):
    """JSON, whatever `Accept` says: a 406 would help no client."""

    def select_parser(self, request: Request, parsers: Any) -> Any:  # noqa: ARG002
        return parsers[0]

    def select_renderer(self, request: Request, renderers: Any, format_suffix: Any = None) -> Any:  # noqa: ARG002
        return renderers[0], renderers[0].media_type


class JSONBody(JSONParser):
    def parse(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().parse(*args, **kwargs)
        except RecursionError:
            raise ParseError("The JSON is nested too deeply.") from None


class ReaderView(APIView):
    """A view for customers. `self.reader` is the customer's key."""

    authentication_classes = [ReaderKeyAuthentication]
    permission_classes = []
    parser_classes = [JSONBody]
    renderer_classes = [JSONRenderer]
    content_negotiation_class = JSONOnly
    http_method_names = ["get", "head"]
    counted = True
    """Whether a request counts against the day of the subscription."""
    needs_subscription = True
    """Whether a counted request is refused without a live one."""

    reader: Reader
    used: usage.Usage | None = None

    @property
    def entitlement(self) -> Entitlement:
        """The reader's entitlement. Raises Problem 403 where no subscription is live."""
        return self.reader.require_entitlement()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        self.reader = request.user  # type: ignore[assignment]
        if self.counted:
            entitlement = self.entitlement if self.needs_subscription else self.reader.entitlement
            limit = entitlement.requests_per_day if entitlement else None
            self.used = usage.count_request(self.reader.customer_id, limit)

    def http_method_not_allowed(self, *_args: Any, **_kwargs: Any) -> Any:
        raise Problem(405, "method_not_allowed", "The method is not allowed here.")

    def require_signals_left(self) -> None:
        """Raise Problem 429 if the day's signals are used up.

        Called before anything is looked up: an answer that differs would show what there is to read.
        """
        if self.used:
            usage.require_signals_left(self.used, self.entitlement.signals_per_day)

    def count_signals(self, wanted: int) -> int:
        """Count up to `wanted` signals and return how many may be sent. Raises Problem 429 for none.

        A HEAD sends none, and counts none.
        """
        if self.request.method == "HEAD":
            return wanted
        granted = usage.count_signals(self.entitlement.customer_id, wanted, self.entitlement.signals_per_day)
        if self.used:
            self.used = replace(self.used, signals=self.used.signals + granted)
            limit = self.entitlement.signals_per_day
            if wanted and not granted and limit is not None:
                raise usage.limit_reached("signals", limit, self.used.resets_at)
        return granted

    def handle_exception(self, exc: Exception) -> Any:
        try:
            with classified():
                raise exc
        except Exception as error:
            return super().handle_exception(error)

    def finalize_response(
        self, request: Request, response: HttpResponseBase, *args: Any, **kwargs: Any
    ) -> Any:
        if self.used and self.reader.entitlement:
            self.headers |= usage.rate_limit_headers(self.reader.entitlement, self.used)
        self.headers |= {"Cache-Control": "private, no-cache", "Vary": "Authorization, X-API-Key"}
        return super().finalize_response(request, response, *args, **kwargs)  # type: ignore[arg-type]


def valid(serializer: type[Serializer[Any]], data: Any) -> dict[str, Any]:
    """Return the validated values. Raises Problem 400 with `errors`, which quote nothing that was sent."""
    # A plain dict: in a QueryDict, DRF treats an empty value as absent.
    checked = serializer(data=data.dict() if isinstance(data, QueryDict) else data)
    if checked.is_valid():
        return dict(checked.validated_data)
    errors = [
        {"field": field, "code": error.code, "detail": _detail(serializer, field)}
        for field, found in checked.errors.items()
        for error in _flat(found)
    ]
    raise Problem(400, "invalid", "A parameter or field is not valid.", errors=errors)


def _flat(found: Any) -> list[Any]:
    """Return the errors in what DRF gives for a field: a list, or lists by index or name."""
    if isinstance(found, dict):
        return [error for part in found.values() for error in _flat(part)]
    if isinstance(found, list):
        return [error for part in found for error in _flat(part)]
    return [found]


def _detail(serializer: type[Serializer[Any]], field: str) -> str:
    declared = getattr(serializer, "_declared_fields", {}).get(field)
    return str(getattr(declared, "help_text", None) or "Not valid.")


def json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> HttpResponse:
    """Return a JSON response of what msgspec can encode."""
    return HttpResponse(
        msgspec.json.encode(content), status=status, content_type="application/json", headers=headers
    )


def matches(request: HttpRequest | Request, etag: str) -> bool:
    """Return whether `If-None-Match` names this ETag, by weak comparison (RFC 9110, section 13.1.2)."""
    known = [part.strip() for part in request.META.get("HTTP_IF_NONE_MATCH", "").split(",")]
    return "*" in known or etag.removeprefix("W/") in {part.removeprefix("W/") for part in known}

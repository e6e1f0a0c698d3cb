"""`webhooks`: a customer's push endpoints; those of others are a 404."""

from datetime import timedelta
from functools import partial
from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponse
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.viewsets import ViewSetMixin

from aggregator.http.problems import Problem
from commerce import change_limit
from commerce.api import webhook_serializers as serializers
from commerce.api.base import ReaderView, json, valid
from commerce.api.documentation import ALWAYS, documented
from commerce.models import Endpoint
from commerce.webhooks import endpoints

ON_ONE = (*ALWAYS, 404)
documented_on_one = partial(documented, problems=ON_ONE)


class Webhooks(ViewSetMixin, ReaderView):
    """A webhook is one of your URLs, or a chat, to which signals are sent."""

    # The docstring is the description, for customers, of what has none of its own.
    counted = False
    http_method_names = ["get", "head", "post", "delete"]
    lookup_url_kwarg = "endpoint_id"
    lookup_value_converter = "slug"
    endpoint: Endpoint
    """The one that the address names."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request.method not in {"GET", "HEAD"}:
            change_limit.count_change(self.reader.customer_id)
        if "endpoint_id" in kwargs:
            self.endpoint = self.mine().get(public_id=kwargs["endpoint_id"])

    def handle_exception(self, exc: Exception) -> Any:
        # Also for one that another request deletes at the same time.
        if isinstance(exc, Endpoint.DoesNotExist):
            exc = Problem(404, "not_found", "There is no such webhook.")
        return super().handle_exception(exc)

    def mine(self) -> QuerySet[Endpoint]:
        """Return this customer's endpoints."""
        return Endpoint.objects.filter(customer_id=self.reader.customer_id).select_related("cursor")

    def serialized(self, status: int = 200) -> HttpResponse:
        return json(serializers.EndpointResponse(self.endpoint).data, status)

    @documented(serializers.EndpointList, summary="List my webhooks", operation_id="list_webhooks")
    def list(self, _request: Request) -> HttpResponse:
        return json({"webhooks": serializers.EndpointResponse(self.mine().order_by("id"), many=True).data})

    @documented(
        {201: serializers.EndpointWithSecret},
        summary="Create a webhook",
        description="Signals are then POSTed there, signed by Standard Webhooks, or sent to a chat. "
        "A second one with the same address is a 409.",
        operation_id="create_webhook",
        request=serializers.EndpointInput,
        problems=(*ALWAYS, 409, 413),
    )
    def create(self, request: Request) -> HttpResponse:
        wanted = valid(serializers.EndpointInput, request.data)
        endpoint, secret = endpoints.create(
            self.entitlement,
            wanted["channel"],
            wanted["url"],
            description=wanted["description"],
            after=wanted.get("after"),
            ecosystems=self.reader.ecosystems,
            outcomes=wanted["outcomes"],
        )
        return json({**serializers.EndpointResponse(endpoint).data, "secret": secret}, 201)

    @documented_on_one(serializers.EndpointResponse, summary="See a webhook", operation_id="get_webhook")
    def retrieve(self, _request: Request, **_: str) -> HttpResponse:
        return self.serialized()

    @documented_on_one({204: None}, summary="Delete a webhook", operation_id="delete_webhook")
    def destroy(self, _request: Request, **_: str) -> HttpResponse:
        self.endpoint.delete()
        return HttpResponse(status=204)

    @documented_on_one(
        {202: serializers.MessageResponse},
        summary="Send a test message",
        description="Its attempts are in the list of messages.",
        operation_id="test_webhook",
        request=None,
    )
    @action(detail=True, methods=["post"])
    def test(self, _request: Request, **_: str) -> HttpResponse:
        self.reader.require_entitlement()
        return json(serializers.MessageResponse(endpoints.send_test(self.endpoint)).data, 202)

    @documented_on_one(
        serializers.SecretResponse,
        summary="Get a new signing secret",
        operation_id="rotate_webhook_secret",
        request=serializers.RotateInput,
        problems=(*ON_ONE, 409, 413),
    )
    @action(detail=True, methods=["post"])
    def rotate(self, request: Request, **_: str) -> HttpResponse:
        hours = valid(serializers.RotateInput, request.data)["overlap_hours"]
        if self.endpoint.channel != Endpoint.Channel.WEBHOOK:
            raise Problem(409, "no_secret", "A chat has no signing secret.")
        return json({"secret": endpoints.rotate(self.endpoint, timedelta(hours=hours))})

    @documented_on_one(
        serializers.EndpointResponse, summary="Pause a webhook", operation_id="pause_webhook", request=None
    )
    @action(detail=True, methods=["post"])
    def pause(self, _request: Request, **_: str) -> HttpResponse:
        endpoints.set_paused(self.endpoint, True)
        return self.serialized()

    @documented_on_one(
        serializers.EndpointResponse,
        summary="Resume a paused or disabled webhook",
        description="It goes on where it stopped.",
        operation_id="resume_webhook",
        request=None,
    )
    @action(detail=True, methods=["post"])
    def resume(self, _request: Request, **_: str) -> HttpResponse:
        endpoints.set_paused(self.endpoint, False)
        return self.serialized()

    @documented_on_one(
        {202: serializers.EndpointResponse},
        summary="Send again from a cursor",
        description="Everything behind the cursor is sent again, with the same `webhook-id`s as before.",
        operation_id="replay_webhook",
        request=serializers.ReplayInput,
        problems=(*ON_ONE, 413),
    )
    @action(detail=True, methods=["post"])
    def replay(self, request: Request, **_: str) -> HttpResponse:
        self.reader.require_entitlement()
        endpoints.replay(self.endpoint, valid(serializers.ReplayInput, request.data)["after"])
        return self.serialized(202)

    @documented_on_one(
        serializers.MessagePage,
        summary="List a webhook's messages",
        description="The newest first, each with its attempts and their responses.",
        operation_id="list_webhook_messages",
        parameters=[serializers.MessageQuery],
    )
    @action(detail=True)
    def messages(self, request: Request, **_: str) -> HttpResponse:
        query = valid(serializers.MessageQuery, request.query_params)
        rows = self.endpoint.messages.order_by("-id").prefetch_related("attempts")
        if "before" in query:
            rows = rows.filter(pk__lt=query["before"])
        if "state" in query:
            rows = rows.filter(state=query["state"])
        found = list(rows[: query["limit"] + 1])
        page = found[: query["limit"]]
        return json(
            {
                "messages": serializers.MessageResponse(page, many=True).data,
                "next": page[-1].pk if len(found) > len(page) else None,
            }
        )

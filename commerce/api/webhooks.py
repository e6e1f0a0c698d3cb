"""`webhooks`: a customer's push endpoints. Those of others do not exist here: they are 404."""

from datetime import timedelta

from django.conf import settings
from django.http import HttpResponse
from rest_framework.request import Request

from aggregator import rates
from aggregator.models import ApiKey
from aggregator.problems import Problem
from commerce.api import webhook_serializers as serializers
from commerce.api.base import ReaderView, json, valid
from commerce.api.documented import ALWAYS, documented
from commerce.deliveries import endpoints
from commerce.deliveries.shown import delivery_shown, endpoint_shown
from commerce.models import Endpoint

CHANGES_RATE = "60/minute"
"""Changes that a customer may make: each may look a name up or put messages in the queue."""
ON_ONE = (*ALWAYS, 404)


class WebhookView(ReaderView):
    counted = False
    http_method_names = ["get", "post", "delete"]

    def changing(self) -> None:
        """Count a change. Raises Problem 429 for too many."""
        limiter = rates.limiter(settings.ENVIRONMENT)
        limiter.hit(CHANGES_RATE, "webhook-changes", str(self.reader.customer_id))

    def endpoint(self, endpoint_id: str) -> Endpoint:
        """Return an endpoint of this customer's. Raises Problem 404."""
        mine = Endpoint.objects.filter(customer_id=self.reader.customer_id)
        found = mine.filter(public_id=endpoint_id).first()
        if found is None:
            raise Problem(404, "not_found", "There is no such webhook.")
        return found


class WebhookList(WebhookView):
    @documented(serializers.EndpointList, summary="List my webhooks", operation_id="list_webhooks")
    def get(self, _request: Request) -> HttpResponse:
        mine = Endpoint.objects.filter(customer_id=self.reader.customer_id).order_by("id")
        return json({"webhooks": [endpoint_shown(endpoint) for endpoint in mine]})

    @documented(
        {201: serializers.EndpointWithSecret},
        summary="Make a webhook",
        description="Signals are then POSTed there, signed by Standard Webhooks, or sent to a chat.",
        operation_id="create_webhook",
        request=serializers.EndpointInput,
        problems=(*ALWAYS, 409),
    )
    def post(self, request: Request) -> HttpResponse:
        self.changing()
        wanted = valid(serializers.EndpointInput, request.data)
        key = ApiKey.objects.get(key_id=self.reader.key_id)
        try:
            endpoint, secret = endpoints.create(
                self.rights,
                wanted["channel"],
                wanted["url"],
                description=wanted["description"],
                after=wanted.get("after"),
                ecosystems=key.ecosystems,
            )
        except endpoints.Rejected as rejected:
            status = 409 if rejected.code == "too_many_endpoints" else 400
            raise Problem(status, rejected.code, str(rejected)) from None
        return json({**endpoint_shown(endpoint), "secret": secret}, 201)


class WebhookDetail(WebhookView):
    @documented(
        serializers.EndpointAnswer, summary="See a webhook", operation_id="get_webhook", problems=ON_ONE
    )
    def get(self, _request: Request, endpoint_id: str) -> HttpResponse:
        return json(endpoint_shown(self.endpoint(endpoint_id)))

    @documented({204: None}, summary="Delete a webhook", operation_id="delete_webhook", problems=ON_ONE)
    def delete(self, _request: Request, endpoint_id: str) -> HttpResponse:
        self.changing()
        self.endpoint(endpoint_id).delete()
        return HttpResponse(status=204)


class WebhookTest(WebhookView):
    @documented(
        {202: serializers.DeliveryAnswer},
        summary="Send a test message",
        description="What comes of it is in the list of deliveries.",
        operation_id="test_webhook",
        request=None,
        problems=ON_ONE,
    )
    def post(self, _request: Request, endpoint_id: str) -> HttpResponse:
        self.changing()
        _ = self.rights
        return json(delivery_shown(endpoints.send_test(self.endpoint(endpoint_id)), []), 202)


class WebhookRotate(WebhookView):
    @documented(
        serializers.SecretAnswer,
        summary="Get a new signing secret",
        operation_id="rotate_webhook_secret",
        request=serializers.RotateInput,
        problems=(*ON_ONE, 409),
    )
    def post(self, request: Request, endpoint_id: str) -> HttpResponse:
        self.changing()
        endpoint = self.endpoint(endpoint_id)
        hours = valid(serializers.RotateInput, request.data)["overlap_hours"]
        if endpoint.channel != Endpoint.Channel.WEBHOOK:
            raise Problem(409, "no_secret", "A chat has no signing secret.")
        return json({"secret": endpoints.rotate(endpoint, timedelta(hours=hours))})


class WebhookPause(WebhookView):
    @documented(
        serializers.EndpointAnswer,
        summary="Pause a webhook",
        operation_id="pause_webhook",
        request=None,
        problems=ON_ONE,
    )
    def post(self, _request: Request, endpoint_id: str) -> HttpResponse:
        return self.set_paused(endpoint_id, paused=True)

    def set_paused(self, endpoint_id: str, *, paused: bool) -> HttpResponse:
        self.changing()
        endpoint = self.endpoint(endpoint_id)
        endpoints.set_paused(endpoint, paused)
        return json(endpoint_shown(endpoint))


class WebhookResume(WebhookPause):
    @documented(
        serializers.EndpointAnswer,
        summary="Switch a paused or disabled webhook on",
        description="Deliveries go on where they stopped.",
        operation_id="resume_webhook",
        request=None,
        problems=ON_ONE,
    )
    def post(self, _request: Request, endpoint_id: str) -> HttpResponse:
        return self.set_paused(endpoint_id, paused=False)


class WebhookReplay(WebhookView):
    @documented(
        {202: serializers.EndpointAnswer},
        summary="Deliver again from a cursor",
        description="Everything behind the cursor comes again, with the same `webhook-id`s as before.",
        operation_id="replay_webhook",
        request=serializers.ReplayInput,
        problems=ON_ONE,
    )
    def post(self, request: Request, endpoint_id: str) -> HttpResponse:
        self.changing()
        _ = self.rights
        endpoint = self.endpoint(endpoint_id)
        endpoints.replay(endpoint, valid(serializers.ReplayInput, request.data)["after"])
        endpoint.refresh_from_db()
        return json(endpoint_shown(endpoint), 202)


class WebhookDeliveries(WebhookView):
    @documented(
        serializers.DeliveryPage,
        summary="List a webhook's deliveries",
        description="The newest first, each with its attempts and how they were answered.",
        operation_id="list_webhook_deliveries",
        parameters=[serializers.DeliveryQuery],
        problems=ON_ONE,
    )
    def get(self, request: Request, endpoint_id: str) -> HttpResponse:
        query = valid(serializers.DeliveryQuery, request.query_params)
        rows = self.endpoint(endpoint_id).deliveries.order_by("-id").prefetch_related("tries")
        if "before" in query:
            rows = rows.filter(pk__lt=query["before"])
        if "state" in query:
            rows = rows.filter(state=query["state"])
        found = list(rows[: query["limit"] + 1])
        page = found[: query["limit"]]
        return json(
            {
                "deliveries": [delivery_shown(row, row.tries.all()) for row in page],
                "next": page[-1].pk if len(found) > len(page) else None,
            }
        )

"""`GET stream` in the processes that do not serve it: documentation, and a 421."""

from django.http import HttpResponse
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

from aggregator.http.problems import Problem
from commerce.api import serializers
from commerce.api.base import ReaderView, valid
from commerce.api.documentation import ALWAYS, EVENT_STREAM, documented


class Stream(ReaderView):
    """The documentation of the stream, which `config.asgi` serves without a view."""

    counted = False

    @documented(
        EVENT_STREAM,
        summary="Follow the feed",
        description="Server-Sent Events: `event: signal`, with a cursor as `id` and the signal as `data`; "
        "`event: outcome.decided` with an outcome as `data`, behind its call, and again where late prices "
        "change it. An `id` without data moves the cursor. `event: end` holds the problem that ends it.",
        operation_id="stream_signals",
        parameters=[
            serializers.StreamQuery,
            OpenApiParameter(
                "Last-Event-ID", str, OpenApiParameter.HEADER, description="A cursor to go on from."
            ),
        ],
        problems=(*ALWAYS, 410, 421),
    )
    def get(self, request: Request) -> HttpResponse:
        valid(serializers.StreamQuery, request.query_params)
        raise Problem(
            421, "not_the_stream", "Streams are served by the hub's stream process, not by this one."
        )

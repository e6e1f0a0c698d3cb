"""`GET signals`, `GET signals/<ecosystem>/<signal_id>`, its `proof`, and what documents `GET stream`."""

from django.http import HttpResponse
from django.utils.crypto import salted_hmac
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

from aggregator.http.problems import Problem
from aggregator.transparency.proofs import signal_proof
from commerce import feed
from commerce.api import serializers
from commerce.api.base import ReaderView, json, matches, valid
from commerce.api.documentation import ALWAYS, EVENT_STREAM, IF_NONE_MATCH, NOT_MODIFIED, documented
from commerce.feed import cursors, signal_serializer


class SignalList(ReaderView):
    @documented(
        {200: serializers.SignalPage, **NOT_MODIFIED},
        summary="Read the feed",
        description="Signals in the order they were recorded. Following `next` returns each exactly once.",
        operation_id="list_signals",
        parameters=[serializers.SignalQuery, *IF_NONE_MATCH],
        problems=(*ALWAYS, 410),
    )
    def get(self, request: Request) -> HttpResponse:
        query = valid(serializers.SignalQuery, request.query_params)
        limit, after = query.pop("limit"), query.pop("after", 0)
        self.require_signals_left()
        page = feed.read(self.entitlement.scope, feed.Filters(**query), after, limit)
        if matches(request, self.etag(page)):
            return HttpResponse(status=304, headers={"ETag": self.etag(page)})
        page = page.cut(self.count_signals(len(page.signals)))
        signals = [signal_serializer.serialize(signal) for signal in page.signals]
        answer = {"signals": signals, "next": cursors.encode(page.position), "has_more": page.has_more}
        return json(answer, headers={"ETag": self.etag(page)})

    def etag(self, page: feed.Page) -> str:
        """Return a weak ETag: `next` may move while this reader has nothing new.

        Of a signal only the instrument may change, which an operator maps. The ETag is keyed and the
        customer's own, so that no customer can try which positions another one sees.
        """
        shown = [(signal.position, signal.instrument) for signal in page.signals]
        about = (self.reader.customer_id, self.entitlement.scope.payload, page.has_more, shown)
        return f'W/"{salted_hmac("commerce.etag", repr(about)).hexdigest()[:32]}"'


class SignalDetail(ReaderView):
    @documented(
        signal_serializer.Signal,
        summary="Read one signal",
        description="A signal by its identity. It counts as one of the day's signals.",
        operation_id="get_signal",
        problems=(*ALWAYS, 404),
    )
    def get(self, _request: Request, ecosystem: str, signal_id: str) -> HttpResponse:
        self.require_signals_left()
        signal = feed.find(self.entitlement.scope, ecosystem, signal_id)
        if signal is None:
            raise Problem(404, "not_found", "No such signal in this subscription.")
        self.count_signals(1)
        return json(signal_serializer.serialize(signal))


class SignalProof(SignalDetail):
    @documented(
        serializers.Proof,
        summary="Prove that a signal is in the log",
        description="What shows that a signal is in the transparency log as it was recorded: "
        "`examples/verify_record.py proof` verifies it. It counts as one of the day's signals.",
        operation_id="get_signal_proof",
        problems=(*ALWAYS, 404),
    )
    def get(self, request: Request, ecosystem: str, signal_id: str) -> HttpResponse:
        self.require_signals_left()
        signal = feed.find(self.entitlement.scope, ecosystem, signal_id)
        if signal is None:
            # The id of a signal may end in /proof itself.
            answer: HttpResponse = super().get(request, ecosystem, f"{signal_id}/proof")
            return answer
        proof = signal_proof(signal.position or 0)
        if proof is None:
            raise Problem(404, "not_in_log", "No checkpoint covers this signal yet, or no log is kept.")
        self.count_signals(1)
        return json(proof)


class Stream(ReaderView):
    """The documentation of the stream, which `config.asgi` serves without a view; others answer 421."""

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

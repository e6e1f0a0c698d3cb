"""`GET instruments` and `GET agents`: the values that the feed can be filtered by."""

from django.http import HttpResponse
from rest_framework.request import Request

from commerce.api import serializers
from commerce.api.base import ReaderView, json, valid
from commerce.api.documentation import documented
from commerce.feed import listing
from commerce.feed.signal_serializer import ECOSYSTEMS

SHORT_PAGES = "A page may have fewer entries than `limit` and still a `next`."


class ListingView(ReaderView):
    """The values of a column of the visible signals, with their ecosystems."""

    column: listing.Column

    def page(self, request: Request, name: str) -> HttpResponse:
        """Return a page of entries, whose value goes by a name, and the `after` of the next one."""
        query = valid(serializers.ListingQuery, request.query_params)
        scope = self.entitlement.scope
        known = {query["ecosystem"]} if "ecosystem" in query else set(ECOSYSTEMS)
        ecosystems = known if scope.ecosystems is None else known & scope.ecosystems
        ecosystem, _, value = query.get("after", "").partition("/")
        after = (ecosystem, value) if ecosystem else None
        found, following = listing.page(scope, self.column, ecosystems, after, query["limit"])
        entries = [{"ecosystem": ecosystem, name: value} for ecosystem, value in found]
        return json({f"{name}s": entries, "next": "/".join(following) if following else None})


class InstrumentList(ListingView):
    column = "instrument"

    @documented(
        serializers.InstrumentPage,
        summary="List the instruments",
        description=f"The instruments of the visible signals: what `instrument` can filter by. {SHORT_PAGES}",
        operation_id="list_instruments",
        parameters=[serializers.ListingQuery],
    )
    def get(self, request: Request) -> HttpResponse:
        return self.page(request, "instrument")


class AgentList(ListingView):
    column = "agent_source"

    @documented(
        serializers.AgentPage,
        summary="List the agents",
        description=f"The agents of the visible signals: what `agent` can filter by. {SHORT_PAGES}",
        operation_id="list_agents",
        parameters=[serializers.ListingQuery],
    )
    def get(self, request: Request) -> HttpResponse:
        return self.page(request, "agent")

"""`GET instruments` and `GET agents`: the values that the feed can be filtered by."""

from django.http import HttpResponse
from rest_framework.request import Request

from aggregator.models import ECOSYSTEM_CHOICES
from commerce.api import serializers
from commerce.api.base import ReaderView, json, valid
from commerce.api.documentation import documented
from commerce.feed import listing

SHORT_PAGES = "A page may have fewer entries than `limit` and still a `next`."


class ListingView(ReaderView):
    """The values of a column of the visible signals, with their ecosystems."""

    column: listing.Column

    def page(self, request: Request) -> tuple[list[listing.Entry], str | None]:
        """Return a page of entries and the `after` of the next one."""
        query = valid(serializers.ListingQuery, request.query_params)
        scope = self.entitlement.scope
        known = {query["ecosystem"]} if "ecosystem" in query else {name for name, _ in ECOSYSTEM_CHOICES}
        ecosystems = known if scope.ecosystems is None else known & scope.ecosystems
        ecosystem, _, value = query.get("after", "").partition("/")
        after = (ecosystem, value) if ecosystem else None
        found, following = listing.page(scope, self.column, ecosystems, after, query["limit"])
        return found, "/".join(following) if following else None


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
        found, after = self.page(request)
        return json(
            {"instruments": [{"ecosystem": one, "instrument": name} for one, name in found], "next": after}
        )


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
        found, after = self.page(request)
        return json({"agents": [{"ecosystem": one, "agent": name} for one, name in found], "next": after})

"""`GET instruments` and `GET agents`: what there is to filter by."""

from typing import Any

from django.db.models import Q
from django.http import HttpResponse
from rest_framework.request import Request

from commerce.api import serializers
from commerce.api.base import ReaderView, json, valid
from commerce.api.documentation import documented
from commerce.feed import listing

CATCH_UP = 5
"""Batches that a request takes in itself, where no periodic work keeps the roll-up fresh."""


class SeriesView(ReaderView):
    """One column of the series beside the ecosystem, each pair once, in order."""

    column: str

    def page(self, request: Request) -> tuple[list[tuple[str, str]], str | None]:
        """Return a page of pairs and the `after` of the next one."""
        query = valid(serializers.ListingQuery, request.query_params)
        listing.roll_up(CATCH_UP)
        rows: Any = listing.visible(self.entitlement.scope)
        if ecosystem := query.get("ecosystem"):
            rows = rows.filter(ecosystem=ecosystem)
        if after := query.get("after"):
            known, _, value = after.partition("/")
            rows = rows.filter(
                Q(ecosystem__gt=known) | Q(**{"ecosystem": known, f"{self.column}__gt": value})
            )
        names = rows.order_by("ecosystem", self.column).values_list("ecosystem", self.column).distinct()
        found = list(names[: query["limit"] + 1])
        more = len(found) > query["limit"]
        found = found[: query["limit"]]
        return found, "/".join(found[-1]) if more else None


class InstrumentList(SeriesView):
    column = "instrument"

    @documented(
        serializers.InstrumentPage,
        summary="List the instruments",
        description="The instruments of the visible signals, in order: what `instrument` can filter by.",
        operation_id="list_instruments",
        parameters=[serializers.ListingQuery],
    )
    def get(self, request: Request) -> HttpResponse:
        found, after = self.page(request)
        return json(
            {"instruments": [{"ecosystem": one, "instrument": name} for one, name in found], "next": after}
        )


class AgentList(SeriesView):
    column = "agent_source"

    @documented(
        serializers.AgentPage,
        summary="List the agents",
        description="The agents of the visible signals, in order: what `agent` can filter by.",
        operation_id="list_agents",
        parameters=[serializers.ListingQuery],
    )
    def get(self, request: Request) -> HttpResponse:
        found, after = self.page(request)
        return json({"agents": [{"ecosystem": one, "agent": name} for one, name in found], "next": after})

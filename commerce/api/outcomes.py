"""`GET outcomes` and `GET agents/<ecosystem>/<agent>/record`."""

from typing import Any

from django.http import HttpResponse
from rest_framework.request import Request

from aggregator.http.problems import Problem
from aggregator.models import AgentHorizon
from aggregator.track_record import statistics
from aggregator.track_record.statistics import Record
from commerce.api import serializers
from commerce.api.base import ReaderView, json, valid
from commerce.api.documentation import ALWAYS, documented
from commerce.feed import Filters, cursors, outcome_pages
from ecosystems.market.scoring import HORIZON_HOURS, RULE_VERSION
from ecosystems.signal import decimal_text


class OutcomeList(ReaderView):
    @documented(
        serializers.OutcomePage,
        summary="Read outcomes of calls",
        description="What became of each call, in the order they were recorded, each once. An outcome that "
        "was open may be decided later, which `outcome.decided` reports. Each counts as a signal.",
        operation_id="list_outcomes",
        parameters=[serializers.OutcomeQuery],
        problems=(*ALWAYS, 410),
    )
    def get(self, request: Request) -> HttpResponse:
        query = valid(serializers.OutcomeQuery, request.query_params)
        limit, after, state = query.pop("limit"), query.pop("after", 0), query.pop("state", None)
        self.require_signals_left()
        wanted = Filters(**query).condition()
        page = outcome_pages.read_outcomes(self.entitlement.scope, wanted, state, after, limit)
        page = page.cut(self.count_signals(len(page.outcomes)))
        next_cursor = cursors.encode(page.position)
        return json({"outcomes": page.outcomes, "next": next_cursor, "has_more": page.has_more})


class AgentRecordDetail(ReaderView):
    @documented(
        serializers.AgentRecord,
        summary="Read an agent's track record",
        description="Statistics of the agent's calls that this subscription may see: real or simulated ones. "
        "A plan with a delay has those that were decided before it: open calls are valued at present prices.",
        operation_id="get_agent_record",
        parameters=[serializers.RecordQuery],
        problems=(*ALWAYS, 404),
    )
    def get(self, request: Request, ecosystem: str, agent: str) -> HttpResponse:
        query = valid(serializers.RecordQuery, request.query_params)
        scope = self.entitlement.scope
        name = "" if agent == "-" else agent
        calls = outcome_pages.counted_outcomes(scope).filter(
            ecosystem=ecosystem, agent_source=name, simulated=query["simulated"]
        )
        if not calls.exists():
            kind = "simulated" if query["simulated"] else "real"
            raise Problem(404, "not_found", f"This subscription shows no {kind} calls of this agent.")
        record = statistics.record_of(calls, ecosystem)
        body = record_body(record, ecosystem, name, simulated=query["simulated"])
        body["by_instrument"] = serializers.RecordGroup(record.by_instrument, many=True).data
        body["by_month"] = serializers.RecordGroup(record.by_month, many=True).data
        return json(body)


def current_horizon(ecosystem: str, agent: str) -> str:
    """Return the time stop of calls that the agent makes now, in open hours."""
    known = (
        AgentHorizon.objects.filter(ecosystem=ecosystem, agent_source=agent).order_by("set_at", "id").last()
    )
    hours = known.hours if known and known.hours is not None else HORIZON_HOURS[ecosystem]
    return decimal_text(hours) or ""


def record_body(record: Record, ecosystem: str, agent: str, *, simulated: bool) -> dict[str, Any]:
    """Return an agent's statistics as the API has them."""
    return {
        "ecosystem": ecosystem,
        "agent": agent,
        "simulated": simulated,
        **serializers.RecordFigures(record).data,
        "horizon_hours": current_horizon(ecosystem, agent),
        "rule_version": RULE_VERSION,
    }

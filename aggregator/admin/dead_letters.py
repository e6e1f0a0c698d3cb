"""Dead letters: grouped, read, replayed, resolved."""

from typing import Any

from django.contrib import admin
from django.db import connection
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404
from unfold.contrib.filters.admin import DropdownFilter, TextFilter
from unfold.decorators import action

from aggregator.admin.base import Uncounted, raw_bytes
from aggregator.admin.dead_letter_actions import MOST_IDS, LetterWork, in_state
from aggregator.admin.signals import AgentFilter, EcosystemFilter, TransportFilter, without_nul
from aggregator.ledger import replay
from aggregator.models import DeadLetter
from aggregator.templatetags.hub import ago

GROUPED = 100_000
"""The newest unresolved letters that the groups count."""
GROUPS = """
    SELECT code, agent_source, ecosystem, count(*), sum(times), max(last_at)
    FROM (SELECT code, agent_source, ecosystem, times, last_at FROM dead_letters
        WHERE resolved_at IS NULL ORDER BY last_at DESC LIMIT %s) AS newest
    GROUP BY 1, 2, 3 ORDER BY 4 DESC LIMIT 50"""


class StateFilter(DropdownFilter):  # type: ignore[misc] # the package has no types
    title = "state"
    parameter_name = "state"
    all_option = None

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return [("", "Unresolved"), ("resolved", "Resolved"), ("all", "All")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return in_state(queryset, self.value())


class CodeFilter(TextFilter):  # type: ignore[misc]
    title = "code"
    parameter_name = "code"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        code = without_nul(self.value())
        return queryset.filter(code=code) if code else queryset


class LetterEcosystemFilter(EcosystemFilter):
    """With one more choice: what was refused may not have said where it belongs."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return [*super().lookups(request, model_admin), ("-", "none")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(ecosystem="") if self.value() == "-" else super().queryset(request, queryset)


@admin.register(DeadLetter)
class DeadLetterAdmin(Uncounted, LetterWork):
    list_display = ("when", "code", "detail", "ecosystem", "agent_source", "signal_id", "transport", "times")
    list_display_links = ("when", "code")
    list_filter = (StateFilter, CodeFilter, AgentFilter, LetterEcosystemFilter, TransportFilter)
    list_filter_submit = True
    list_per_page = 50
    search_fields = ("=signal_id", "=agent_source", "=sender")
    search_help_text = "Signal id, agent or sender"
    ordering = ("-last_at",)
    sortable_by = ()
    list_fullwidth = True
    list_disable_select_all = True  # they are not counted; links above the list take all that is chosen
    list_before_template = "admin/hub/letter_groups.html"
    actions = ("replay_selected", "resolve_selected")
    actions_detail = ("replay_one", "resolve_one", "download")
    fieldsets = (
        ("What was wrong", {"fields": (("code", "field"), "detail")}),
        ("Where it came from", {"fields": (("transport", "sender"), ("stream", "entry_id"))}),
        ("Whose it is", {"fields": (("ecosystem", "agent_source"), "signal_id")}),
        ("When", {"fields": (("first_at", "last_at"), ("times", "deliveries"), "resolved_at")}),
        ("Raw content", {"fields": ("content",)}),
    )

    def get_actions(self, request: HttpRequest) -> Any:
        """Show the actions although rows cannot be edited."""
        return {name: self.get_action(name) for name in self.actions} if self.may(request) else {}

    def has_replay_permission(self, request: HttpRequest, _object_id: Any = None) -> bool:
        return self.may(request)

    def get_queryset(self, request: HttpRequest) -> QuerySet[DeadLetter]:
        """Leave the raw bytes, a megabyte each at worst, until one letter's page asks for them."""
        return super().get_queryset(request).defer("raw")  # type: ignore[no-any-return]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        chosen = {name for name, value in request.GET.items() if value and name != "p"}
        context = {"groups": [] if chosen else _groups(), "chosen": chosen, "may": self.may(request)}
        return super().changelist_view(request, context | (extra_context or {}))

    @admin.action(description="Replay")
    def replay_selected(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> HttpResponse:
        return self._selected("replay", request, queryset)

    @admin.action(description="Mark as resolved")
    def resolve_selected(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> HttpResponse:
        return self._selected("resolve", request, queryset)

    def _selected(self, name: str, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> HttpResponse:
        ids = queryset.values_list("pk", flat=True)[:MOST_IDS]
        return self.to_work(name, ids=",".join(map(str, ids)), state=request.GET.get("state", ""))

    @action(description="Replay", permissions=["replay"], icon="replay")  # type: ignore[untyped-decorator]
    def replay_one(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.to_work("replay", ids=object_id, state="all")

    @action(description="Mark as resolved", permissions=["replay"], icon="check")  # type: ignore[untyped-decorator]
    def resolve_one(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.to_work("resolve", ids=object_id)

    @action(description="Download", permissions=["view"], icon="download")  # type: ignore[untyped-decorator]
    def download(self, request: HttpRequest, object_id: str) -> HttpResponse:
        letter = get_object_or_404(self.get_queryset(request), pk=object_id)
        response = HttpResponse(bytes(letter.raw), content_type="application/octet-stream")
        response["Content-Disposition"] = f'attachment; filename="dead-letter-{letter.pk}.bin"'
        return response

    @admin.display(description="last")
    def when(self, letter: DeadLetter) -> str:
        return ago(letter.last_at)

    @admin.display(description="raw content")
    def content(self, letter: DeadLetter) -> str:
        return raw_bytes(bytes(letter.raw))


def _groups() -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(GROUPS, [GROUPED])
        return [_group(*row) for row in cursor.fetchall()]


def _group(code: str, agent: str, ecosystem: str, letters: int, times: int, last_at: Any) -> dict[str, Any]:
    query = QueryDict(mutable=True)
    query["code"], query["agent"], query["ecosystem"] = code, agent or "-", ecosystem or "-"
    return {
        "code": code,
        "agent": agent or "(unnamed)",
        "ecosystem": ecosystem or "—",
        "letters": letters,
        "times": times,
        "last_at": last_at,
        "query": query.urlencode(),
        "playable": code not in replay.UNREPLAYABLE,
    }

"""Dead letters: grouped, read, replayed, resolved."""

from collections.abc import Iterable
from functools import partial
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from unfold.contrib.filters.admin import TextFilter
from unfold.decorators import action

from aggregator.admin.base import ReadOnlyAdmin, Uncounted, raw_bytes, selected_list, url_number
from aggregator.admin.dead_letter_actions import ACTIONS, action_response
from aggregator.admin.filters import AgentFilter, ChoiceFilter, EcosystemFilter, TransportFilter
from aggregator.ledger import replay
from aggregator.models import DeadLetter, TradingSignal
from aggregator.templatetags.hub import ago

MAX_GROUPED = 100_000
"""Unresolved letters that the groups count, the newest ones."""
MAX_SELECTED = 1000
"""Letters selected one by one; more are selected by a filter."""
GROUPS_SQL = """
    SELECT code, agent_source, ecosystem, count(*), sum(times), max(last_at)
    FROM (SELECT code, agent_source, ecosystem, times, last_at FROM dead_letters
        WHERE resolved_at IS NULL ORDER BY last_at DESC LIMIT %s) AS newest
    GROUP BY 1, 2, 3 ORDER BY 4 DESC LIMIT 50"""


class StateFilter(ChoiceFilter):
    title = parameter_name = "state"
    all_option = None
    offered = (("", "Unresolved"), ("resolved", "Resolved"), ("all", "All"))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        state = self.value()
        return queryset if state == "all" else queryset.filter(resolved_at__isnull=state != "resolved")


class CodeFilter(TextFilter):  # type: ignore[misc] # the package has no types
    title = parameter_name = "code"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(code=self.value()) if self.value() else queryset


class DeadLetterEcosystemFilter(EcosystemFilter):
    """With one more choice: a refused entry may not have named a valid ecosystem."""

    offered = (*EcosystemFilter.offered, ("-", "None"))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(ecosystem="") if self.value() == "-" else super().queryset(request, queryset)


@admin.register(DeadLetter)
class DeadLetterAdmin(Uncounted, ReadOnlyAdmin):
    list_display = (
        "when",
        "code",
        "detail",
        "ecosystem",
        "agent_source",
        "signal_id",
        "transport",
        "sender",
        "times",
    )
    list_display_links = ("when", "code")
    list_filter = (StateFilter, CodeFilter, AgentFilter, DeadLetterEcosystemFilter, TransportFilter)
    list_filter_submit = True
    list_per_page = 50
    search_fields = ("=signal_id", "=agent_source", "=sender")
    search_help_text = "Signal ID, agent or sender (exact)"
    ordering = ("-last_at",)
    sortable_by = ()
    list_fullwidth = True
    list_disable_select_all = True  # rows are not counted; links above the list act on all matches
    list_before_template = "admin/hub/dead_letter_groups.html"
    actions = ("replay_selected", "resolve_selected")
    actions_detail = ("replay_one", "resolve_one", "download")
    fieldsets = (
        ("Reason", {"fields": (("code", "field"), "detail")}),
        ("Origin", {"fields": (("transport", "sender"), ("stream", "entry_id"))}),
        ("Signal", {"fields": (("ecosystem", "agent_source"), "signal_id", "on_record")}),
        ("History", {"fields": (("first_at", "last_at"), ("times", "deliveries"), "resolved_at")}),
        ("Raw content", {"fields": ("content",)}),
    )

    def get_custom_urls(self) -> tuple[Any, ...]:
        return tuple(
            (name, f"aggregator_deadletter_{name}", partial(self.bulk_action, name)) for name in ACTIONS
        )

    def has_replay_permission(self, request: HttpRequest, _object_id: Any = None) -> bool:
        return bool(request.user.has_perm("aggregator.change_deadletter"))

    def get_queryset(self, request: HttpRequest) -> QuerySet[DeadLetter]:
        """Leave out the raw bytes, up to a megabyte each, until the page of one letter reads them."""
        return super().get_queryset(request).defer("raw")  # type: ignore[no-any-return]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        filters = {name for name, value in request.GET.items() if value and name != "p"}
        context = {
            "groups": [] if filters else _groups(),
            "filters": filters,
            "unreplayable": replay.UNREPLAYABLE,
            "may_act": self.has_replay_permission(request),
        }
        return super().changelist_view(request, context | (extra_context or {}))

    def bulk_action(self, name: str, request: HttpRequest, **_: Any) -> HttpResponse:
        """Replay or resolve what the request's query selects."""
        if not self.has_replay_permission(request):
            raise PermissionDenied
        return action_response(self, request, name, self._selected(request))

    def _selected(self, request: HttpRequest) -> QuerySet[DeadLetter]:
        """Return the letters that a query selects: by `ids`, else by the list's filters."""
        if "ids" in request.GET:
            given = str(request.GET["ids"]).split(",")[:MAX_SELECTED]
            return DeadLetter.objects.filter(pk__in=list(filter(None, map(url_number, given))))
        found: QuerySet[DeadLetter] = selected_list(self, request).queryset
        return found

    @admin.action(description="Replay", permissions=["replay"])
    def replay_selected(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> HttpResponse:
        return self._redirect("replay", queryset.values_list("pk", flat=True)[:MAX_SELECTED])

    @admin.action(description="Mark as resolved", permissions=["replay"])
    def resolve_selected(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> HttpResponse:
        return self._redirect("resolve", queryset.values_list("pk", flat=True)[:MAX_SELECTED])

    @action(description="Replay", permissions=["replay"], icon="replay")  # type: ignore[untyped-decorator]
    def replay_one(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._redirect("replay", [object_id])

    @action(description="Mark as resolved", permissions=["replay"], icon="check")  # type: ignore[untyped-decorator]
    def resolve_one(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._redirect("resolve", [object_id])

    def _redirect(self, name: str, ids: Iterable[object]) -> HttpResponse:
        query = urlencode({"ids": ",".join(map(str, ids))})
        return HttpResponseRedirect(f"{reverse(f'admin:aggregator_deadletter_{name}')}?{query}")

    @action(description="Download", permissions=["view"], icon="download")  # type: ignore[untyped-decorator]
    def download(self, request: HttpRequest, object_id: str) -> HttpResponse:
        letter = get_object_or_404(self.get_queryset(request), pk=object_id)
        response = HttpResponse(bytes(letter.raw), content_type="application/octet-stream")
        response["Content-Disposition"] = f'attachment; filename="dead-letter-{letter.pk}.bin"'
        return response

    @admin.display(description="last seen")
    def when(self, letter: DeadLetter) -> str:
        return ago(letter.last_at)

    @admin.display(description="on record")
    def on_record(self, letter: DeadLetter) -> str:
        """Return the signal that has the letter's identity, and who sent that one."""
        signal = TradingSignal.objects.filter(ecosystem=letter.ecosystem, signal_id=letter.signal_id).first()
        if signal is None:
            return "—"
        address = reverse("admin:aggregator_tradingsignal_change", args=[signal.pk])
        from_ = signal.sender or "an unknown sender"
        return format_html(
            '<a href="{}">a signal</a> of {} by {}', address, f"{signal.received_at:%Y-%m-%d %H:%M:%S}", from_
        )

    @admin.display(description="raw content")
    def content(self, letter: DeadLetter) -> str:
        shown = raw_bytes(bytes(letter.raw))
        if letter.sha256 is None:
            return shown
        cut = "<p>Cut: the entry had {} bytes, SHA-256 <code>{}</code>. It cannot be replayed.</p>{}"
        return format_html(cut, f"{letter.length:,}", bytes(letter.sha256).hex(), shown)


def _groups() -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(GROUPS_SQL, [MAX_GROUPED])
        return list(cursor.fetchall())

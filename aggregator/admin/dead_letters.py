"""Dead letters: grouped, read, replayed, resolved."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse, QueryDict
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST
from unfold.contrib.filters.admin import DropdownFilter, TextFilter
from unfold.decorators import action
from unfold.paginator import InfinitePaginator

from aggregator import replay
from aggregator.admin.base import ReadOnlyAdmin, confirmation, posted_number, raw_bytes
from aggregator.admin.signals import AgentFilter, EcosystemFilter, TransportFilter, plain
from aggregator.models import DeadLetter
from aggregator.templatetags.hub import ago
from aggregator.verdicts import Fate, Outage

STEP = 500
"""Letters replayed in one request: a second or so."""
GROUPED = 100_000
"""The newest unresolved letters that the groups count."""
MOST_IDS = 1000
"""Letters chosen one by one; more are chosen by a filter."""

GROUPS = """
    SELECT code, agent_source, ecosystem, count(*), sum(times), max(last_at)
    FROM (SELECT code, agent_source, ecosystem, times, last_at FROM dead_letters
        WHERE resolved_at IS NULL ORDER BY last_at DESC LIMIT %s) AS newest
    GROUP BY 1, 2, 3 ORDER BY 4 DESC LIMIT 50"""

FATES = {
    Fate.ACCEPTED: "Replayed: recorded.",
    Fate.DUPLICATE: "Replayed: was on record already.",
    Fate.CONFLICT: "Replayed: conflicts with what is on record.",
    Fate.REFUSED: "Replayed: refused again.",
    Fate.DEFERRED: "Replayed: an open transaction holds the same signal.",
    None: "Not replayed: it holds no signal.",
}


class StateFilter(DropdownFilter):  # type: ignore[misc] # the package has no types
    title = "state"
    parameter_name = "state"
    all_option = None

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return [("", "Unresolved"), ("resolved", "Resolved"), ("all", "All")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "all":
            return queryset
        return queryset.filter(resolved_at__isnull=self.value() != "resolved")


class CodeFilter(TextFilter):  # type: ignore[misc]
    title = "code"
    parameter_name = "code"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        code = plain(self.value())
        return queryset.filter(code=code) if code else queryset


@admin.register(DeadLetter)
class DeadLetterAdmin(ReadOnlyAdmin):
    list_display = ("when", "code", "detail", "ecosystem", "agent_source", "signal_id", "transport", "times")
    list_display_links = ("when", "code")
    list_filter = (StateFilter, CodeFilter, AgentFilter, EcosystemFilter, TransportFilter)
    list_filter_submit = True
    list_per_page = 50
    search_fields = ("=signal_id", "=agent_source", "=sender")
    search_help_text = "Signal id, agent or sender"
    ordering = ("-last_at",)
    sortable_by = ()
    paginator = InfinitePaginator
    show_full_result_count = False
    list_fullwidth = True
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

    def may(self, request: HttpRequest) -> bool:
        """Whether this operator may replay and resolve."""
        return bool(request.user.has_perm("aggregator.change_deadletter"))

    def has_replay_permission(self, request: HttpRequest, _object_id: Any = None) -> bool:
        return self.may(request)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        with connection.cursor() as cursor:
            cursor.execute(GROUPS, [GROUPED])
            groups = [_group(*row) for row in cursor.fetchall()]
        return super().changelist_view(request, {"groups": groups} | (extra_context or {}))

    def get_custom_urls(self) -> tuple[Any, ...]:
        return (
            ("replay", "aggregator_deadletter_replay", self.replay_page),
            ("replay/step", "aggregator_deadletter_step", require_POST(self.replay_step)),
        )

    @admin.action(description="Replay")
    def replay_selected(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> HttpResponse:
        if request.POST.get("select_across") == "1":
            return HttpResponseRedirect(_replay_url(request.GET.urlencode()))
        ids = queryset.values_list("pk", flat=True)[:MOST_IDS]
        return HttpResponseRedirect(_replay_url(f"ids={','.join(map(str, ids))}"))

    @admin.action(description="Mark as resolved")
    def resolve_selected(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> None:
        ids = list(queryset.filter(resolved_at=None).values_list("pk", flat=True))
        self.message_user(request, f"{_resolve(request, ids):,} dead letters are resolved.")

    @action(description="Replay", permissions=["replay"], icon="replay")  # type: ignore[untyped-decorator]
    def replay_one(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return HttpResponseRedirect(_replay_url(f"ids={object_id}&state=all"))

    @action(description="Mark as resolved", permissions=["replay"], icon="check")  # type: ignore[untyped-decorator]
    def resolve_one(self, request: HttpRequest, object_id: str) -> HttpResponse:
        if request.method != "POST":
            return confirmation(self, request, "Mark as resolved", "Nothing of it will be recorded.")
        _resolve(request, [int(object_id)])
        return HttpResponseRedirect(reverse("admin:aggregator_deadletter_change", args=[object_id]))

    @action(description="Download", permissions=["view"], icon="download")  # type: ignore[untyped-decorator]
    def download(self, request: HttpRequest, object_id: str) -> HttpResponse:
        letter = get_object_or_404(self.get_queryset(request), pk=object_id)
        response = HttpResponse(bytes(letter.raw), content_type="application/octet-stream")
        response["Content-Disposition"] = f'attachment; filename="dead-letter-{letter.pk}.bin"'
        return response

    def replay_page(self, request: HttpRequest, **_: Any) -> HttpResponse:
        """Show what would be replayed; a script does it step by step when the button is pressed."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        chosen = _chosen(request.GET)
        total = chosen.count()
        context = {
            **self.admin_site.each_context(request),
            "title": "Replay dead letters",
            "text": f"{total:,} dead letters go through the ledger again. What is recorded now is resolved; "
            "what is refused as before stays.",
            "button": "Replay",
            "step": f"{reverse('admin:aggregator_deadletter_step')}?{request.GET.urlencode()}",
            "total": total,
            "after": 0,
            "last": chosen.order_by("-pk").values_list("pk", flat=True).first() or 0,
            "back": reverse("admin:aggregator_deadletter_changelist"),
            "opts": self.opts,
            "allowed": self.may(request),
        }
        return render(request, "admin/hub/steps.html", context)

    def replay_step(self, request: HttpRequest, **_: Any) -> HttpResponse:
        """Replay the next letters after the one of id `after`, up to `last`; tell what became of them."""
        if not self.may(request):
            return JsonResponse({"error": "You may not replay dead letters."}, status=403)
        after, last = posted_number(request, "after"), posted_number(request, "last")
        letters = list(_chosen(request.GET).filter(pk__gt=after, pk__lte=last).order_by("pk")[:STEP])
        try:
            fates = replay.replay(letters)
        except Outage as outage:
            return JsonResponse({"error": str(outage)}, status=503)
        for fate in set(fates.values()):
            _log(request, [pk for pk, each in fates.items() if each is fate], FATES[fate])
        return JsonResponse(
            {
                "count": len(letters),
                "after": letters[-1].pk if letters else last,
                "finished": len(letters) < STEP,
                "told": replay.summary(fates),
            }
        )

    @admin.display(description="last")
    def when(self, letter: DeadLetter) -> str:
        return ago(letter.last_at)

    @admin.display(description="raw content")
    def content(self, letter: DeadLetter) -> str:
        return raw_bytes(bytes(letter.raw))


def _chosen(query: QueryDict) -> QuerySet[DeadLetter]:
    """Return the letters that an address chooses: by ids, or by the list's own filters."""
    letters = DeadLetter.objects.all()
    if query.get("state") != "all":
        letters = letters.filter(resolved_at__isnull=query.get("state") != "resolved")
    if "ids" in query:
        ids = [int(text) for text in str(query["ids"]).split(",") if text.isascii() and text.isdigit()]
        return letters.filter(pk__in=ids[:MOST_IDS])
    for name in ("code", "ecosystem", "transport"):
        if query.get(name):
            letters = letters.filter(**{name: plain(str(query[name]))})
    if agent := plain(query.get("agent")):
        letters = letters.filter(agent_source="" if agent == "-" else agent)
    return letters


def _resolve(request: HttpRequest, ids: list[int]) -> int:
    letters = DeadLetter.objects.filter(pk__in=ids, resolved_at=None)
    resolved = letters.update(resolved_at=timezone.now())
    _log(request, ids, "Marked as resolved.")
    return resolved


def _log(request: HttpRequest, ids: list[int], message: str) -> None:
    """Write who did it into the history of each letter."""
    letters = DeadLetter.objects.filter(pk__in=ids).defer("raw")
    LogEntry.objects.log_actions(int(request.user.pk or 0), letters, CHANGE, change_message=message)


def _replay_url(query: str) -> str:
    return f"{reverse('admin:aggregator_deadletter_replay')}?{query}"


def _group(code: str, agent: str, ecosystem: str, letters: int, times: int, last_at: Any) -> dict[str, Any]:
    query = QueryDict(mutable=True)
    query["code"], query["agent"] = code, agent or "-"
    if ecosystem:
        query["ecosystem"] = ecosystem
    return {
        "code": code,
        "agent": agent or "(unnamed)",
        "ecosystem": ecosystem or "—",
        "letters": letters,
        "times": times,
        "last_at": last_at,
        "query": query.urlencode(),
        "playable": code not in replay.UNPLAYABLE,
    }

"""Long work on dead letters, step by step: replaying or resolving what a filter or a list of ids chooses."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import BadRequest, PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Length
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.http import require_POST

from aggregator.admin.base import ReadOnlyAdmin, posted_number
from aggregator.ledger import replay
from aggregator.ledger.entries import Fate
from aggregator.ledger.errors import Outage, classified
from aggregator.models import DeadLetter

STEP = 500
"""Letters done in one request: a second or so."""
STEP_BYTES = 8 * 2**20
"""No more letters in one request than have so many bytes together; a body may have a megabyte."""
MOST_IDS = 1000
"""Letters chosen one by one; more are chosen by a filter."""

FATES = {
    Fate.ACCEPTED: "Replayed: recorded.",
    Fate.DUPLICATE: "Replayed: was on record already.",
    Fate.CONFLICT: "Replayed: conflicts with what is on record.",
    Fate.REFUSED: "Replayed: refused again.",
    Fate.DEFERRED: "Replayed: an open transaction holds the same signal.",
    None: "Not replayed: it holds no signal.",
}

Told = dict[str, int]
"""How many letters met which fate, in an operator's words."""


def replay_letters(user: int, ids: list[int]) -> Told:
    """Send letters through the ledger; raises Outage. Who does it is on record before it is done."""
    letters = list(DeadLetter.objects.filter(pk__in=ids).order_by("pk"))
    notes = {int(note.object_id or 0): note.pk for note in _note(user, ids, "Replay begun.")}
    fates = replay.replay(letters)
    for fate in set(fates.values()):
        met = [notes[pk] for pk, each in fates.items() if each is fate]
        LogEntry.objects.filter(pk__in=met).update(change_message=FATES[fate])
    return replay.summary(fates)


def resolve_letters(user: int, ids: list[int]) -> Told:
    """Set letters aside: nothing of them will be recorded."""
    with transaction.atomic():
        waiting = DeadLetter.objects.filter(pk__in=ids, resolved_at=None)
        found = list(waiting.select_for_update().order_by("pk").values_list("pk", flat=True))
        waiting.update(resolved_at=timezone.now())
        _note(user, found, "Marked as resolved.")
    return {"resolved": len(found)}


def in_state(letters: QuerySet[DeadLetter], state: str | None) -> QuerySet[DeadLetter]:
    """Return those that are unresolved, unless `state` is "resolved" or "all"."""
    return letters if state == "all" else letters.filter(resolved_at__isnull=state != "resolved")


def _note(user: int, ids: list[int], message: str) -> list[LogEntry]:
    """Write who did it into the history of each letter."""
    letters = DeadLetter.objects.filter(pk__in=ids).defer("raw")
    return LogEntry.objects.log_actions(user, letters, CHANGE, change_message=message)


@dataclass(frozen=True)
class Work:
    """What can be done with many letters, and how its page puts it."""

    title: str
    button: str
    text: str
    do: Callable[[int, list[int]], Told]


WORKS = {
    "replay": Work(
        "Replay dead letters",
        "Replay",
        "Dead letters that go through the ledger again: {}. What is recorded now is resolved; what is "
        "refused as before stays.",
        replay_letters,
    ),
    "resolve": Work(
        "Resolve dead letters",
        "Mark as resolved",
        "Dead letters that are set aside: {}. Nothing of them will be recorded.",
        resolve_letters,
    ),
}


class LetterWork(ReadOnlyAdmin):
    """The pages of that work: `<work>` shows what it would do, `<work>/step` does the next part of it."""

    def get_custom_urls(self) -> tuple[Any, ...]:
        views: list[Any] = []
        for name in WORKS:
            views.append((name, f"aggregator_deadletter_{name}", partial(self.work_page, name)))
            step = require_POST(partial(self.work_step, name))
            views.append((f"{name}/step", f"aggregator_deadletter_{name}_step", step))
        return tuple(views)

    def may(self, request: HttpRequest) -> bool:
        """Whether this operator may replay and resolve."""
        return bool(request.user.has_perm("aggregator.change_deadletter"))

    def to_work(self, name: str, **query: Any) -> HttpResponse:
        return HttpResponseRedirect(f"{reverse(f'admin:aggregator_deadletter_{name}')}?{urlencode(query)}")

    def work_page(self, name: str, request: HttpRequest, **_: Any) -> HttpResponse:
        """Show what would be done; a script does it step by step when the button is pressed."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        work = WORKS[name]
        chosen = self.chosen(request)
        total = chosen.count()
        context = {
            **self.admin_site.each_context(request),
            "title": work.title,
            "text": work.text.format(f"{total:,}"),
            "button": work.button,
            "step": f"{reverse(f'admin:aggregator_deadletter_{name}_step')}?{request.GET.urlencode()}",
            "total": total,
            "after": 0,
            "last": chosen.order_by("-pk").values_list("pk", flat=True).first() or 0,
            "back": reverse("admin:aggregator_deadletter_changelist"),
            "opts": self.opts,
            "allowed": self.may(request),
        }
        return render(request, "admin/hub/steps.html", context)

    def work_step(self, name: str, request: HttpRequest, **_: Any) -> HttpResponse:
        """Do the next letters after the one of id `after`, up to `last`; tell what became of them."""
        if not self.may(request):
            return JsonResponse({"error": "You may not do this to dead letters."}, status=403)
        after, last = posted_number(request, "after"), posted_number(request, "last")
        try:
            with classified():
                ids, finished = self._next(request, after, last)
                told = WORKS[name].do(int(request.user.pk or 0), ids)
        except Outage as outage:
            return JsonResponse({"error": str(outage)}, status=503)
        return JsonResponse(
            {"count": len(ids), "after": ids[-1] if ids else last, "finished": finished, "told": told}
        )

    def _next(self, request: HttpRequest, after: int, last: int) -> tuple[list[int], bool]:
        """Return the ids of the letters of one step, and whether they are the last ones."""
        chosen = self.chosen(request).filter(pk__gt=after, pk__lte=last).order_by("pk")
        ids, size = list[int](), 0
        for pk, length in chosen.values_list("pk", Length("raw"))[:STEP]:
            size += length
            if ids and size > STEP_BYTES:
                return ids, False
            ids.append(pk)
        return ids, len(ids) < STEP

    def chosen(self, request: HttpRequest) -> QuerySet[DeadLetter]:
        """Return the letters that an address chooses: by `ids`, or by what filters the list."""
        if "ids" in request.GET:
            given = str(request.GET["ids"]).split(",")
            ids = [int(text) for text in given if text.isascii() and text.isdigit() and len(text) < 19]
            return in_state(DeadLetter.objects.filter(pk__in=ids[:MOST_IDS]), request.GET.get("state"))
        try:
            found: QuerySet[DeadLetter] = self.get_changelist_instance(request).get_queryset(request)
        except IncorrectLookupParameters:
            raise BadRequest("The address names a filter that there is not.") from None
        return found

"""Replaying and resolving dead letters, however many a filter or a list of ids selects.

The browser asks for one step after the other, so that no request lasts long.
"""

import re
from collections.abc import Callable
from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import BadRequest
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Length
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from unfold.admin import ModelAdmin

from aggregator.admin.base import admin_page
from aggregator.ledger import replay
from aggregator.ledger.entries import Fate
from aggregator.ledger.errors import Outage, classified
from aggregator.models import DeadLetter

MAX_STEP_LETTERS = 500
"""Letters handled in one request: about a second."""
MAX_STEP_BYTES = 8 * 2**20
"""Their bytes in one request, since a body may be a megabyte; a single letter may be larger."""

HISTORY_MESSAGES: dict[Fate | replay.Skipped, str] = {
    Fate.ACCEPTED: "Replayed: recorded.",
    Fate.DUPLICATE: "Replayed: already recorded.",
    Fate.CONFLICT: "Replayed: conflicts with a recorded signal.",
    Fate.REFUSED: "Replayed: refused again.",
    Fate.DEFERRED: "Replayed: deferred, an open transaction holds the same signal.",
    **{reason: f"Not replayed: {reason}." for reason in replay.Skipped},
}


Apply = Callable[[list[int], int], dict[str, int]]
"""Acts on the letters of some ids for a user; returns how many had which result. Raises Outage."""


def action_response(
    admin: ModelAdmin, request: HttpRequest, name: str, selected: QuerySet[DeadLetter]
) -> HttpResponse:
    """Answer a GET with an action's page, and a POST of its script with what the next step did."""
    if request.method == "POST":
        try:
            return JsonResponse(_step(ACTIONS[name], request, selected))
        except Outage as outage:
            return JsonResponse({"error": str(outage)}, status=503)
    last = selected.order_by("-pk").values_list("pk", flat=True).first() or 0
    page, title = "admin/hub/bulk_action.html", f"{name.capitalize()} dead letters"
    return admin_page(admin, request, page, title, action=name, total=selected.count(), cursor=f"0-{last}")


def _step(apply: Apply, request: HttpRequest, selected: QuerySet[DeadLetter]) -> dict[str, Any]:
    """Handle the next letters; return how many, their results, and the next cursor: None after the last.

    A cursor is `<last one handled>-<last of all>`; a step that was interrupted may be done again. Raises
    BadRequest for a cursor that no step has returned, and Outage.
    """
    cursor = request.POST.get("cursor", "")
    if not re.fullmatch(r"[0-9]{1,18}-[0-9]{1,18}", cursor):
        raise BadRequest("not a cursor")
    done, last = map(int, cursor.split("-"))
    with classified():
        ids, finished = _next(selected.filter(pk__gt=done, pk__lte=last).order_by("pk"))
        results = apply(ids, int(request.user.pk or 0))
    return {"count": len(ids), "results": results, "cursor": None if finished else f"{ids[-1]}-{last}"}


def _next(letters: QuerySet[DeadLetter]) -> tuple[list[int], bool]:
    """Return the ids of one step's letters, and whether they are the last ones."""
    ids, size = list[int](), 0
    for pk, length in letters.values_list("pk", Length("raw"))[:MAX_STEP_LETTERS]:
        size += length
        if ids and size > MAX_STEP_BYTES:
            return ids, False
        ids.append(pk)
    return ids, len(ids) < MAX_STEP_LETTERS


def _log(ids: list[int], user_id: int, message: str) -> list[LogEntry]:
    letters = DeadLetter.objects.filter(pk__in=ids).defer("raw")
    return LogEntry.objects.log_actions(user_id, letters, CHANGE, change_message=message)


def _replay(ids: list[int], user_id: int) -> dict[str, int]:
    """Record the letters' entries. The history says who did it before it is done."""
    letters = list(DeadLetter.objects.filter(pk__in=ids).order_by("pk"))
    entries = {int(entry.object_id or 0): entry.pk for entry in _log(ids, user_id, "Replay started.")}
    fates = replay.replay(letters)
    for fate in set(fates.values()):
        changed = [entries[pk] for pk, each in fates.items() if each is fate]
        LogEntry.objects.filter(pk__in=changed).update(change_message=HISTORY_MESSAGES[fate])
    return replay.replay_counts(fates)


def _resolve(ids: list[int], user_id: int) -> dict[str, int]:
    with transaction.atomic():
        unresolved = DeadLetter.objects.filter(pk__in=ids, resolved_at=None)
        found = list(unresolved.select_for_update().order_by("pk").values_list("pk", flat=True))
        unresolved.update(resolved_at=timezone.now())
        _log(found, user_id, "Marked as resolved.")
    return {"resolved": len(found)}


ACTIONS: dict[str, Apply] = {"replay": _replay, "resolve": _resolve}

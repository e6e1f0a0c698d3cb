"""Bulk actions: work on many rows that the browser asks for step by step, so that no request lasts long."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass

from django.core.exceptions import BadRequest, PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from unfold.admin import ModelAdmin

from aggregator.ledger.errors import Outage


@dataclass(frozen=True)
class Preview:
    """What the page of a bulk action shows before its first step."""

    question: str
    total: int | None
    """How many rows it is about; None if that is not known."""
    cursor: str
    """Where the first step begins."""


@dataclass(frozen=True)
class StepResult:
    """What one step did."""

    count: int
    results: dict[str, int]
    """How many rows had which result, by its name on the page."""
    cursor: str | None
    """Where the next step begins; None after the last one."""


class BulkAction(ABC):
    """One kind of work on many rows. A step that was interrupted may be done again."""

    title: str
    button: str

    @abstractmethod
    def preview(self) -> Preview: ...

    @abstractmethod
    def step(self, cursor: str) -> StepResult:
        """Handle the next rows. Raises ValueError for a cursor that it has not returned, and Outage."""


def bulk_action_response(
    admin: ModelAdmin, request: HttpRequest, action: BulkAction, *, allowed: bool
) -> HttpResponse:
    """Answer a GET with the page of a bulk action, and a POST of its script with what the next step did."""
    if not allowed:
        raise PermissionDenied
    if request.method != "POST":
        context = {**admin.admin_site.each_context(request), "title": action.title, "opts": admin.opts}
        context |= {"button": action.button, "preview": action.preview()}
        return render(request, "admin/hub/bulk_action.html", context)
    try:
        return JsonResponse(asdict(action.step(request.POST.get("cursor", ""))))
    except ValueError as error:
        raise BadRequest(str(error)) from None
    except Outage as outage:
        return JsonResponse({"error": str(outage)}, status=503)

"""Endpoints of customers, and what was sent there."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import TabularInline
from unfold.decorators import display

from aggregator.admin.base import ReadOnlyAdmin, Uncounted
from commerce.admin.state_labels import STATE_LABELS
from commerce.models import Attempt, Endpoint, Message


@admin.register(Endpoint)
class EndpointAdmin(ReadOnlyAdmin):
    list_display = ("public_id", "customer", "channel", "label", "shown_state", "failing_since", "reason")
    list_filter = ("state", "channel")
    list_select_related = ("customer",)
    search_fields = ("public_id", "customer__email", "label")
    exclude = ("encrypted_address", "lease", "leased_until", "notify", "generation")
    ordering = ("-created_at",)

    @display(description="State", ordering="state", label=STATE_LABELS)  # type: ignore[untyped-decorator]
    def shown_state(self, endpoint: Endpoint) -> Any:
        return endpoint.state, endpoint.get_state_display()


class AttemptInline(TabularInline):  # type: ignore[misc]
    model = Attempt
    extra = 0
    fields = readonly_fields = ("number", "at", "status", "error", "excerpt", "duration_ms")
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False


@admin.register(Message)
class MessageAdmin(Uncounted, ReadOnlyAdmin):
    list_display = ("message_id", "endpoint", "shown_state", "attempt_count", "created_at", "next_attempt")
    list_filter = ("state",)
    list_select_related = ("endpoint",)
    search_fields = ("=message_id", "=endpoint__public_id")
    ordering = ("-id",)
    exclude = ("due_at",)
    readonly_fields = ("next_attempt",)
    inlines = (AttemptInline,)

    @display(description="State", ordering="state", label=STATE_LABELS)  # type: ignore[untyped-decorator]
    def shown_state(self, message: Message) -> Any:
        return message.state, message.get_state_display()

    @display(description="Next attempt")  # type: ignore[untyped-decorator]
    def next_attempt(self, message: Message) -> datetime | None:
        # Of one that is settled, `due_at` is when its last claim would have run out.
        return message.due_at if message.state == Message.State.WAITING else None

"""Endpoints of customers, and the messages that were sent there."""

from django.contrib import admin

from aggregator.admin.base import ReadOnlyAdmin, Uncounted
from commerce.admin.lists import ReadOnlyInline, StateColumn
from commerce.models import Attempt, Endpoint, Message


@admin.register(Endpoint)
class EndpointAdmin(StateColumn, ReadOnlyAdmin):
    list_display = ("public_id", "customer", "channel", "label", "state_label", "failing_since", "reason")
    list_filter = ("state", "channel")
    list_select_related = ("customer",)
    search_fields = ("public_id", "customer__email", "label")
    exclude = ("encrypted_address", "notify_at", "generation")
    ordering = ("-created_at",)


class AttemptInline(ReadOnlyInline):
    model = Attempt
    fields = readonly_fields = ("number", "at", "status", "error", "excerpt", "duration_ms")


@admin.register(Message)
class MessageAdmin(StateColumn, Uncounted, ReadOnlyAdmin):
    list_display = ("message_id", "endpoint", "state_label", "attempt_count", "created_at", "next_attempt_at")
    list_filter = ("state",)
    list_select_related = ("endpoint",)
    search_fields = ("=message_id", "=endpoint__public_id")
    ordering = ("-id",)
    exclude = ("due_at",)
    readonly_fields = ("next_attempt_at",)
    inlines = (AttemptInline,)

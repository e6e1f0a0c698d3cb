"""Base classes and helpers of the admin's pages."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec
from django import forms
from django.contrib.admin.models import LogEntry
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.widgets import AutocompleteSelect
from django.core.exceptions import BadRequest, ValidationError
from django.core.paginator import Paginator
from django.db.models import DateTimeField, ForeignKey, QuerySet
from django.forms.utils import to_current_timezone
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.html import format_html
from unfold.admin import ModelAdmin
from unfold.paginator import InfinitePaginator


class ReadOnlyAdmin(ModelAdmin):  # type: ignore[misc] # the package has no types
    """Rows that the hub writes and an operator may only read."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class Uncounted(ModelAdmin):  # type: ignore[misc]
    """A list of so many rows that counting them would take longer than showing a page."""

    paginator = InfinitePaginator
    show_full_result_count = False

    def get_paginator(self, request: HttpRequest, queryset: QuerySet[Any], *args: Any, **kwargs: Any) -> Any:
        """Count the history of one row, which is short."""
        if queryset.model is LogEntry:
            return Paginator(queryset, *args, **kwargs)
        return super().get_paginator(request, queryset, *args, **kwargs)


class IdAutocomplete(AutocompleteSelect):
    """Django's own asks the database for whatever was sent, and fails where that is no id."""

    def optgroups(self, name: str, value: Sequence[str], attr: Any = None) -> Any:
        return super().optgroups(name, [each for each in value if url_number(each) is not None], attr)


class AddedByHand(ModelAdmin):  # type: ignore[misc]
    """Rows that an operator adds by a form, to which a URL or a request may send anything."""

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Return the values that a URL sets, without what is no time: its widget would fail."""
        initial: dict[str, Any] = super().get_changeform_initial_data(request)
        for field in self.opts.fields:
            if isinstance(field, DateTimeField) and field.name in initial:
                text = initial.pop(field.name)
                with suppress(ValidationError, OverflowError):
                    initial[field.name] = to_current_timezone(field.to_python(text))
        return initial

    def formfield_for_foreignkey(self, db_field: ForeignKey[Any], request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name in self.autocomplete_fields:
            kwargs["widget"] = IdAutocomplete(db_field, self.admin_site)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)


def selected_list(admin: ModelAdmin, request: HttpRequest) -> Any:
    """Return the change list that a request's query selects. Raises BadRequest for an unknown filter."""
    try:
        return admin.get_changelist_instance(request)
    except IncorrectLookupParameters:
        raise BadRequest("unknown filter") from None


def url_number(text: str | None) -> int | None:
    """Return a position or an id that a URL names; None for anything else."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else None


def raw_json(written: str) -> str:
    """Return an element with indented JSON, which scrolls by itself and keeps numbers as they are written."""
    text = msgspec.json.format(written, indent=2)
    return format_html('<pre class="hub-raw" tabindex="0" role="region" aria-label="JSON">{}</pre>', text)


MAX_SHOWN_BYTES = 65_536


def raw_bytes(raw: bytes) -> str:
    """Return an element with untrusted bytes as text; invisible and misleading characters are escaped."""
    text = raw[:MAX_SHOWN_BYTES].decode("utf-8", "backslashreplace")
    seen = "".join(
        character if character == "\n" or character.isprintable() else f"\\u{ord(character):04x}"
        for character in text
    )
    more = f" Showing the first {MAX_SHOWN_BYTES:,}." if len(raw) > MAX_SHOWN_BYTES else ""
    element = (
        '<p>{} bytes.{}</p><pre class="hub-raw" tabindex="0" role="region" aria-label="Raw content">{}</pre>'
    )
    return format_html(element, f"{len(raw):,}", more, seen)


def admin_page(
    admin: ModelAdmin, request: HttpRequest, template: str, title: str, **context: Any
) -> HttpResponse:
    """Return a page of a model's admin that Django itself does not have."""
    shared = {**admin.admin_site.each_context(request), "opts": admin.opts, "title": title}
    return render(request, template, shared | context)


def confirmation_page(
    admin: ModelAdmin, request: HttpRequest, title: str, text: str, form: forms.Form | None = None
) -> HttpResponse:
    """Return a page whose button sends a POST to the same address."""
    return admin_page(admin, request, "admin/hub/confirm.html", title, text=text, form=form)

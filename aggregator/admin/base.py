"""What the operator's pages share."""

from typing import Any

import msgspec
from django.http import HttpRequest
from django.utils.html import format_html
from unfold.admin import ModelAdmin


class ReadOnlyAdmin(ModelAdmin):  # type: ignore[misc] # the package has no types
    """Rows that the hub writes and an operator only reads."""

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False


def raw_json(value: Any) -> str:
    """Return JSON to be read, as an element that scrolls by itself."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    return format_html('<pre class="hub-raw" tabindex="0" aria-label="JSON">{}</pre>', text)

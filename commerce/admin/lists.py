"""What several lists share: the colours of states, and rows that are only shown."""

from typing import Any

from django.http import HttpRequest
from unfold.admin import TabularInline
from unfold.decorators import display

STATE_LABELS = {
    "active": "success",
    "trialing": "info",
    "past_due": "warning",
    "delivered": "success",
    "waiting": "warning",
    "failed": "danger",
    "disabled": "danger",
}


class StateColumn:
    """The column `state_label` of models with a state."""

    @display(description="State", ordering="state", label=STATE_LABELS)  # type: ignore[untyped-decorator]
    def state_label(self, row: Any) -> tuple[str, str]:
        return row.state, row.get_state_display()


class ReadOnlyInline(TabularInline):  # type: ignore[misc] # the package has no types
    """Rows on the page of another one, where they can be neither added nor deleted."""

    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False

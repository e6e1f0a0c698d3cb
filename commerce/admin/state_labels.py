"""Colours of states in lists."""

STATE_LABELS = {
    "active": "success",
    "trialing": "info",
    "past_due": "warning",
    "delivered": "success",
    "waiting": "warning",
    "failed": "danger",
    "disabled": "danger",
}

"""What the admin's index page shows."""

from typing import Any

from django.http import HttpRequest


def context(_request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    return context

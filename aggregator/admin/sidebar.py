"""The admin's sidebar, the pages used most often first."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse

APP_ORDER = ("aggregator", "commerce", "auth", "axes")
FIRST_MODELS = ("TradingSignal", "Agent", "DeadLetter", "SymbolAlias", "ApiKey", "Source")
"""Models listed before the others of their app, which are sorted by name."""


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the pages that this operator may see, grouped by app."""
    groups: list[dict[str, Any]] = [{"items": [{"title": "Dashboard", "link": reverse("admin:index")}]}]
    for app in sorted(admin.site.get_app_list(request), key=lambda app: _rank(APP_ORDER, app["app_label"])):
        models = sorted(app["models"], key=lambda model: _rank(FIRST_MODELS, model["object_name"]))
        items = [{"title": each["name"], "link": each["admin_url"]} for each in models if each["admin_url"]]
        groups.append({"title": app["name"], "items": items})
    return groups


def _rank(order: tuple[str, ...], name: str) -> int:
    return order.index(name) if name in order else len(order)

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
    apps = sorted(admin.site.get_app_list(request), key=lambda app: _rank(APP_ORDER, app["app_label"]))
    groups = [
        {"title": app["name"], "items": [_item(model["name"], model["admin_url"]) for model in _models(app)]}
        for app in apps
    ]
    return [{"items": [_item("Dashboard", reverse("admin:index"))]}, *groups]


def _models(app: dict[str, Any]) -> list[dict[str, Any]]:
    visible = [model for model in app["models"] if model["admin_url"]]
    return sorted(visible, key=lambda model: _rank(FIRST_MODELS, model["object_name"]))


def _rank(order: tuple[str, ...], name: str) -> int:
    return order.index(name) if name in order else len(order)


def _item(title: Any, link: str) -> dict[str, Any]:
    return {"title": title, "link": link}

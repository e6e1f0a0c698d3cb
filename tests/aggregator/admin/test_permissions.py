"""Permissions on the operator's pages: nothing without one, nothing by a GET or without a CSRF token."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from aggregator.models import ApiKey, DeadLetter, SymbolAlias, TradingSignal

BASE = "/admin/aggregator"


@pytest.fixture
def paths(record, page):
    """Return the addresses of pages to view, and those of actions with their forms."""
    record({"signal_id": "odd", "symbol": "tBTCUSD"}, {"signal_id": "bad", "action": "HODL"})
    page.post(f"{BASE}/apikey/add/", {"name": "n", "key_id": "k", "scopes": ["publish"]})
    signal, letter = TradingSignal.objects.get(), DeadLetter.objects.get()
    alias, key = SymbolAlias.objects.get(), ApiKey.objects.get()
    viewed = [
        f"{BASE}/tradingsignal/", f"{BASE}/tradingsignal/{signal.pk}/change/",
        f"{BASE}/tradingsignal/export.csv", f"{BASE}/tradingsignal/export.jsonl",
        f"{BASE}/deadletter/", f"{BASE}/deadletter/{letter.pk}/change/",
        f"{BASE}/deadletter/{letter.pk}/download/", f"{BASE}/symbolalias/",
        f"{BASE}/symbolalias/{alias.pk}/change/", f"{BASE}/apikey/", f"{BASE}/apikey/{key.pk}/change/",
    ]  # fmt: skip
    actions = {
        f"{BASE}/deadletter/replay": {"cursor": f"0-{letter.pk}"},
        f"{BASE}/deadletter/resolve": {"cursor": f"0-{letter.pk}"},
        f"{BASE}/deadletter/{letter.pk}/replay_one/": {},
        f"{BASE}/deadletter/{letter.pk}/resolve_one/": {},
        f"{BASE}/symbolalias/{alias.pk}/map": {"map": "BTC/USD"},
        f"{BASE}/symbolalias/{alias.pk}/update_signals/": {"cursor": "0:0"},
        f"{BASE}/symbolalias/{alias.pk}/change/": {"instrument": "BTC/USD"},
        f"{BASE}/symbolalias/add/": {"ecosystem": "crypto", "symbol": "X", "instrument": "BTC/USD"},
        f"{BASE}/apikey/{key.pk}/rotate/": {"overlap": 0, "seen": ""},
        f"{BASE}/apikey/{key.pk}/revoke/": {},
        f"{BASE}/apikey/{key.pk}/change/": {"name": "x", "scopes": ["read"]},
        f"{BASE}/apikey/add/": {"name": "x", "scopes": ["publish"]},
    }
    return viewed, actions


def state():
    """Return all that the actions could change."""
    return [
        list(model.objects.order_by("pk").values())
        for model in (TradingSignal, DeadLetter, SymbolAlias, ApiKey)
    ]


def viewer(**options):
    user = User.objects.create_user("vic", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client = Client(headers={"host": "localhost"}, **options)
    client.force_login(user)
    return client


def test_a_viewer_sees_everything_and_changes_nothing(paths):
    viewed, actions = paths
    before, client = state(), viewer()
    assert {path: client.get(path).status_code for path in viewed} == dict.fromkeys(viewed, 200)
    assert {path: client.post(path, form).status_code for path, form in actions.items()} == dict.fromkeys(
        actions, 403
    )
    for action in ("replay_selected", "resolve_selected"):
        client.post(f"{BASE}/deadletter/", {"action": action, "_selected_action": [1], "select_across": 1})
    assert state() == before


def test_without_permissions_nothing_is_shown_or_done(paths, stranger):
    viewed, actions = paths
    before = state()
    assert {path: stranger.get(path).status_code for path in viewed} == dict.fromkeys(viewed, 403)
    assert {path: stranger.post(path, form).status_code for path, form in actions.items()} == dict.fromkeys(
        actions, 403
    )
    assert state() == before


def test_without_sign_in_every_page_redirects_to_it(paths):
    viewed, actions = paths
    before, client = state(), Client(headers={"host": "localhost"})
    answers = [client.get(path) for path in viewed] + [
        client.post(path, form) for path, form in actions.items()
    ]
    assert {answer.headers.get("Location", "").partition("?")[0] for answer in answers} == {"/admin/login/"}
    assert state() == before


def test_a_get_changes_nothing(paths, page):
    viewed, actions = paths
    before = state()
    for path in [*viewed, *actions]:
        assert page.get(path).status_code in {200, 302, 405}, path
    assert state() == before


def test_a_post_needs_its_csrf_token(paths, operator):
    _, actions = paths
    before = state()
    client = Client(headers={"host": "localhost"}, enforce_csrf_checks=True)
    client.force_login(operator)
    assert {path: client.post(path, form).status_code for path, form in actions.items()} == dict.fromkeys(
        actions, 403
    )
    assert state() == before

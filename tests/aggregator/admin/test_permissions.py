"""Who may do what on the operator's pages: no more than was given, nothing by a GET or without a token."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from aggregator.models import ApiKey, DeadLetter, SymbolAlias, TradingSignal

BASE = "/admin/aggregator"


@pytest.fixture
def paths(record, page):
    """Addresses with something behind each: those that show, and those that do."""
    record({"signal_id": "odd", "symbol": "tBTCUSD"}, {"signal_id": "bad", "action": "HODL"})
    page.post(f"{BASE}/apikey/add/", {"name": "n", "key_id": "k", "scopes": ["publish"]})
    signal, letter = TradingSignal.objects.get(), DeadLetter.objects.get()
    alias, key = SymbolAlias.objects.get(), ApiKey.objects.get()
    shown = [
        f"{BASE}/tradingsignal/", f"{BASE}/tradingsignal/{signal.pk}/change/",
        f"{BASE}/tradingsignal/export.csv", f"{BASE}/tradingsignal/export.jsonl",
        f"{BASE}/deadletter/", f"{BASE}/deadletter/{letter.pk}/change/",
        f"{BASE}/deadletter/{letter.pk}/download/", f"{BASE}/symbolalias/",
        f"{BASE}/symbolalias/{alias.pk}/change/", f"{BASE}/apikey/", f"{BASE}/apikey/{key.pk}/change/",
    ]  # fmt: skip
    done = {
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
    return shown, done


def state():
    """All that the actions could change."""
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


def test_who_may_only_look_sees_all_and_changes_nothing(paths):
    shown, done = paths
    before, client = state(), viewer()
    assert {path: client.get(path).status_code for path in shown} == dict.fromkeys(shown, 200)
    assert {path: client.post(path, form).status_code for path, form in done.items()} == dict.fromkeys(
        done, 403
    )
    for action in ("replay_selected", "resolve_selected"):
        client.post(f"{BASE}/deadletter/", {"action": action, "_selected_action": [1], "select_across": 1})
    assert state() == before


def test_without_rights_nothing_is_shown_or_done(paths, stranger):
    shown, done = paths
    before = state()
    assert {path: stranger.get(path).status_code for path in shown} == dict.fromkeys(shown, 403)
    assert {path: stranger.post(path, form).status_code for path, form in done.items()} == dict.fromkeys(
        done, 403
    )
    assert state() == before


def test_who_is_not_signed_in_is_asked_to(paths):
    shown, done = paths
    before, client = state(), Client(headers={"host": "localhost"})
    answers = [client.get(path) for path in shown] + [client.post(path, form) for path, form in done.items()]
    assert {answer.headers.get("Location", "").partition("?")[0] for answer in answers} == {"/admin/login/"}
    assert state() == before


def test_a_get_changes_nothing(paths, page):
    shown, done = paths
    before = state()
    for path in [*shown, *done]:
        assert page.get(path).status_code in {200, 302, 405}, path
    assert state() == before


def test_a_post_needs_its_token(paths, operator):
    _, done = paths
    before = state()
    client = Client(headers={"host": "localhost"}, enforce_csrf_checks=True)
    client.force_login(operator)
    assert {path: client.post(path, form).status_code for path, form in done.items()} == dict.fromkeys(
        done, 403
    )
    assert state() == before

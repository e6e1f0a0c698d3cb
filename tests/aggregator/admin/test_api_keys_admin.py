"""Keys in the admin, and the clients on the page of a new key, run unchanged against a real server."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
import sys
from datetime import timedelta

import pytest
from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from aggregator.http import api_keys
from aggregator.models import ApiKey, TradingSignal

LIST = "/admin/aggregator/apikey/"


def create(client, **fields):
    given = {"name": "Desk one", "key_id": "", "scopes": ["publish"]}
    response = client.post(LIST + "add/", given | fields)
    assert response.status_code == 200
    return response, ApiKey.objects.latest("pk")


def shown(response):
    """Return the texts to copy on a page, by their names."""
    found = re.findall(
        r'<pre tabindex="0" role="region" aria-label="([^"]+)"><code>(.*?)</code>',
        response.content.decode(),
        re.DOTALL,
    )
    return {name: html.unescape(text) for name, text in found}


def owner(value):
    return api_keys.auth_manager(settings.ENVIRONMENT).identify(value)


def test_a_new_keys_value_is_shown_once(page):
    response, key = create(page)
    seen = shown(response)
    assert owner(seen["API key"]).name == f"key:{key.key_id}"
    assert key.key_id.startswith("desk-one-")
    assert seen["Signing secret"].startswith("whsec_")
    assert "no-store" in response["Cache-Control"]
    for path in (LIST, f"{LIST}{key.pk}/change/", f"{LIST}{key.pk}/history/"):
        later = page.get(path).content.decode()
        assert seen["API key"] not in later
        assert seen["Signing secret"] not in later


def test_a_key_is_restricted(page):
    response, key = create(page, scopes=["publish", "read"], ecosystems=["stock"])
    value = shown(response)["API key"]
    assert owner(value).ecosystems == {"stock"}
    tomorrow = timezone.now() + timedelta(days=1)
    expiry = {"expires_at_0": f"{tomorrow:%Y-%m-%d}", "expires_at_1": "10:00"}
    rights = {"scopes": ["read"], "ecosystems": ["forex"], "agents": " scout\r\n\r\nbot, 2\r\nscout"}
    page.post(f"{LIST}{key.pk}/change/", {"name": "n", **rights, **expiry})
    assert (owner(value).scopes, owner(value).ecosystems) == ({"read"}, {"forex"})
    assert owner(value).agents == {"scout", "bot, 2"}
    seen = page.get(f"{LIST}{key.pk}/change/").content.decode()
    assert "scout\nbot, 2</textarea>" in seen
    refused = page.post(f"{LIST}{key.pk}/change/", {"name": "n", **rights, "agents": "a\u200bb", **expiry})
    assert "without invisible ones" in refused.content.decode()
    ApiKey.objects.filter(pk=key.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert owner(value) is None


def test_the_old_key_stays_valid_for_the_chosen_hours(page):
    response, key = create(page)
    first = shown(response)["API key"]
    address = f"{LIST}{key.pk}/rotate/"
    assert 'value="24"' in page.get(address).content.decode()
    second = shown(page.post(address, {"overlap": 24, "seen": ""}))["API key"]
    assert owner(first)
    assert owner(second)
    key.refresh_from_db()
    third = shown(page.post(address, {"overlap": 0, "seen": str(key.rotated_at)}))["API key"]
    assert owner(first) is owner(second) is None
    assert owner(third)
    messages = [entry.get_change_message() for entry in LogEntry.objects.filter(object_id=str(key.pk))]
    assert "Rotated; the old key is valid for 0 more hours." in messages


def test_a_form_submitted_twice_rotates_once(page):
    _, key = create(page)
    address = f"{LIST}{key.pk}/rotate/"
    value = shown(page.post(address, {"overlap": 0, "seen": ""}))["API key"]
    assert page.post(address, {"overlap": 0, "seen": ""}).status_code == 302
    assert owner(value)
    assert page.post(address, {"overlap": -1, "seen": ""}).status_code == 200
    assert owner(value)


def test_a_revoked_key_is_invalid_for_good(page):
    response, key = create(page)
    value = shown(response)["API key"]
    asked = page.get(f"{LIST}{key.pk}/revoke/").content.decode()
    assert "Stops working immediately. This can't be undone." in html.unescape(asked)
    assert owner(value)
    page.post(f"{LIST}{key.pk}/revoke/")
    assert owner(value) is None
    assert "Suffix" not in page.get(f"{LIST}{key.pk}/change/").content.decode()
    assert page.post(f"{LIST}{key.pk}/rotate/", {"overlap": 0}).status_code == 404
    assert page.post(f"{LIST}{key.pk}/delete/", {"post": "yes"}).status_code == 403


def test_ids_need_no_quoting(page):
    for bad in ("a b", "$(reboot)", 'x"', "x" * 65):
        response = page.post(LIST + "add/", {"name": "n", "key_id": bad, "scopes": ["publish"]})
        assert "at most 64" in html.unescape(response.content.decode())
    assert not ApiKey.objects.exists()


def test_strangers_touch_no_keys(stranger, page):
    _, key = create(page)
    for path in ("rotate", "revoke"):
        assert stranger.post(f"{LIST}{key.pk}/{path}/", {"overlap": 0}).status_code == 403
    assert stranger.get(LIST + "add/").status_code == 403
    key.refresh_from_db()
    assert (key.revoked_at, key.rotated_at) == (None, None)


@pytest.fixture
def snippets(operator, shared_hub):
    """Return the clients of a new key from the page of a running server."""
    url = shared_hub()
    host = url.removeprefix("http://")
    client = Client(headers={"host": host})
    client.force_login(operator)
    response, _ = create(client, key_id="desk-1", ecosystems=["forex"])
    return shown(response)


def run(command, text):
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not shutil.which("curl") or not shutil.which("openssl"), reason="needs curl and openssl")
def test_the_curl_client_works(snippets):
    assert '"accepted":1' in run(["sh"], snippets["curl"])
    assert TradingSignal.objects.get().agent_source == "desk-1"


def test_the_python_client_works(snippets):
    assert run([sys.executable, "-"], snippets["Python"]).startswith("202 ")
    assert TradingSignal.objects.get().instrument == "EUR/USD"


@pytest.mark.skipif(not shutil.which("node"), reason="needs Node.js")
def test_the_typescript_client_works(snippets):
    assert run(["node", "--input-type=module"], snippets["TypeScript"]).startswith("202 ")


def test_a_form_submitted_twice_creates_one_key(page):
    form = page.get(LIST + "add/").content.decode()
    suffix = re.search(r'name="suffix" value="(\w+)"', form)[1]
    given = {"name": "Desk one", "scopes": ["publish"], "suffix": suffix}
    assert "API key" in shown(page.post(LIST + "add/", given))
    again = page.post(LIST + "add/", given)
    assert "was already created" in html.unescape(again.content.decode())
    assert shown(again) == {}
    assert ApiKey.objects.get().key_id == f"desk-one-{suffix}"


@pytest.mark.parametrize("suffix", ["", "x", "ABCDEF", "0" * 7])
def test_a_form_cannot_choose_how_an_id_ends(page, suffix):
    _, key = create(page, suffix=suffix)
    assert re.fullmatch("desk-one-[0-9a-f]{6}", key.key_id)

"""Who gets in: each endpoint with keys that should not."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import IntegrityError
from django.utils import timezone

from aggregator.http import api_keys
from aggregator.models import ApiKey
from commerce.models import Customer, Subscription, UsageDay
from tests.commerce.feed.reading import Reader, customer, grant, reader, record

pytestmark = pytest.mark.django_db(transaction=True)

PATHS = ["signals", "signals/crypto/secret", "instruments", "agents", "usage", "me", "stream"]
FREE = {"usage", "me", "stream"}
"""What asks no live subscription: two describe it, and the last is not served here."""


@pytest.fixture(autouse=True)
def secret():
    record("secret", agent_source="secret-agent", symbol="SECRETUSDT")


def manager():
    return api_keys.auth_manager(settings.ENVIRONMENT)


def assert_nothing_leaks(response, status):
    assert response.status_code == status
    assert response["Content-Type"] == "application/problem+json"
    assert "secret" not in response.content.decode().lower()
    assert "RateLimit" not in response
    assert "ETag" not in response


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("header", [{}, {"Authorization": "Basic eDp5"}, {"X-API-Key": ""}])
def test_no_key(client, path, header):
    response = client.get(f"/api/v1/{path}", headers=header)
    assert_nothing_leaks(response, 401)
    assert response["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("path", PATHS)
def test_unknown_expired_and_revoked_keys_get_the_same_answer(path):
    expired, revoked = grant(), grant()
    ApiKey.objects.filter(pk=expired.key.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    manager().revoke(revoked.key)
    details = set()
    for value in ("shk_nobody", "ключ", expired.value, revoked.value):
        response = Reader("x")._client.get(f"/api/v1/{path}", headers={"X-API-Key": value})
        assert_nothing_leaks(response, 401)
        details.add(response.json()["detail"])
    assert len(details) == 1


@pytest.mark.parametrize("path", PATHS)
def test_keys_that_may_not_read(path):
    scopeless, agents = grant(), grant()
    ApiKey.objects.filter(pk=scopeless.key.pk).update(scopes=[])
    ApiKey.objects.filter(pk=agents.key.pk).update(scopes=["publish"])
    scraper = manager().issue(ApiKey(key_id="prometheus", scopes=["metrics"]))
    for value in (scopeless.value, agents.value, scraper.value):
        assert_nothing_leaks(Reader(value).get(path), 403)


def test_an_operators_key_with_the_scope_to_read_reads_all_without_limits():
    ops = Reader(manager().issue(ApiKey(key_id="ops", scopes=["read"])).value)
    record("eur", ecosystem="forex", symbol="EURUSD")
    assert ops.ids() == ["secret", "eur"]
    assert ops.get("signals/crypto/secret").json()["raw_payload"] == {}
    assert [row["agent"] for row in ops.get("agents").json()["agents"]] == ["secret-agent", "bot-1"]
    me = ops.get("me").json()
    assert (me["customer"], me["key"], me["subscription"]) == (None, "ops", None)
    assert (me["rights"]["signals_per_day"], me["rights"]["webhooks"]) == (None, 0)
    assert ops.get("usage").json()["requests"] == {"used": 0, "limit": None, "remaining": None}
    assert ops.get("webhooks").json() == {"webhooks": []}
    hook = {"url": "https://example.com/hook"}
    headers = {"Authorization": f"Bearer {ops.value}"}
    refused = ops._client.post("/api/v1/webhooks", hook, content_type="application/json", headers=headers)
    assert refused.json()["code"] == "too_many_endpoints"
    crypto = Reader(manager().issue(ApiKey(key_id="c", scopes=["read"], ecosystems=["crypto"])).value)
    assert crypto.ids() == ["secret"]
    assert ApiKey.objects.get(key_id="ops").last_used_at
    assert not UsageDay.objects.exists()


def test_a_customers_key_is_never_an_operators(client):
    given = grant()
    ApiKey.objects.filter(pk=given.key.pk).update(scopes=["read", "publish", "metrics"])
    assert manager().identify(given.value).scopes == {"read"}
    assert client.get("/metrics", headers={"X-API-Key": given.value}).status_code == 403
    assert Reader(given.value).get("signals").status_code == 200


def test_the_keys_of_a_deleted_customer_open_nothing():
    someone = customer()
    given = someone.issue_key("laptop")
    someone.delete()
    for path in PATHS:
        assert_nothing_leaks(Reader(given.value).get(path), 401)
    with pytest.raises(IntegrityError):
        Customer(pk=10**6).issue_key("late")
    assert not ApiKey.objects.exists()
    other = grant()
    other.key.delete()
    assert_nothing_leaks(Reader(other.value).get("signals"), 401)


@pytest.mark.parametrize("path", sorted(set(PATHS) - FREE))
def test_a_customer_without_a_live_subscription(path):
    given = grant()
    Subscription.objects.update(state="expired")
    response = Reader(given.value).get(path)
    assert_nothing_leaks(response, 403)
    assert response.json()["code"] == "subscription_required"


def test_one_customer_sees_nothing_of_anothers_use():
    busy, other = reader(), reader()
    busy.get("signals")
    assert other.get("usage").json()["requests"]["used"] == 0
    assert other.get("usage").json()["days"] == []
    assert busy.get("me").json()["customer"] != other.get("me").json()["customer"]


def test_the_value_before_a_rotation_passes_for_as_long_as_it_should():
    given = grant()
    rotated = manager().rotate(given.key, timedelta(hours=1))
    assert Reader(given.value).get("signals").status_code == 200
    assert Reader(rotated.value).get("signals").status_code == 200
    ApiKey.objects.update(previous_until=timezone.now() - timedelta(seconds=1))
    assert Reader(given.value).get("signals").status_code == 401
    assert Reader(rotated.value).get("signals").status_code == 200


def test_a_key_has_a_last_use_and_only_its_digest_is_kept():
    given = customer().issue_key("laptop", expires_at=timezone.now() + timedelta(days=1))
    assert given.key.last_used_at is None
    Reader(given.value).get("me")
    kept = ApiKey.objects.get(pk=given.key.pk)
    assert kept.last_used_at is not None
    assert kept.name == "laptop"
    assert given.value.encode() not in bytes(kept.digest)


def test_too_many_failures_from_an_address_are_a_429(client, settings, redis_client):
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, webhook_failed_rate="3/minute")
    answers = [client.get("/api/v1/me").status_code for _ in range(4)]
    assert answers == [401, 401, 401, 429]


def test_a_page_of_another_origin_may_call_the_api_with_a_key(client):
    for path, method in (("signals", "GET"), ("me", "GET"), ("stream", "GET"), ("webhooks", "POST")):
        asked = {
            "Origin": "https://app.example",
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": "authorization",
        }
        preflight = client.options(f"/api/v1/{path}", headers=asked)
        assert preflight.status_code == 200
        assert preflight["Access-Control-Allow-Origin"] == "*"
        assert method in preflight["Access-Control-Allow-Methods"]
        assert "authorization" in preflight["Access-Control-Allow-Headers"]
    answer = client.get("/api/v1/me", headers={"Origin": "https://app.example"})
    assert (answer.status_code, answer["Access-Control-Allow-Origin"]) == (401, "*")
    assert "retry-after" in answer["Access-Control-Expose-Headers"]
    assert "Access-Control-Allow-Credentials" not in answer
    for path in ("/account/", "/admin/", "/api/signals"):
        assert "Access-Control-Allow-Origin" not in client.get(
            path, headers={"Origin": "https://app.example"}
        )

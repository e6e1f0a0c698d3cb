"""/api/v1/webhooks: a customer's own endpoints, and no one else's."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
import requests
from django.conf import settings as django_settings
from django.utils import timezone
from standardwebhooks import Webhook

from aggregator.http import api_keys
from aggregator.models import ApiKey
from commerce.feed import cursors
from commerce.models import Endpoint, Message, Subscription
from tests.commerce.webhooks.pushing import customer, dispatch, hurry, local, record
from tests.commerce.webhooks.receiver import Answering

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("receivers_here")]


class Caller:
    """A client that calls the API with a key."""

    def __init__(self, client, value: str) -> None:
        self.client = client
        self.headers = {"Authorization": f"Bearer {value}"}

    def get(self, path: str = "", **query):
        return self.client.get(f"/api/v1/webhooks{path}", query, headers=self.headers)

    def post(self, path: str = "", **body):
        return self.client.post(
            f"/api/v1/webhooks{path}", json.dumps(body), "application/json", headers=self.headers
        )

    def delete(self, path: str):
        return self.client.delete(f"/api/v1/webhooks{path}", headers=self.headers)

    def made(self, url: str, **body) -> dict:
        response = self.post(url=url, **body)
        assert response.status_code == 201, response.content
        return response.json()


@pytest.fixture
def owner():
    return customer()


@pytest.fixture
def caller(client, owner):
    return Caller(client, owner.issue_key("laptop").value)


@pytest.fixture
def stranger(client):
    return Caller(client, customer().issue_key("theirs").value)


def test_made_it_is_listed_without_its_secret(caller, inbox):
    made = caller.made(inbox.url(), description="mine")
    assert made["secret"].startswith("whsec_")
    assert made["state"] == "active"
    [listed] = caller.get().json()["webhooks"]
    assert listed == {name: value for name, value in made.items() if name != "secret"}
    assert caller.get(f"/{made['id']}").json() == listed
    assert listed["url"] == inbox.url()


def test_signals_go_there_from_the_cursor_that_was_given(caller, inbox):
    record("a", "b")
    made = caller.made(inbox.url(), after=cursors.encode(0))
    dispatch()
    for request in inbox.received:
        Webhook(made["secret"]).verify(request.body, request.headers)
    page = caller.get(f"/{made['id']}/messages", limit=1).json()
    [message] = page["messages"]
    assert message["state"] == "delivered"
    assert message["due_at"] is None
    [attempt] = message["attempts"]
    assert (attempt["number"], attempt["status"], attempt["excerpt"]) == (1, 200, "ok")
    page = caller.get(f"/{made['id']}/messages", limit=1, before=page["next"]).json()
    assert len(page["messages"]) == 1
    assert page["next"] is None
    assert cursors.decode(page["messages"][0]["cursor"]) < cursors.decode(message["cursor"])


def test_messages_are_listed_by_state(caller, inbox):
    made = caller.made(inbox.url())
    inbox.answer = lambda _: Answering(500, body=b"not today")
    record("a")
    dispatch()
    [waiting] = caller.get(f"/{made['id']}/messages", state="waiting").json()["messages"]
    assert waiting["due_at"]
    assert waiting["attempts"][0]["excerpt"] == "not today"
    assert caller.get(f"/{made['id']}/messages", state="failed").json()["messages"] == []
    assert caller.get(f"/{made['id']}").json()["failing_since"]


def test_a_test_message_arrives_and_is_listed(caller, inbox):
    made = caller.made(inbox.url())
    queued = caller.post(f"/{made['id']}/test")
    assert queued.status_code == 202
    dispatch()
    [request] = inbox.received
    assert Webhook(made["secret"]).verify(request.body, request.headers)["type"] == "webhook.test"
    [listed] = caller.get(f"/{made['id']}/messages").json()["messages"]
    assert listed["message_id"] == queued.json()["message_id"] == request.headers["webhook-id"]
    assert listed["cursor"] is None


@pytest.mark.parametrize(("overlap", "signatures"), [(24, 2), (0, 1)])
def test_a_rotation_gives_another_secret(caller, inbox, overlap, signatures):
    made = caller.made(inbox.url())
    secret = caller.post(f"/{made['id']}/rotate", overlap_hours=overlap).json()["secret"]
    assert secret != made["secret"]
    record("a")
    dispatch()
    [request] = inbox.received
    assert Webhook(secret).verify(request.body, request.headers)
    assert len(request.headers["webhook-signature"].split()) == signatures


def test_paused_resumed_and_deleted(caller, inbox):
    made = caller.made(inbox.url())
    assert caller.post(f"/{made['id']}/pause").json()["state"] == "paused"
    record("a")
    assert dispatch() == 0
    assert caller.post(f"/{made['id']}/resume").json()["state"] == "active"
    assert dispatch() == 1
    assert caller.delete(f"/{made['id']}").status_code == 204
    assert caller.get(f"/{made['id']}").status_code == 404
    assert caller.get(f"/{made['id']}/messages").status_code == 404


def test_a_disabled_one_is_switched_on_by_resume(caller, inbox):
    made = caller.made(inbox.url())
    inbox.answer = lambda _: Answering(410)
    record("a", "b")
    dispatch()
    listed = caller.get(f"/{made['id']}").json()
    assert (listed["state"], listed["reason"]) == ("disabled", "It answered 410 Gone.")
    inbox.answer = lambda _: Answering(200)
    assert caller.post(f"/{made['id']}/resume").json()["reason"] == ""
    assert dispatch() == 1


def test_a_replay_sends_again_from_a_cursor(caller, inbox):
    made = caller.made(inbox.url())
    record("a", "b")
    dispatch()
    first = inbox.received[0]
    response = caller.post(f"/{made['id']}/replay", after=json.loads(first.body)["data"]["cursor"])
    assert response.status_code == 202
    dispatch()
    assert [r.headers["webhook-id"] for r in inbox.received][1:] == [
        inbox.received[1].headers["webhook-id"]
    ] * 2


CALLS = {
    "get": lambda caller, path: caller.get(path),
    "delete": lambda caller, path: caller.delete(path),
    "test": lambda caller, path: caller.post(f"{path}/test"),
    "rotate": lambda caller, path: caller.post(f"{path}/rotate"),
    "pause": lambda caller, path: caller.post(f"{path}/pause"),
    "resume": lambda caller, path: caller.post(f"{path}/resume"),
    "replay": lambda caller, path: caller.post(f"{path}/replay", after=cursors.encode(0)),
    "messages": lambda caller, path: caller.get(f"{path}/messages"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_stranger_finds_nothing_and_changes_nothing(call, caller, stranger, inbox):
    made = caller.made(inbox.url())
    before = Endpoint.objects.values().get()
    foreign, unknown = call(stranger, f"/{made['id']}"), call(stranger, "/we_unknown")
    assert foreign.status_code == unknown.status_code == 404
    same = [{**r.json(), "request_id": ""} for r in (foreign, unknown)]
    assert same[0] == same[1]
    assert stranger.get().json() == {"webhooks": []}
    assert Endpoint.objects.values().get() == before
    assert not Message.objects.exists()


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_keys_that_are_expired_revoked_or_without_scope_are_refused(call, client, caller, owner, inbox):
    made = caller.made(inbox.url())
    manager = api_keys.auth_manager(django_settings.ENVIRONMENT)
    expired, revoked, scopeless = (owner.issue_key(name) for name in ("expired", "revoked", "scopeless"))
    ApiKey.objects.filter(pk=expired.key.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    manager.revoke(revoked.key)
    ApiKey.objects.filter(pk=scopeless.key.pk).update(scopes=["publish"])
    for grant, status in ((expired, 401), (revoked, 401), (scopeless, 403)):
        answer = call(Caller(client, grant.value), f"/{made['id']}")
        assert answer.status_code == status
        assert made["id"] not in answer.content.decode()
    assert Endpoint.objects.get().state == "active"


def test_without_a_subscription_one_may_look_pause_and_delete_but_not_send(caller, inbox):
    made = caller.made(inbox.url())
    Subscription.objects.update(state="expired")
    assert caller.get().status_code == 200
    assert caller.post(url=inbox.url()).status_code == 403
    assert caller.post(f"/{made['id']}/test").status_code == 403
    assert caller.post(f"/{made['id']}/replay", after=cursors.encode(0)).status_code == 403
    assert caller.post(f"/{made['id']}/pause").status_code == 200
    assert caller.delete(f"/{made['id']}").status_code == 204


def test_no_more_than_the_plan_allows(client, inbox):
    few = Caller(client, customer(webhooks=1).issue_key("x").value)
    few.made(inbox.url())
    response = few.post(url=inbox.url("/second"))
    assert (response.status_code, response.json()["code"]) == (409, "too_many_endpoints")
    none = Caller(client, customer(webhooks=0).issue_key("x").value)
    assert none.post(url=inbox.url()).status_code == 409


def test_the_same_twice_makes_one(caller, client, owner, inbox):
    caller.made(inbox.url())
    again = caller.post(url=inbox.url())
    assert (again.status_code, again.json()["code"]) == (409, "duplicate_endpoint")
    assert "secret" not in again.json()
    caller.made(inbox.url("/other"))
    grant = owner.issue_key("forex only")
    ApiKey.objects.filter(pk=grant.key.pk).update(ecosystems=["forex"])
    Caller(client, grant.value).made(inbox.url())
    assert Endpoint.objects.count() == 3


def test_a_key_for_some_ecosystems_makes_a_webhook_for_those(client, owner, inbox):
    grant = owner.issue_key("forex only")
    ApiKey.objects.filter(pk=grant.key.pk).update(ecosystems=["forex"])
    made = Caller(client, grant.value).made(inbox.url())
    assert made["ecosystems"] == ["forex"]
    record("btc")
    record("eur", ecosystem="forex", symbol="EURUSD")
    dispatch()
    hurry()
    dispatch()
    assert [json.loads(r.body)["data"]["signal_id"] for r in inbox.received] == ["eur"]


BAD = {
    "loopback": ({"url": "https://127.0.0.1/hook"}, "address_not_public"),
    "metadata": ({"url": "http://169.254.169.254/latest/meta-data"}, "address_not_public"),
    "credentials": ({"url": "https://u:p@example.com/"}, "credentials"),
    "no host": ({"url": "https:///x"}, "bad_url"),
    "no url": ({}, "invalid"),
    "no text": ({"url": ["x"]}, "invalid"),
    "half a character": ({"url": "https://example.com/\ud800"}, "invalid"),
    "bad cursor": ({"url": "https://8.8.8.8/", "after": "x"}, "invalid"),
    "bad channel": ({"url": "https://8.8.8.8/", "channel": "fax"}, "invalid"),
    "long description": ({"url": "https://8.8.8.8/", "description": "x" * 256}, "invalid"),
    "telegram": ({"url": "tgram://x", "channel": "telegram"}, "bad_address"),
    "discord elsewhere": (
        {"url": "https://evil.example/api/webhooks/123456789012345678/" + "a" * 60, "channel": "discord"},
        "bad_address",
    ),
    "someone else's mail": ({"url": "victim@example.com", "channel": "email"}, "bad_address"),
}


@pytest.mark.parametrize(("body", "code"), BAD.values(), ids=BAD.keys())
def test_what_is_refused_at_saving(caller, settings, body, code):
    local(settings, networks=())
    response = caller.post(**body)
    assert (response.status_code, response.json()["code"]) == (400, code)
    assert response["Content-Type"] == "application/problem+json"
    assert not Endpoint.objects.exists()


def test_a_body_that_is_too_large_is_a_413(caller):
    response = caller.post(url="x" * 5_000_000)
    assert (response.status_code, response.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b"\xff", b'"x"', b"[" * 9000])
def test_a_body_that_is_no_object_is_a_400(client, caller, body):
    response = client.post("/api/v1/webhooks", body, "application/json", headers=caller.headers)
    assert response.status_code == 400


@pytest.mark.parametrize("path", ["/%00", "/x%00y", "/ü", "/" + "x" * 5000])
def test_an_odd_id_is_a_404(caller, path):
    assert caller.get(path).status_code == 404


def test_a_chat_shows_no_token(caller, inbox):
    token = "123456789:" + "A" * 35
    made = caller.made(f"{token}/-1001234", channel="telegram")
    assert made["secret"] is None
    assert token not in json.dumps(caller.get().json())
    assert made["url"] == "chat -1001234"
    assert caller.post(f"/{made['id']}/rotate").status_code == 409


def test_after_a_change_of_the_core_secret_endpoints_can_still_be_looked_at_and_deleted(
    client, owner, caller, inbox, settings
):
    made = caller.made(inbox.url("/hook/with-a-token"))
    local(settings, auth_secret="another")
    again = Caller(client, owner.issue_key("new").value)
    [listed] = again.get().json()["webhooks"]
    assert (listed["id"], listed["url"]) == (made["id"], Endpoint.objects.get().label)
    assert again.post(f"/{made['id']}/pause").json()["state"] == "paused"
    assert again.delete(f"/{made['id']}").status_code == 204


def test_changes_are_limited(caller, redis_client):
    for _ in range(60):
        assert caller.post(url="nonsense").status_code == 400
    response = caller.post(url="nonsense")
    assert response.status_code == 429
    assert int(response["Retry-After"]) > 0
    for asked in (caller.client.get, caller.client.head):
        assert asked("/api/v1/webhooks", headers=caller.headers).status_code == 200


def test_a_content_type_that_cannot_be_read_is_as_good_as_none(owner, shared_hub):
    headers = {
        "Authorization": f"Bearer {owner.issue_key('laptop').value}",
        "Content-Type": "application/json; charset*=idna''%ff",
    }
    answer = requests.post(f"{shared_hub()}/api/v1/webhooks", b"{}", headers=headers, timeout=60)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")

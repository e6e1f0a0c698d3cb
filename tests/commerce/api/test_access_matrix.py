"""Each operation of the schema, tried with each kind of key that gives no right to it."""

import json
from datetime import timedelta

import pytest
import yaml
from django.conf import settings as django_settings
from django.test import Client
from django.utils import timezone

from aggregator.http import api_keys
from aggregator.models import ApiKey
from commerce import entitlements
from commerce.feed import cursors
from commerce.models import Endpoint, Subscription, UsageDay
from commerce.webhooks import endpoints
from tests.aggregator.track_record.recording import score
from tests.commerce.api.test_schema import COMMITTED
from tests.commerce.feed.reading import customer, record
from tests.commerce.webhooks.pushing import local

pytestmark = pytest.mark.django_db(transaction=True)

OPERATIONS = {
    operation["operationId"]: (method, path)
    for path, methods in yaml.safe_load(COMMITTED.read_text())["paths"].items()
    for method, operation in methods.items()
    if path.startswith("/api/v1/")
}
"""The customers' operations."""
BODIES = {
    "create_webhook": {"url": "http://127.0.0.1:9999/hook"},
    "rotate_webhook_secret": {},
    "replay_webhook": {"after": cursors.encode(0)},
}
OF_A_WEBHOOK = sorted(name for name, (_, path) in OPERATIONS.items() if "{endpoint_id}" in path)
OPEN_WITHOUT_SUBSCRIPTION = {"get_me", "get_usage", "list_webhooks", "stream_signals"}
"""What shows no signal: rights and use, a customer's own endpoints; the stream is served elsewhere."""


class Person:
    """A customer with a signal in the ledger that only they may see, an endpoint, a key, and some use."""

    def __init__(self, ecosystem):
        self.customer = customer(ecosystems=[ecosystem], webhooks=3)
        self.grant = self.customer.issue_key("laptop")
        rights = entitlements.entitlement(
            Subscription.objects.entitling(timezone.now()).get(customer=self.customer)
        )
        self.endpoint, _ = endpoints.create(
            rights, "webhook", "http://127.0.0.1:9999/private", description="private"
        )
        UsageDay.objects.create(customer=self.customer, day=timezone.now().date(), requests=7654321)

    def subscribed(self, **fields):
        Subscription.objects.filter(customer=self.customer).update(**fields)
        return self.grant.value

    def keyed(self, **fields):
        ApiKey.objects.filter(pk=self.grant.key.pk).update(**fields)
        return self.grant.value


@pytest.fixture(autouse=True)
def _local(settings):
    local(settings)


@pytest.fixture
def owner(log, seal):
    record("private", agent_source="private-agent", symbol="PRIVATEUSDT")
    seal()
    score()
    return Person("crypto")


@pytest.fixture
def other():
    return Person("forex")


def call(
    operation, value, endpoint_id="we_none", *, query="", header="Authorization", signal="crypto/private"
):
    """Call an operation with a key; where it names something, that is `endpoint_id` or `signal`."""
    method, path = OPERATIONS[operation]
    path = path.replace("{ecosystem}/{signal_id}", signal).replace("{endpoint_id}", endpoint_id)
    path = path.replace("{ecosystem}/{agent}", "crypto/private-agent")
    text = f"Bearer {value}" if header == "Authorization" else value
    return Client().generic(
        method.upper(),
        path + query,
        json.dumps(BODIES[operation]) if operation in BODIES else "",
        content_type="application/json",
        headers={} if value is None else {header: text},
    )


def without_request_id(response):
    """What an answer says, but for what is different each time."""
    body = response.json()
    return response.status_code, {name: value for name, value in body.items() if name != "request_id"}


def assert_refused(operation, response, status):
    assert response.status_code == status, (operation, response.content)
    assert response["Content-Type"] == "application/problem+json", operation
    text = response.content.decode().lower()
    assert "private" not in text, operation
    assert "7654321" not in text, operation
    assert not {"ETag", "RateLimit", "Location"} & set(response.headers), operation


def test_no_key_that_is_valid(owner):
    endpoint = owner.endpoint.public_id
    value = owner.grant.value
    in_the_query = [
        f"?api_key={value}&key={value}",
        f"?X-API-Key={value}&token={value}&Authorization={value}",
    ]
    manager = api_keys.auth_manager(django_settings.ENVIRONMENT)
    for operation in OPERATIONS:
        answers = [
            call(operation, None, endpoint),
            *(call(operation, None, endpoint, query=query) for query in in_the_query),
            call(operation, "shk_nobody", endpoint),
            call(operation, value.swapcase(), endpoint, header="X-API-Key"),
            call(operation, value[:-1], endpoint),
            call(operation, owner.grant.signing_secret, endpoint),
            call(operation, owner.keyed(expires_at=timezone.now()), endpoint),
        ]
        owner.keyed(expires_at=None)
        manager.revoke(owner.grant.key)
        answers.append(call(operation, value, endpoint))
        owner.keyed(revoked_at=None)
        for answer in answers:
            assert_refused(operation, answer, 401)
        assert len({json.dumps(without_request_id(answer)) for answer in answers}) == 1, operation
    assert Endpoint.objects.get().state == "active"


def test_a_key_without_the_scope(owner):
    manager = api_keys.auth_manager(django_settings.ENVIRONMENT)
    agent = manager.issue(ApiKey(key_id="agent", scopes=["publish"]))
    for operation in OPERATIONS:
        for value in (owner.keyed(scopes=[]), owner.keyed(scopes=["publish"]), agent.value):
            assert_refused(operation, call(operation, value, owner.endpoint.public_id), 403)
    assert Endpoint.objects.get().state == "active"


def test_another_customers_endpoint_is_like_one_that_is_not_there(owner, other):
    before = Endpoint.objects.filter(pk=owner.endpoint.pk).values().get()
    for operation in OF_A_WEBHOOK:
        foreign = call(operation, other.grant.value, owner.endpoint.public_id)
        assert_refused(operation, foreign, 404)
        assert without_request_id(foreign) == without_request_id(
            call(operation, other.grant.value, "we_" + "0" * 20)
        ), operation
    assert Endpoint.objects.filter(pk=owner.endpoint.pk).values().get() == before
    assert not owner.endpoint.messages.exists()


def test_another_customers_signal_is_like_one_that_is_not_there(owner, other):
    for operation in ("get_signal", "get_signal_proof"):
        foreign = call(operation, other.grant.value)
        assert foreign.status_code == 404
        assert without_request_id(foreign) == without_request_id(
            call(operation, other.grant.value, signal="crypto/none")
        )


def test_another_customers_things_are_in_no_answer(owner, other):
    for operation in set(OPERATIONS) - set(OF_A_WEBHOOK) - {"get_signal", "get_signal_proof"}:
        response = call(operation, other.grant.value)
        assert response.status_code == {
            "create_webhook": 201,
            "stream_signals": 421,
            "get_agent_record": 404,
        }.get(operation, 200)
        text = response.content.decode().lower()
        for trace in ("private-agent", "privateusdt", owner.endpoint.public_id, owner.customer.email):
            assert trace not in text, operation


@pytest.mark.parametrize(
    "fields",
    [
        {"state": "cancelled"},
        {"state": "expired"},
        {"ends_at": timezone.now() - timedelta(seconds=1)},
        {"state": "past_due"},
        {"state": "past_due", "grace_until": timezone.now() - timedelta(seconds=1)},
    ],
)
def test_a_subscription_that_is_over(owner, fields):
    value = owner.subscribed(**fields)
    for operation in set(OPERATIONS) - set(OF_A_WEBHOOK):
        response = call(operation, value)
        if operation in OPEN_WITHOUT_SUBSCRIPTION:
            assert response.status_code == (421 if operation == "stream_signals" else 200), operation
            assert "privateusdt" not in response.content.decode().lower(), operation
        else:
            assert_refused(operation, response, 403)
            assert response.json()["code"] == "subscription_required"


def test_past_due_within_its_grace_is_as_good_as_paid(owner):
    value = owner.subscribed(state="past_due", grace_until=timezone.now() + timedelta(days=1))
    for operation in sorted(set(OPERATIONS) - {"stream_signals"}, key=lambda name: name == "delete_webhook"):
        response = call(operation, value, owner.endpoint.public_id)
        assert response.status_code in {200, 201, 202, 204}, (operation, response.content)


def test_the_documentation_is_public_and_names_no_customer(owner):
    for path in ("/api/schema/", "/api/docs/"):
        response = Client().get(path)
        assert response.status_code == 200
        text = response.content.decode().lower()
        assert "private" not in text
        assert owner.customer.email not in text

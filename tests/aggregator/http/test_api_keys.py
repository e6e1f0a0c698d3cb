import hashlib
import hmac
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connection, connections
from django.utils import timezone

from aggregator.http.api_keys import AuthManager, Principal, Unauthenticated, key_in_headers, new_key_id
from aggregator.models import ApiKey
from ecosystems import signing
from tests.aggregator.ingest.senders import legacy, standard

pytestmark = pytest.mark.django_db
BODY = b"{}"
DAY = timedelta(days=1)


@pytest.fixture
def manager():
    return AuthManager(settings.ENVIRONMENT)


@pytest.fixture
def key(manager):
    """Issue a key with these fields."""

    def issue(key_id="desk-1", **fields):
        return manager.issue(ApiKey(key_id=key_id, **{"scopes": ["publish"]} | fields))

    return issue


def later(monkeypatch, delta):
    """Move the clock that keys are checked against."""
    now = timezone.now()
    monkeypatch.setattr(timezone, "now", lambda: now + delta)


def passes(manager, grant):
    """Return whether a request with the key's value and a signature by its secret is authenticated."""
    headers = {name.lower(): value for name, value in standard(BODY, grant.signing_secret).items()}
    try:
        sender = manager.authenticate(headers | {"x-api-key": grant.value}, BODY, "192.0.2.1")
    except Unauthenticated:
        return False
    assert manager.identify(grant.value) == sender
    return True


def dead(manager, grant):
    """Return whether its value is unknown, for any signature."""
    shared = replace(grant, signing_secret=settings.ENVIRONMENT.event_webhook_secret)
    return (
        manager.identify(grant.value) is None and not passes(manager, grant) and not passes(manager, shared)
    )


def test_a_key_identifies_the_sender_and_its_rights(manager, key):
    grant = key(scopes=["publish", "read"], ecosystems=["forex"])
    assert manager.identify(grant.value) == Principal(
        "key:desk-1", frozenset({"publish", "read"}), frozenset({"forex"})
    )
    assert manager.identify(key("desk-2", scopes=[]).value) == Principal("key:desk-2", frozenset(), None)
    assert manager.identify("shk_unknown") is None


def test_a_key_of_the_environment_may_publish_to_every_ecosystem():
    environment = replace(settings.ENVIRONMENT, api_keys=(("a", "1"), ("b", "x:y")))
    manager = AuthManager(environment)
    assert manager.identify("x:y") == Principal("key:b", frozenset({"publish"}), None)
    assert manager.identify("b:x:y") is None


def test_only_hashes_under_the_secret_are_stored(manager, key, caplog):
    caplog.set_level(logging.DEBUG)
    grant = key()
    first = grant.value, grant.signing_secret
    second = manager.rotate(grant.key)
    manager.identify(second.value)
    with connection.cursor() as cursor:
        cursor.execute("SELECT row_to_json(api_keys)::text, digest, previous_digest FROM api_keys")
        text, digest, previous = cursor.fetchone()
    secret = settings.ENVIRONMENT.auth_secret.encode()
    assert bytes(digest) == hmac.new(secret, second.value.encode(), hashlib.sha256).digest()
    assert bytes(previous) == hmac.new(secret, first[0].encode(), hashlib.sha256).digest()
    for value in (*first, second.value, second.signing_secret):
        for shown in (text, caplog.text, repr(grant.key), str(grant.key)):
            assert value not in shown
            assert value.encode().hex() not in shown
    other = AuthManager(replace(settings.ENVIRONMENT, auth_secret="other"))
    assert other.identify(second.value) is None


def test_values_are_random_and_have_a_prefix(key):
    grants = [key(f"desk-{number}") for number in range(20)]
    assert len({grant.value for grant in grants}) == len({grant.signing_secret for grant in grants}) == 20
    assert all(grant.value.startswith("shk_") and len(grant.value) >= 47 for grant in grants)
    assert all(len(signing.key_of(grant.signing_secret)) == 32 for grant in grants)


def test_a_signing_secret_is_derived_again_by_every_process(manager, key):
    grant = key()
    again = AuthManager(settings.ENVIRONMENT)
    assert again.signing_secret("desk-1", again.digest(grant.value)) == grant.signing_secret


def test_signatures_by_its_own_secret_and_by_the_shared_one_are_valid(manager, key):
    grant = key()
    carried = {"authorization": f"Bearer {grant.value}"}
    for secret in (grant.signing_secret, settings.ENVIRONMENT.event_webhook_secret):
        for headers in (standard(BODY, secret), legacy(BODY, secret)):
            lower = {name.lower(): value for name, value in headers.items()}
            assert manager.authenticate(lower | carried, BODY, "192.0.2.1").name == "key:desk-1"


def test_a_signature_by_another_keys_secret_is_invalid(manager, key):
    one, other = key(), key("desk-2")
    assert not passes(manager, replace(one, signing_secret=other.signing_secret))
    with pytest.raises(Unauthenticated):
        manager.authenticate(standard(BODY, one.signing_secret), BODY, "192.0.2.1")


@pytest.mark.parametrize("expires_at", ["past", "now"])
def test_an_expired_key_is_invalid(manager, key, monkeypatch, expires_at):
    grant = key(expires_at=timezone.now() + DAY)
    assert passes(manager, grant)
    later(monkeypatch, DAY * (2 if expires_at == "past" else 1) + timedelta(seconds=1))
    assert dead(manager, grant)
    assert dead(manager, manager.rotate(grant.key))


def test_a_revoked_key_is_invalid_immediately_with_its_previous_value(manager, key):
    old = key()
    new = manager.rotate(old.key)
    assert passes(manager, old)
    manager.revoke(new.key)
    assert dead(manager, old)
    assert dead(manager, new)
    revoked_at = ApiKey.objects.get().revoked_at
    manager.revoke(new.key)
    assert ApiKey.objects.get().revoked_at == revoked_at is not None


def test_for_a_day_after_a_rotation_the_previous_value_and_secret_are_valid(manager, key, monkeypatch):
    old = key()
    new = manager.rotate(old.key)
    assert (new.value, new.signing_secret) != (old.value, old.signing_secret)
    assert new.key.rotated_at is not None
    for grant in (
        old,
        new,
        replace(old, signing_secret=new.signing_secret),
        replace(new, signing_secret=old.signing_secret),
    ):
        assert passes(manager, grant)
    with monkeypatch.context() as clock:
        later(clock, timedelta(hours=23, minutes=59))
        assert passes(manager, old)
    later(monkeypatch, timedelta(hours=24, seconds=1))
    assert dead(manager, old)
    assert not passes(manager, replace(new, signing_secret=old.signing_secret))
    assert passes(manager, new)


def test_without_an_overlap_the_previous_value_is_invalid_immediately(manager, key):
    old = key()
    new = manager.rotate(old.key, overlap=timedelta(0))
    assert dead(manager, old)
    assert passes(manager, new)


def test_a_second_rotation_ends_the_value_before_the_previous(manager, key):
    first = key()
    second = manager.rotate(first.key)
    third = manager.rotate(second.key)
    assert [passes(manager, grant) for grant in (first, second, third)] == [False, True, True]


@pytest.mark.django_db(transaction=True)
def test_simultaneous_rotations_are_serialized(manager, key):
    grant = key()

    def rotate(_):
        try:
            return manager.rotate(grant.key)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        rotated = list(pool.map(rotate, range(2)))
    assert [passes(manager, grant) for grant in rotated] == [True, True]
    assert not passes(manager, grant)


def test_the_last_use_is_stored_to_the_minute(manager, key, monkeypatch, django_assert_num_queries):
    grant = key()
    assert ApiKey.objects.get().last_used_at is None
    manager.identify(grant.value)
    used = ApiKey.objects.get().last_used_at
    assert timezone.now() - used < timedelta(seconds=60)
    with django_assert_num_queries(1):
        manager.identify(grant.value)
    assert ApiKey.objects.get().last_used_at == used
    later(monkeypatch, timedelta(seconds=90))
    manager.identify(grant.value)
    assert ApiKey.objects.get().last_used_at > used + timedelta(seconds=60)


@pytest.mark.parametrize(
    ("headers", "value"),
    [
        ({}, None),
        ({"authorization": "Bearer abc"}, "abc"),
        ({"authorization": "bEARER  abc "}, "abc"),
        ({"authorization": "Basic abc"}, None),
        ({"authorization": "Bearer"}, ""),
        ({"x-api-key": "abc"}, "abc"),
        ({"authorization": "Basic abc", "x-api-key": "def"}, "def"),
    ],
)
def test_a_key_is_read_from_either_header(headers, value):
    assert key_in_headers(headers) == value


def test_an_id_is_readable_and_unique():
    one, other = new_key_id("Désk / Nº 1"), new_key_id("Désk / Nº 1")
    assert one != other
    assert one.startswith("d-sk-n-1-")
    assert new_key_id("€").startswith("key-")

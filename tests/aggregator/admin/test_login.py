"""Sign-in is throttled."""

from __future__ import annotations

import dataclasses
import ipaddress

from django.conf import settings
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.test import Client

from aggregator.http import sign_in_limits

LOGIN = "/admin/login/"


def attempt(password, username="olga", address="198.51.100.7"):
    return Client(headers={"host": "localhost"}).post(
        LOGIN, {"username": username, "password": password}, REMOTE_ADDR=address
    )


def test_guessing_locks_one_user_and_no_other(operator):
    operator.set_password("correct horse battery")
    operator.save()
    assert attempt("correct horse battery").status_code == 302
    for _ in range(settings.AXES_FAILURE_LIMIT - 1):
        assert attempt("wrong").status_code == 200
    assert attempt("wrong").status_code == 429
    locked = attempt("correct horse battery")
    assert locked.status_code == 429
    assert "Too many failed attempts" in locked.content.decode()
    assert attempt("correct horse battery", address="198.51.100.8").status_code == 302


def test_a_user_name_longer_than_any_is_refused(operator):
    for username in ("x" * 10_000, "olga\x00", "Ω" * 200):
        assert attempt("wrong", username).status_code == 200


def test_behind_a_proxy_each_client_counts_for_itself(operator, settings):
    trusted = (ipaddress.ip_network("198.51.100.7/32"),)
    settings.ENVIRONMENT = dataclasses.replace(settings.ENVIRONMENT, trusted_proxies=trusted)
    operator.set_password("correct horse battery")
    operator.save()

    def from_behind(address: str, password: str) -> int:
        client = Client(headers={"host": "localhost", "x-forwarded-for": address})
        credentials = {"username": "olga", "password": password}
        return client.post(LOGIN, credentials, REMOTE_ADDR="198.51.100.7").status_code

    for _ in range(settings.AXES_FAILURE_LIMIT):
        last = from_behind("203.0.113.9", "wrong")
    assert last == 429
    assert from_behind("203.0.113.10", "correct horse battery") == 302


def test_many_names_from_one_address_cost_no_hash(operator, monkeypatch):
    monkeypatch.setattr(sign_in_limits, "PASSWORDS_PER_CLIENT", "5/hour")
    hashed = []
    monkeypatch.setattr(
        PBKDF2PasswordHasher, "encode", lambda _self, password, *_: hashed.append(password) or "x"
    )
    for number in range(8):
        answer = attempt("wrong", f"random-{number}", address="198.51.100.99")
    assert "Too many attempts from your address" in answer.content.decode()
    assert len(hashed) == 5

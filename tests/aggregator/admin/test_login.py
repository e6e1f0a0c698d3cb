"""Sign-in is throttled."""

from __future__ import annotations

from django.conf import settings
from django.test import Client

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

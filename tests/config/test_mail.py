"""EMAIL_URL as settings of the mail server, encryption above all."""

from __future__ import annotations

import pytest

from config import mail


@pytest.mark.parametrize(
    ("url", "tls", "ssl", "port"),
    [
        ("smtp://u:p%40w@mail.example", False, False, 25),
        ("smtp+tls://u:p%40w@mail.example", True, False, 587),
        ("smtp+tls://u:p%40w@mail.example:2525", True, False, 2525),
        ("smtp+ssl://u:p%40w@mail.example", False, True, 465),
        ("smtp+ssl://u:p%40w@mail.example:4650", False, True, 4650),
        ("submission://u:p%40w@mail.example", True, False, 587),
    ],
)
def test_each_scheme_is_encrypted_as_it_says(url, tls, ssl, port):
    found = mail.settings_of(url)
    assert found["EMAIL_BACKEND"] == mail.SMTP
    assert (found.get("EMAIL_USE_TLS", False), found.get("EMAIL_USE_SSL", False)) == (tls, ssl)
    assert found["EMAIL_PORT"] == port
    assert (found["EMAIL_HOST"], found["EMAIL_HOST_USER"], found["EMAIL_HOST_PASSWORD"]) == (
        "mail.example",
        "u",
        "p@w",
    )


def test_the_console_is_no_server():
    assert mail.settings_of("console:")["EMAIL_BACKEND"] == "django.core.mail.backends.console.EmailBackend"

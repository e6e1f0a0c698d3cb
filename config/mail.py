"""EMAIL_URL as Django's settings of e-mail."""

from typing import Any

import dj_email_url  # type: ignore[import-untyped]

SMTP = "django.core.mail.backends.smtp.EmailBackend"

# dj_email_url takes these schemes too, and then sends in the clear.
ENCRYPTED: dict[str, tuple[str, int]] = {
    "smtp+tls": ("EMAIL_USE_TLS", 587),
    "smtp+ssl": ("EMAIL_USE_SSL", 465),
}


def settings_of(url: str) -> dict[str, Any]:
    """Return the `EMAIL_…` settings that a URL asks for."""
    asked = {name: value for name, value in dj_email_url.parse(url).items() if name.isupper()}
    found = {"EMAIL_BACKEND": SMTP, **asked}
    if encrypted := ENCRYPTED.get(url.partition(":")[0]):
        name, port = encrypted
        found |= {name: True, "EMAIL_PORT": found["EMAIL_PORT"] or port}
    return found

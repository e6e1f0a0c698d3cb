"""A real SMTP server on loopback that stores messages, and the settings of a hub that uses it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword

from config import mail

USER, PASSWORD = "hub@example.com", "p/w@1"


class Mailbox:
    """Received messages with their recipients, and logins."""

    def __init__(self) -> None:
        self.messages: list[tuple[list[str], EmailMessage]] = []
        self.logins: list[str] = []
        self.refuses = False

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:  # noqa: N802
        if self.refuses:
            return "451 not now"
        message = message_from_bytes(envelope.content or b"", policy=policy.default)
        self.messages.append((envelope.rcpt_tos, message))
        return "250 kept"

    def authenticate(
        self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any
    ) -> AuthResult:
        known = isinstance(data, LoginPassword) and data.password.decode() == PASSWORD
        if known:
            self.logins.append(data.login.decode())
        return AuthResult(success=known)


@contextmanager
def mail_server(port: int, tls: ssl.SSLContext | None = None, *, starttls: bool = False) -> Iterator[Mailbox]:
    """Run a server; with `tls` it accepts logins, after STARTTLS if `starttls`."""
    mailbox = Mailbox()
    options: dict[str, Any] = {}
    if tls:
        options = {"authenticator": mailbox.authenticate, "auth_require_tls": starttls}
        options |= {"tls_context": tls, "require_starttls": True} if starttls else {"ssl_context": tls}
    controller = Controller(mailbox, hostname="127.0.0.1", port=port, ready_timeout=60.0, **options)
    controller.start()
    try:
        yield mailbox
    finally:
        controller.stop()


def mail_over(settings: Any, url: str) -> None:
    """Configure the hub to send mail over EMAIL_URL."""
    settings.EMAIL_URL = url
    for name, value in mail.settings_of(url).items():
        setattr(settings, name, value)
    settings.EMAIL_TIMEOUT = 60
    settings.DEFAULT_FROM_EMAIL = "Signal Hub <hub@example.com>"

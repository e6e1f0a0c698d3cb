"""The addresses of chats that are accepted: most schemas of apprise's can reach any host."""

from __future__ import annotations

import pytest

from aggregator.http.problems import Problem
from commerce.webhooks import chats
from tests.commerce.webhooks.test_chat import DISCORD, SLACK, TOKEN


@pytest.mark.parametrize(
    ("channel", "address"),
    [
        ("telegram", "json://127.0.0.1/x"),
        ("telegram", f"{TOKEN}/1?format=text"),
        ("telegram", f"{TOKEN}/"),
        ("discord", "http://discord.com/api/webhooks/123456789012345678/" + "a" * 60),
        ("discord", DISCORD.replace("discord.com", "discord.com.evil.example")),
        ("discord", DISCORD + "/slack"),
        ("slack", "https://hooks.slack.com/workflows/T1/F1/X/Y"),
        ("slack", SLACK.replace("hooks.slack.com", "hooks.slack.com@127.0.0.1")),
        ("email", "me@example.com\nBcc: you@example.com"),
        ("email", "mailto://user:pass@10.0.0.1"),
        ("email", "a@b.example,c@d.example"),
        ("email", "me@localhost"),
        *(
            (channel, f"{schema}://127.0.0.1/x")
            for channel in ("telegram", "discord", "slack", "email")
            for schema in (
                "json",
                "xml",
                "form",
                "file",
                "syslog",
                "dbus",
                "windows",
                "mailto",
                "discord",
                "tgram",
            )
        ),
    ],
)
def test_an_address_of_another_form_is_no_address(channel, address, settings):
    settings.EMAIL_URL = "smtp://mail.example"
    with pytest.raises(Problem, match="address"):
        chats.label(channel, address)

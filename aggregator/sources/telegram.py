"""Registering a source's hook at Telegram, as the webhook of a bot."""

import re
import secrets
from collections.abc import Mapping
from typing import Any

import httpx

from aggregator.models import Source
from aggregator.sources import tokens

API = "https://api.telegram.org"
BOT_TOKEN = re.compile(r"[0-9]{3,20}:[A-Za-z0-9_-]{20,100}")
UPDATES = ("channel_post", "edited_channel_post")
REGISTRATION_TIMEOUT_S = 15.0


class RegistrationFailed(Exception):
    """Telegram did not take the webhook. The text holds no token."""


def register(source: Source, bot_token: str, api: str = API) -> None:
    """Give the source another URL and a secret for the header, and both to Telegram.

    The URL before works for a while still; with the bot of before it does not, since its header is missing.
    Call it in a transaction: it raises RegistrationFailed where Telegram does not take the webhook.
    """
    if not BOT_TOKEN.fullmatch(bot_token):
        raise RegistrationFailed("that is no bot's token: @BotFather gives one as 123456789:AA…")
    issued, secret = tokens.rotate(source), secrets.token_urlsafe(32)
    Source.objects.filter(pk=source.pk).update(header_digest=tokens.digest_of(secret))
    answer = _call(
        f"{api.rstrip('/')}/bot{bot_token}/setWebhook",
        {
            "url": issued.url(tokens.hub_endpoint()),
            "secret_token": secret,
            "allowed_updates": UPDATES,
            "max_connections": 10,
        },
    )
    if answer.get("ok") is not True:
        description = str(answer.get("description", "no reason given"))[:200]
        shown = description.replace(bot_token, "****").replace(issued.token, "****").replace(secret, "****")
        raise RegistrationFailed(f"Telegram refuses: {shown}")


def _call(url: str, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        response = httpx.post(url, json=parameters, timeout=REGISTRATION_TIMEOUT_S, follow_redirects=False)
        answer = response.json()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        # Not the error's text, which holds the URL, and so the bot's token.
        raise RegistrationFailed(f"Telegram does not answer: {type(error).__name__}") from None
    except ValueError:
        raise RegistrationFailed(f"Telegram answers {response.status_code} without JSON") from None
    return answer if isinstance(answer, dict) else {}

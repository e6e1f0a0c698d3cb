"""Deliveries that people read: Telegram, Discord, Slack and e-mail, by apprise, with a template each."""

import html
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import apprise
from django.conf import settings
from django.core.mail import send_mail
from django.template.loader import render_to_string

from aggregator.models import TradingSignal
from commerce.entitlements import Scope
from commerce.feed import signal_serializer
from commerce.webhooks.http_client import AttemptResult

SMTP = "django.core.mail.backends.smtp.EmailBackend"

TELEGRAM = re.compile(
    r"(?P<token>[0-9]{6,12}:[A-Za-z0-9_-]{30,50})/(?P<chat>-?[0-9]{1,20}|@[A-Za-z][A-Za-z0-9_]{4,31})"
)
DISCORD = re.compile(
    r"https://(?:discord|discordapp)\.com/api/webhooks/(?P<id>[0-9]{15,25})/(?P<token>[A-Za-z0-9_-]{20,128})"
)
SLACK = re.compile(
    r"https://hooks\.slack\.com/services/"
    r"(?P<team>[A-Z0-9]{6,20})/(?P<app>[A-Z0-9]{6,20})/(?P<token>[A-Za-z0-9]{16,40})"
)
# What HTML forms take for an address (https://html.spec.whatwg.org/#valid-e-mail-address), with a dot in it.
EMAIL = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z0-9-]{2,63}"
)


def _plain(text: str) -> str:
    return text


def _markdown(text: str) -> str:
    """Take the meaning from marks and mentions: what an agent writes must not ring a whole channel."""
    return re.sub(r"([\\`*_~|>#\[\]()])", r"\\\1", text).replace("@", "@\u200b")


def _slack(text: str) -> str:
    """Escape by Slack's own rules: three characters, and mentions and links are made with one of them."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


@dataclass(frozen=True)
class Channel:
    """How an address of a service looks, is shown, and becomes what apprise sends with."""

    form: re.Pattern[str]
    expects: str
    shown: Callable[[re.Match[str]], str]
    plugin: Callable[[re.Match[str]], Any]
    """Gives a notification of apprise's, or None where it makes none of the address."""
    template: str
    escape: Callable[[str], str]
    body_format: str
    has_subject: bool = False


def _telegram(found: re.Match[str]) -> Any:
    return _instantiate(f"tgram://{found['token']}/{found['chat']}/?image=no&preview=no")


def _discord(found: re.Match[str]) -> Any:
    return _instantiate(f"discord://{found['id']}/{found['token']}/?avatar=no&footer=no&fields=no")


def _slack_hook(found: re.Match[str]) -> Any:
    token = quote(found["token"])
    return _instantiate(f"slack://{found['team']}/{found['app']}/{token}/?image=no&footer=no&timestamp=no")


def _email(found: re.Match[str]) -> Any:
    """Return what sends over the server of EMAIL_URL."""
    mode = "ssl" if settings.EMAIL_USE_SSL else "starttls" if settings.EMAIL_USE_TLS else "insecure"
    plugin = _instantiate(
        {
            "schema": "mailto" if mode == "insecure" else "mailtos",
            "secure_mode": mode,
            "host": settings.EMAIL_HOST,
            "smtp_host": settings.EMAIL_HOST,
            "port": settings.EMAIL_PORT,
            "user": settings.EMAIL_HOST_USER,
            "password": settings.EMAIL_HOST_PASSWORD,
            "from_addr": settings.DEFAULT_FROM_EMAIL,
            "format": apprise.NotifyFormat.TEXT,
            "cto": settings.EMAIL_TIMEOUT,
        }
    )
    if plugin:
        # Not through apprise's own reading of addresses, which takes o'brien@… for brien@….
        plugin.targets = [(False, found[0])]
    return plugin


def _instantiate(service: str | dict[str, Any]) -> Any:
    """Return apprise's notification for a URL or its parts, one that never sleeps.

    Told to slow down, it would do so for longer than a claim lasts; the retry schedule does it instead.
    """
    plugin: Any = apprise.Apprise.instantiate(service)
    if plugin:
        plugin.throttle = lambda *_, **__: None
    return plugin


CHANNELS = {
    "telegram": Channel(
        TELEGRAM,
        "A Telegram address is <bot token>/<chat id>, as 123456789:AAE…/-1001234567890.",
        lambda found: f"chat {found['chat']}",
        _telegram,
        "commerce/chat/telegram.html",
        html.escape,
        apprise.NotifyFormat.HTML,
    ),
    "discord": Channel(
        DISCORD,
        "A Discord address is a webhook's URL, as https://discord.com/api/webhooks/<id>/<token>.",
        lambda found: f"webhook {found['id']}",
        _discord,
        "commerce/chat/discord.md",
        _markdown,
        apprise.NotifyFormat.TEXT,
    ),
    "slack": Channel(
        SLACK,
        "A Slack address is an incoming webhook's URL, as https://hooks.slack.com/services/T…/B…/….",
        lambda found: f"webhook {found['team']}/{found['app']}",
        _slack_hook,
        "commerce/chat/slack.md",
        _slack,
        apprise.NotifyFormat.TEXT,
    ),
    "email": Channel(
        EMAIL,
        "That is not an e-mail address.",
        lambda found: found[0],
        _email,
        "commerce/chat/email.txt",
        _plain,
        apprise.NotifyFormat.TEXT,
        has_subject=True,
    ),
}


def shown(channel: str, address: str) -> str:
    """Return an address without its token. Raises ValueError with words for the customer."""
    if channel == "email" and not settings.EMAIL_URL:
        raise ValueError("This hub sends no e-mail, to this address or any other.")
    known = CHANNELS[channel]
    found = known.form.fullmatch(address)
    if not found:
        raise ValueError(known.expects)
    return known.shown(found)


def send(channel: str, address: str, signal: TradingSignal | None) -> AttemptResult:
    """Send a signal, or a test where there is none; what the services answer is known as yes or no."""
    started = time.monotonic()
    took = _notify(CHANNELS[channel], address, signal)
    duration_ms = round((time.monotonic() - started) * 1000)
    return AttemptResult(
        200 if took else 0, "" if took else "the service did not take it", "", None, duration_ms
    )


def _notify(channel: Channel, address: str, signal: TradingSignal | None) -> bool:
    text = render(channel.template, channel.escape, signal)
    subject = _subject(signal) if channel.has_subject else ""
    if channel is CHANNELS["email"] and settings.EMAIL_BACKEND != SMTP:
        # Debug prints mail. Where no EMAIL_URL is set there is none, and Django would say it had sent it.
        return bool(settings.EMAIL_URL and send_mail(subject, text, settings.DEFAULT_FROM_EMAIL, [address]))
    found = channel.form.fullmatch(address)
    plugin = channel.plugin(found) if found else None
    if plugin is None:
        return False
    service = apprise.Apprise()
    service.add(plugin)
    return bool(service.notify(text, title=subject, body_format=channel.body_format))


def _subject(signal: TradingSignal | None) -> str:
    if signal is None:
        return "A test of your Signal Hub endpoint"
    return " ".join(f"{signal.action} {signal.instrument or signal.symbol}".split())


def render(template: str, escape: Callable[[str], str], signal: TradingSignal | None) -> str:
    """Return a message's text; every text of the signal's goes through `escape`."""
    context = {"signal": signal and {name: escape(text) for name, text in _texts(signal).items()}}
    lines = render_to_string(template, context).splitlines()
    return "\n".join(line.strip() for line in lines if line.strip())


def _texts(signal: TradingSignal) -> dict[str, str]:
    public = signal_serializer.serialize(signal, Scope())
    return {
        "action": public.action,
        "name": public.instrument or public.symbol,
        "ecosystem": public.ecosystem,
        "entry": public.entry_price or "",
        "stop": public.stop_loss or "",
        "target": public.take_profit or "",
        "confidence": "" if public.confidence is None else f"{public.confidence:.0%}",
        "agent": " ".join(public.agent_source.split()),
        "time": f"{public.timestamp:%Y-%m-%d %H:%M} UTC",
    }

"""Deliveries that people read: Telegram, Discord, Slack and e-mail, a template each."""

import html
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

import apprise
from django.conf import settings
from django.core.mail import send_mail
from django.core.validators import validate_email
from django.template.loader import render_to_string

from aggregator.models import TradingSignal
from commerce import wire
from commerce.entitlements import Scope
from commerce.outgoing import Answer

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
    """How an address of a service looks, is shown, and becomes a URL of apprise's."""

    form: re.Pattern[str]
    expects: str
    shown: Callable[[re.Match[str]], str]
    url: Callable[[re.Match[str]], str]
    template: str
    escape: Callable[[str], str]
    body_format: str


CHANNELS = {
    "telegram": Channel(
        TELEGRAM,
        "A Telegram address is <bot token>/<chat id>, as 123456789:AAE…/-1001234567890.",
        lambda found: f"chat {found['chat']}",
        lambda found: f"tgram://{found['token']}/{found['chat']}/?image=no&preview=no",
        "commerce/chat/telegram.html",
        html.escape,
        apprise.NotifyFormat.HTML,
    ),
    "discord": Channel(
        DISCORD,
        "A Discord address is a webhook's URL, as https://discord.com/api/webhooks/<id>/<token>.",
        lambda found: f"webhook {found['id']}",
        lambda found: f"discord://{found['id']}/{found['token']}/?avatar=no&footer=no&fields=no",
        "commerce/chat/discord.md",
        _markdown,
        apprise.NotifyFormat.TEXT,
    ),
    "slack": Channel(
        SLACK,
        "A Slack address is an incoming webhook's URL, as https://hooks.slack.com/services/T…/B…/….",
        lambda found: f"webhook {found['team']}/{found['app']}",
        lambda found: (
            f"slack://{found['team']}/{found['app']}/{quote(found['token'])}/?image=no&footer=no&timestamp=no"
        ),
        "commerce/chat/slack.md",
        _slack,
        apprise.NotifyFormat.TEXT,
    ),
}


def shown(channel: str, address: str) -> str:
    """Return an address without its token. Raises ValueError with words for the customer."""
    if channel == "email":
        try:
            validate_email(address)
        except Exception:
            raise ValueError("That is not an e-mail address.") from None
        return address
    known = CHANNELS[channel]
    found = known.form.fullmatch(address)
    if not found:
        raise ValueError(known.expects)
    return known.shown(found)


def send(channel: str, address: str, signal: TradingSignal | None) -> Answer:
    """Send a signal, or a test where there is none; what the services answer is known as yes or no."""
    started = time.monotonic()
    try:
        took = _mail(address, signal) if channel == "email" else _notify(CHANNELS[channel], address, signal)
        error = "" if took else "the service did not take it"
    except OSError as failure:
        took, error = False, f"not sent: {type(failure).__name__}"
    duration_ms = round((time.monotonic() - started) * 1000)
    return Answer(200 if took else 0, error, "", None, duration_ms)


def _notify(channel: Channel, address: str, signal: TradingSignal | None) -> bool:
    found = channel.form.fullmatch(address)
    plugin = apprise.Apprise.instantiate(channel.url(found)) if found else None
    if plugin is None:
        return False
    service = apprise.Apprise()
    service.add(plugin)
    return bool(
        service.notify(render(channel.template, channel.escape, signal), body_format=channel.body_format)
    )


def _mail(address: str, signal: TradingSignal | None) -> bool:
    subject = (
        f"{signal.action} {signal.instrument or signal.symbol}"
        if signal
        else "A test of your Signal Hub endpoint"
    )
    text = render("commerce/chat/email.txt", _plain, signal)
    return bool(send_mail(" ".join(subject.split()), text, settings.DEFAULT_FROM_EMAIL, [address]))


def render(template: str, escape: Callable[[str], str], signal: TradingSignal | None) -> str:
    """Return a message's text; every text of the signal's goes through `escape`."""
    context = {"signal": signal and {name: escape(text) for name, text in _texts(signal).items()}}
    lines = render_to_string(template, context).splitlines()
    return "\n".join(line.strip() for line in lines if line.strip())


def _texts(signal: TradingSignal) -> dict[str, str]:
    public = wire.public(signal, Scope())
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

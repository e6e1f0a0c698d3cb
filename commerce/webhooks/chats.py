"""Messages that people read: Telegram, Discord and Slack by apprise, and e-mail, with a template each."""

import html
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core import signing
from django.core.mail import EmailMessage
from django.template.loader import render_to_string
from django.urls import reverse

from aggregator.http.problems import Problem
from aggregator.models import OutcomeEvent, TradingSignal
from commerce.models import Endpoint
from commerce.webhooks.http_client import AttemptResult
from ecosystems.signal import decimal_text

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
# What HTML forms accept (https://html.spec.whatwg.org/#valid-e-mail-address), with a dot in the domain.
EMAIL = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z0-9-]{2,63}"
)

UNSUBSCRIBE_SALT = "commerce.unsubscribe"
OUTCOME_OF = "Outcome of "
"""Before the action in a message that is about a call's outcome: it must not read like another call."""


def _escape_markdown(text: str) -> str:
    """Escape marks and mentions: what an agent writes must not notify a whole channel."""
    return re.sub(r"([\\`*_~|>#\[\]()])", r"\\\1", text).replace("@", "@\u200b")


def _escape_slack(text: str) -> str:
    """Escape the three characters that Slack's rules name; mentions and links need one of them."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


@dataclass(frozen=True)
class ChatService:
    """The form of a service's addresses, and how a message gets there."""

    form: re.Pattern[str]
    expects: str
    label: str
    """An address without its token, of the groups of `form`."""
    apprise_url: str
    """Likewise of the groups of `form`."""
    template: str
    escape: Callable[[str], str]
    body_format: str


SERVICES = {
    "telegram": ChatService(
        TELEGRAM,
        "A Telegram address is <bot token>/<chat id>, as 123456789:AAE…/-1001234567890.",
        "chat {chat}",
        "tgram://{token}/{chat}/?image=no&preview=no",
        "commerce/chat/telegram.html",
        html.escape,
        "html",
    ),
    "discord": ChatService(
        DISCORD,
        "A Discord address is a webhook's URL, as https://discord.com/api/webhooks/<id>/<token>.",
        "webhook {id}",
        "discord://{id}/{token}/?avatar=no&footer=no&fields=no",
        "commerce/chat/discord.md",
        _escape_markdown,
        "text",
    ),
    "slack": ChatService(
        SLACK,
        "A Slack address is an incoming webhook's URL, as https://hooks.slack.com/services/T…/B…/….",
        "webhook {team}/{app}",
        "slack://{team}/{app}/{token}/?image=no&footer=no&timestamp=no",
        "commerce/chat/slack.md",
        _escape_slack,
        "text",
    ),
}


def label(channel: str, address: str) -> str:
    """Return an address without its token. Raises Problem 400 with words for the customer."""
    if channel == "email":
        if not settings.EMAIL_URL:
            raise Problem(400, "bad_address", "This hub sends no e-mail, so no address can be used.")
        if not EMAIL.fullmatch(address):
            raise Problem(400, "bad_address", "That is not an e-mail address.")
        return address
    service = SERVICES[channel]
    found = service.form.fullmatch(address)
    if not found:
        raise Problem(400, "bad_address", service.expects)
    return service.label.format(**found.groupdict())


def send_text(
    endpoint: Endpoint, address: str, signal: TradingSignal | None, event: OutcomeEvent | None = None
) -> AttemptResult:
    """Send a signal, or what became of it, or a test where there is none.

    Services report success or failure and no more.
    """
    started = time.monotonic()
    if endpoint.channel == "email":
        accepted = _mail(endpoint, address, signal, event)
    else:
        service = SERVICES[endpoint.channel]
        accepted = _notify(service, address, render(service.template, service.escape, signal, event))
    duration_ms = round((time.monotonic() - started) * 1000)
    if accepted:
        return AttemptResult(200, duration_ms=duration_ms)
    return AttemptResult(0, "the service did not accept it", duration_ms=duration_ms)


def _notify(service: ChatService, address: str, text: str) -> bool:
    import apprise  # which a hub without chats need not hold

    found = service.form.fullmatch(address)
    plugin: Any = found and apprise.Apprise.instantiate(service.apprise_url.format(**found.groupdict()))
    if not plugin:
        return False
    # When a service asks it to slow down, apprise would sleep longer than a claim lasts; the retry schedule
    # waits instead.
    plugin.throttle = lambda *_, **__: None
    sender = apprise.Apprise()
    sender.add(plugin)
    return bool(sender.notify(text, body_format=service.body_format))


def _mail(endpoint: Endpoint, address: str, signal: TradingSignal | None, event: OutcomeEvent | None) -> bool:
    if not settings.EMAIL_URL:
        return False  # Django's backend would report success without a server
    text = render("commerce/chat/email.txt", str, signal, event)
    headers = {}
    if settings.PUBLIC_ORIGIN:
        token = signing.dumps(endpoint.public_id, salt=UNSUBSCRIBE_SALT)
        link = settings.PUBLIC_ORIGIN + reverse("shop:unsubscribe", args=[token])
        text += f"\n\nUnsubscribe: {link}"
        headers = {  # a mail program's own button (RFC 8058)
            "List-Unsubscribe": f"<{link}>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        }
    message = EmailMessage(
        _subject(signal, event), text, settings.DEFAULT_FROM_EMAIL, [address], headers=headers
    )
    try:
        return bool(message.send())
    except (OSError, UnicodeError):  # the latter where no host can have such a name
        return False


def _subject(signal: TradingSignal | None, event: OutcomeEvent | None = None) -> str:
    if signal is None:
        return "A test of your Signal Hub endpoint"
    mark = f"[{signal.simulation}] " if signal.simulation else ""
    what = f"{OUTCOME_OF if event else ''}{signal.action}"
    return " ".join(f"{mark}{what} {signal.instrument or signal.symbol}".split())


def render(
    template: str,
    escape: Callable[[str], str],
    signal: TradingSignal | None,
    event: OutcomeEvent | None = None,
) -> str:
    """Return a message's text; every text of the signal goes through `escape`."""
    texts = _texts(signal, event) if signal else {}
    context = {"signal": {name: escape(text) for name, text in texts.items()}}
    lines = render_to_string(template, context).splitlines()
    return "\n".join(line.strip() for line in lines if line.strip())


def _texts(signal: TradingSignal, event: OutcomeEvent | None) -> dict[str, str]:
    texts = {
        "action": signal.action,
        "effect": _effect(signal),
        "name": signal.instrument or signal.symbol,
        "mark": signal.simulation,
        "ecosystem": signal.ecosystem,
        "entry": decimal_text(signal.entry_price) or "",
        "stop": decimal_text(signal.stop_loss) or "",
        "target": decimal_text(signal.take_profit) or "",
        "confidence": "" if signal.confidence is None else f"{signal.confidence:.0%}",
        "agent": " ".join(signal.agent_source.split()),
        "time": f"{signal.timestamp:%Y-%m-%d %H:%M} UTC",
    }
    if event:  # whose message does not repeat the call's own prices
        texts |= dict.fromkeys(("entry", "stop", "target", "confidence"), "")
        texts |= {"action": f"{OUTCOME_OF}{signal.action}", "effect": _became(event)}
    return texts


def _effect(signal: TradingSignal) -> str:
    """Return what a signal does to earlier calls, in words; empty for a call of its own."""
    if signal.refers_to is None:
        return "Closes all open calls of this agent" if signal.action == "CLOSE" else ""
    if signal.action == "CLOSE":
        return f"Closes call {signal.refers_to}"
    verb = "Refers to" if signal.action == "HOLD" else "Changes stop and target of"
    return f"{verb} call {signal.refers_to}"


def _became(event: OutcomeEvent) -> str:
    if not event.exit_reason:
        return event.state.capitalize()
    gain = f", {float(event.r_multiple):+.2f} R" if event.r_multiple is not None else ""
    entry, left = decimal_text(event.entry_price), decimal_text(event.exit_price)
    return f"Closed by {event.exit_reason}: {entry} to {left}{gain}"

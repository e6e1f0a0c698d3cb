"""The texts of notifications."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby

from django.template.defaultfilters import pluralize

from aggregator.alerts.rules import AlertChange, format_duration
from aggregator.models import Alert

MAX_LINES = 20
"""Lines of a kind in one message: chat services truncate long ones."""

# Chat services notify people for these, wherever they stand in a text.
MENTIONS = re.compile(r"@(?=everyone|here|channel|all)|<(?=[@!#])", re.IGNORECASE)

# https://support.discord.com/hc/en-us/articles/210298617
MARKUP = re.compile(r"[\\*_~`|\[\]<>#]")

RULES = dict(Alert.RULES)
KIND_WORDS = {"fired": "new", "repeated": "still open", "resolved": "resolved", "open": "open"}
"""How the kind of a change is called in a message."""


@dataclass(frozen=True)
class Notification:
    """A message. The severity is one of Apprise's: info, success, warning, failure."""

    severity: str
    title: str
    body: str


def without_mentions(text: str) -> str:
    """Return the text with nothing in it that calls people: agents choose their names themselves."""
    return MENTIONS.sub(lambda match: match[0] + "\u200b", text)


def as_markdown(text: str) -> str:
    """Return the text for a service that reads every text as Markdown, with its markup escaped."""
    return MARKUP.sub(r"\\\g<0>", without_mentions(text))


def as_retry(notification: Notification, at: datetime) -> Notification:
    """Return a notification of `at` for a further attempt, which may be the second to arrive."""
    note = f"From {at:%Y-%m-%d %H:%M} UTC: sending this failed or was interrupted."
    return replace(notification, body=f"{notification.body}\n{note}")


def of_changes(changes: Sequence[AlertChange]) -> Notification:
    """Return one message about changes, those of a kind together."""
    kinds = Counter(each.kind for each in changes)
    title = ", ".join(f"{count} {KIND_WORDS[kind]}" for kind, count in kinds.items())
    if len(changes) == 1:
        [only] = changes
        title = _subject(only) if only.kind == "fired" else f"{KIND_WORDS[only.kind]}: {_subject(only)}"
    lines = [line for _, alerts in groupby(changes, lambda each: each.kind) for line in _lines([*alerts])]
    severity = "failure" if "fired" in kinds else "warning" if "repeated" in kinds else "success"
    return Notification(severity, f"Signal Hub: {title}", "\n".join(lines))


def _lines(alerts: Sequence[AlertChange]) -> list[str]:
    """Return a line for each alert of a kind, up to MAX_LINES."""
    lines = []
    for alert in alerts[:MAX_LINES]:
        duration = format_duration(alert.duration)
        match alert.kind:
            case "repeated":
                said = f", for {duration}: {alert.text}"
            case "resolved":
                said = f", after {duration}"
            case _:
                said = f": {alert.text}"
        lines.append(f"{KIND_WORDS[alert.kind].upper()} {_subject(alert)}{said}")
    if len(alerts) > MAX_LINES:
        lines.append(f"{KIND_WORDS[alerts[0].kind].upper()}: {len(alerts) - MAX_LINES} more, see the admin")
    return lines


def _subject(alert: AlertChange) -> str:
    return f"{RULES.get(alert.rule, alert.rule)}: {alert.subject}"


def all_clear(alerts: Sequence[AlertChange], arrivals: Sequence[tuple[str, int, int]]) -> Notification:
    """Return the daily message.

    `alerts` are the open ones, `arrivals` are (ecosystem, signals, agents) of the last day.
    """
    lines = [
        f"{ecosystem}: {signals:,} signal{pluralize(signals)} from {agents} agent{pluralize(agents)} in 24 h"
        for ecosystem, signals, agents in arrivals
    ]
    body = "\n".join([*(lines or ["No signal in 24 h."]), *_lines(alerts)])
    if not alerts:
        return Notification("success", "Signal Hub: all clear", body)
    count = f"{len(alerts)} alert{pluralize(len(alerts))}"
    return Notification("warning", f"Signal Hub: {count} open", body)


DATABASE_DOWN = Notification(
    "failure",
    "Signal Hub: the core database does not answer",
    "Webhook requests get a 503 and stream entries wait; no signals are lost.",
)
DATABASE_BACK = Notification(
    "success",
    "Signal Hub: resolved: the core database answers again",
    "Nothing needs to be done: the hub continues by itself.",
)

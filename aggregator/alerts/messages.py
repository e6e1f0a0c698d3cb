"""The texts of notifications."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from django.template.defaultfilters import pluralize

from aggregator.alerts.rules import AlertChange, Transitions, format_duration
from aggregator.models import Alert

MAX_LINES = 20
"""Lines of a kind in one message: chat services truncate long ones."""

# Chat services notify people for these, wherever they stand in a text.
MENTIONS = re.compile(r"@(?=everyone|here|channel|all)|<(?=[@!#])", re.IGNORECASE)

# https://support.discord.com/hc/en-us/articles/210298617
MARKUP = re.compile(r"[\\*_~`|\[\]<>#]")

RULES = dict(Alert.RULES)


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


def of_transitions(transitions: Transitions, now: datetime) -> Notification:
    """Return one message about all transitions."""
    kinds = {"new": transitions.fired, "still open": transitions.repeated, "resolved": transitions.resolved}
    title = _subject_of_one(kinds) or ", ".join(f"{len(each)} {word}" for word, each in kinds.items() if each)
    lines = [line for word, alerts in kinds.items() for line in _lines(word.upper(), alerts, now)]
    severity = "failure" if transitions.fired else "warning" if transitions.repeated else "success"
    return Notification(severity, f"Signal Hub: {title}", "\n".join(lines))


def _subject_of_one(kinds: dict[str, list[AlertChange]]) -> str:
    """Return the title where there is one transition only, else ""."""
    words = [(word, alert) for word, alerts in kinds.items() for alert in alerts]
    if len(words) != 1:
        return ""
    word, alert = words[0]
    return f"{'' if word == 'new' else f'{word}: '}{_subject(alert)}"


def _lines(word: str, alerts: Sequence[AlertChange], now: datetime) -> list[str]:
    lines = []
    for alert in alerts[:MAX_LINES]:
        duration = format_duration(now - alert.since)
        match word:
            case "NEW":
                lines.append(f"NEW {_subject(alert)}: {alert.text}")
            case "RESOLVED":
                lines.append(f"RESOLVED {_subject(alert)}, after {duration}")
            case _:
                lines.append(f"{word} {_subject(alert)}, for {duration}: {alert.text}")
    if len(alerts) > MAX_LINES:
        lines.append(f"{word}: {len(alerts) - MAX_LINES} more, see the admin")
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
    lines = lines or ["No signal in 24 h."]
    if not alerts:
        return Notification("success", "Signal Hub: all clear", "\n".join(lines))
    lines += [f"OPEN {_subject(alert)}: {alert.text}" for alert in alerts[:MAX_LINES]]
    if len(alerts) > MAX_LINES:
        lines.append(f"OPEN: {len(alerts) - MAX_LINES} more, see the admin")
    count = f"{len(alerts)} alert{pluralize(len(alerts))}"
    return Notification("warning", f"Signal Hub: {count} open", "\n".join(lines))


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

"""What the operator reads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from django.template.defaultfilters import pluralize

from aggregator.alerts.rules import spoken
from aggregator.models import Alert

if TYPE_CHECKING:
    from aggregator.alerts.transitions import ChangedAlert, Transitions

MOST_LINES = 20
"""Lines of a kind in one message: chat services cut long ones, and nobody reads them."""

# What chat services take for a call to everybody, or to somebody, wherever it stands in a text.
CALLS = re.compile(r"@(?=everyone|here|channel|all)|<(?=[@!#])", re.IGNORECASE)

# https://support.discord.com/hc/en-us/articles/210298617
MARKUP = re.compile(r"[\\*_~`|\[\]<>#]")

RULES = dict(Alert.RULES)


@dataclass(frozen=True)
class Notification:
    """A message. The severity is one of apprise's: info, success, warning, failure."""

    severity: str
    title: str
    body: str


def plain(text: str) -> str:
    """Return the text with nothing in it that calls people: agents choose their names themselves."""
    return CALLS.sub(lambda match: match[0] + "\u200b", text)


def literal(text: str) -> str:
    """Return the text for a service that takes every text for Markdown: it shows what `plain` returns."""
    return MARKUP.sub(r"\\\g<0>", plain(text))


def again(notice: Notification, at: datetime) -> Notification:
    """Return what is said when a notice of `at` was not sent then, or nobody knows."""
    return replace(
        notice, body=f"{notice.body}\nFrom {at:%Y-%m-%d %H:%M} UTC: sending this failed then, or was cut off."
    )


def of_changes(changes: Transitions, now: datetime) -> Notification:
    """Return one message about all that changed."""
    counts = {"new": changes.fired, "going on": changes.repeated, "over": changes.over}
    told = ", ".join(f"{len(alerts)} {word}" for word, alerts in counts.items() if alerts)
    lines = [
        *_lines("NEW", changes.fired, now),
        *_lines("STILL", changes.repeated, now),
        *_lines("OVER", changes.over, now),
    ]
    severity = "failure" if changes.fired else "warning" if changes.repeated else "success"
    return Notification(severity, f"Signal Hub: {_headline(changes) or told}", "\n".join(lines))


def _headline(changes: Transitions) -> str:
    """Return what it is about, where it is about one thing."""
    alerts = [*changes.fired, *changes.repeated, *changes.over]
    if len(alerts) != 1:
        return ""
    word = "over: " if changes.over else "still: " if changes.repeated else ""
    return f"{word}{RULES.get(alerts[0].rule, alerts[0].rule)}: {alerts[0].subject}"


def _lines(word: str, alerts: Sequence[ChangedAlert], now: datetime) -> list[str]:
    lines = []
    for alert in alerts[:MOST_LINES]:
        subject = f"{RULES.get(alert.rule, alert.rule)}: {alert.subject}"
        lasted = spoken(now - alert.since)
        match word:
            case "NEW":
                lines.append(f"NEW {subject}: {alert.text}")
            case "STILL":
                lines.append(f"STILL {subject}, for {lasted}: {alert.text}")
            case _:
                lines.append(f"OVER {subject}, after {lasted}")
    if len(alerts) > MOST_LINES:
        lines.append(f"{word}: {len(alerts) - MOST_LINES} more, in the admin")
    return lines


def all_clear(
    alerts: Sequence[tuple[str, str, str]], arrivals: Sequence[tuple[str, int, int]]
) -> Notification:
    """Return the daily message: `alerts` are (rule, subject, text) of the open ones, `arrivals` are
    (ecosystem, signals, agents) of the last day.
    """
    lines = [
        f"{ecosystem}: {signals} signal{pluralize(signals)} of {agents} agent{pluralize(agents)} in 24 h"
        for ecosystem, signals, agents in arrivals
    ]
    lines = lines or ["No signal in 24 h."]
    if not alerts:
        return Notification("success", "Signal Hub: all clear", "\n".join(lines))
    lines += [
        f"OPEN {RULES.get(rule, rule)}: {subject}: {text}" for rule, subject, text in alerts[:MOST_LINES]
    ]
    if len(alerts) > MOST_LINES:
        lines.append(f"OPEN: {len(alerts) - MOST_LINES} more, in the admin")
    count = "1 alert" if len(alerts) == 1 else f"{len(alerts)} alerts"
    return Notification("warning", f"Signal Hub: {count} open", "\n".join(lines))


DATABASE_DOWN = Notification(
    "failure",
    "Signal Hub: the core database does not answer",
    "Webhook requests are answered 503 and stream entries wait; nothing is lost meanwhile.",
)
DATABASE_BACK = Notification(
    "success", "Signal Hub: over: the core database answers again", "The hub goes on by itself."
)

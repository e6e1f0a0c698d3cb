"""One turn of the alerts: what was found meets what is on record.

Every change is a conditional UPDATE or an INSERT under a unique constraint, and the notices are written in
the same transaction: whichever of several workers makes the change also writes the notice, and no other.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction

from aggregator.alerts import messages
from aggregator.alerts.rules import Condition, Conditions

HOLD = timedelta(seconds=40)
"""For how long a probe or a stream must be bad before anybody is told: longer than a restart takes."""
HELD = ("check_failed", "stream_lag")
GRACE = timedelta(seconds=60)
"""How long after it was found last something is over: another worker may have looked a little earlier."""

# Turns of several workers would only repeat one another, and deadlock.
ENTER = "SELECT repeat_hours FROM alert_policy WHERE id = 1 FOR UPDATE SKIP LOCKED"

FOUND = """
    INSERT INTO alerts (rule, subject, text, since, found_at, notifications)
    SELECT rule, subject, text, now(), now(), 0
    FROM unnest(%s::text[], %s::text[], %s::text[]) AS found (rule, subject, text)
    ON CONFLICT (rule, subject) WHERE resolved_at IS NULL
        DO UPDATE SET found_at = excluded.found_at, text = excluded.text"""

GOES_ON = """
    UPDATE alerts SET found_at = now(), text = found.text
    FROM unnest(%s::text[], %s::text[], %s::text[]) AS found (rule, subject, text)
    WHERE resolved_at IS NULL AND alerts.rule = found.rule AND alerts.subject = found.subject"""

BLIND = "UPDATE alerts SET found_at = now() WHERE resolved_at IS NULL AND rule = ANY (%s)"

ROW = "RETURNING rule, subject, text, since, notifications"

FIRE = f"""
    UPDATE alerts SET fired_at = now(), notifications = 1,
        repeat_at = now() + make_interval(hours => %(first)s)
    WHERE resolved_at IS NULL AND fired_at IS NULL AND found_at = now()
        AND (rule <> ALL (%(held)s) OR since <= now() - %(hold)s) {ROW}"""

REPEAT = f"""
    UPDATE alerts SET notifications = notifications + 1,
        repeat_at = now() + make_interval(hours => (%(hours)s::int[])[least(notifications + 1, %(steps)s)])
    WHERE resolved_at IS NULL AND fired_at IS NOT NULL AND repeat_at <= now() AND (rule, subject) IN (
        SELECT * FROM unnest(%(rules)s::text[], %(subjects)s::text[])) {ROW}"""

END = f"""
    UPDATE alerts SET resolved_at = now()
    WHERE resolved_at IS NULL AND fired_at IS NOT NULL AND found_at < now() - %(grace)s {ROW}"""

FORGET = """
    DELETE FROM alerts WHERE resolved_at IS NULL AND fired_at IS NULL AND found_at < now() - %(grace)s"""

TELL = """
    INSERT INTO alert_notifications (channel_id, severity, title, body, created_at, due_at, attempts)
    SELECT id, %s, %s, %s, now(), now(), 0 FROM alert_channels WHERE enabled ORDER BY id"""


@dataclass(frozen=True)
class ChangedAlert:
    """An alert that this turn has changed."""

    rule: str
    subject: str
    text: str
    since: datetime
    notifications: int


@dataclass(frozen=True)
class Transitions:
    fired: list[ChangedAlert]
    repeated: list[ChangedAlert]
    over: list[ChangedAlert]

    def __bool__(self) -> bool:
        return bool(self.fired or self.repeated or self.over)


def record_conditions(found: Conditions) -> Transitions | None:
    """Bring the record up to what was found, and write notices of the changes.

    Returns None where another worker is taking its turn just now.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(ENTER)
        entered = cursor.fetchone()
        if entered is None:
            return None
        changes = _book(cursor, found, entered[0] or [24])
        if changes:
            cursor.execute("SELECT now()")
            create_notifications(cursor, messages.of_changes(changes, cursor.fetchone()[0]))
    return changes


def create_notifications(cursor: Any, notice: messages.Notification) -> None:
    """Write a notice for every channel, in the caller's transaction."""
    cursor.execute(TELL, [notice.severity, notice.title, notice.body])


def _book(cursor: Any, found: Conditions, hours: list[int]) -> Transitions:
    told = _columns(each for each in found.findings if not each.rests)
    values: dict[str, Any] = {
        "first": hours[0],
        "hours": hours,
        "steps": len(hours),
        "held": list(HELD),
        "hold": HOLD,
        "grace": GRACE,
        "rules": told[0],
        "subjects": told[1],
    }
    cursor.execute(FOUND, told)
    cursor.execute(GOES_ON, _columns(each for each in found.findings if each.rests))
    cursor.execute(BLIND, [list(found.blind)])
    changes = Transitions(*(_changed(cursor, query, values) for query in (FIRE, REPEAT, END)))
    cursor.execute(FORGET, values)
    return changes


def _columns(findings: Iterable[Condition]) -> list[list[str]]:
    """Return rules, subjects and texts, each pair of rule and subject once."""
    texts = {(each.rule, each.subject): each.text for each in findings}
    ordered = sorted(texts)
    return [
        [rule for rule, _ in ordered],
        [subject for _, subject in ordered],
        [texts[key] for key in ordered],
    ]


def _changed(cursor: Any, query: str, values: dict[str, Any]) -> list[ChangedAlert]:
    cursor.execute(query, values)
    return [ChangedAlert(*row) for row in sorted(cursor.fetchall())]

"""Which alerts fire, repeat and resolve: the conditions just found meet the alerts on record.

Every transition is a conditional UPDATE or an INSERT under a unique constraint, and its notifications are
written in the same transaction: of several workers only the one that makes the transition writes them.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.db import connection, transaction

from aggregator.alerts import messages
from aggregator.alerts.rules import AlertChange, Condition, Conditions

HOLD = timedelta(seconds=40)
"""How long a check or a stream must be bad before its alert fires: longer than a restart takes."""
HELD_RULES = ("check_failed", "stream_lag")
GRACE = timedelta(seconds=60)
"""How long after a condition was last found its alert resolves: another worker may have looked earlier."""

# Workers that evaluate at once would only repeat one another, and deadlock.
LOCK_POLICY = "SELECT repeat_hours FROM alert_policy WHERE id = 1 FOR UPDATE SKIP LOCKED"

SAVE_FOUND = """
    INSERT INTO alerts (rule, subject, text, since, found_at, notifications)
    SELECT rule, subject, text, now(), now(), 0
    FROM unnest(%s::text[], %s::text[], %s::text[]) AS found (rule, subject, text)
    ON CONFLICT (rule, subject) WHERE resolved_at IS NULL
        DO UPDATE SET found_at = excluded.found_at, text = excluded.text"""

SAVE_PAUSED = """
    UPDATE alerts SET found_at = now(), text = found.text
    FROM unnest(%s::text[], %s::text[], %s::text[]) AS found (rule, subject, text)
    WHERE resolved_at IS NULL AND alerts.rule = found.rule AND alerts.subject = found.subject"""

KEEP_UNKNOWN = "UPDATE alerts SET found_at = now() WHERE resolved_at IS NULL AND rule = ANY (%s)"

CHANGED = "RETURNING rule, subject, text, now() - since"

FIRE = f"""
    UPDATE alerts SET fired_at = now(), notifications = 1,
        repeat_at = now() + make_interval(hours => %(first)s)
    WHERE resolved_at IS NULL AND fired_at IS NULL AND found_at = now()
        AND (rule <> ALL (%(held)s) OR since <= now() - %(hold)s) {CHANGED}"""

REPEAT = f"""
    UPDATE alerts SET notifications = notifications + 1,
        repeat_at = now() + make_interval(hours => (%(hours)s::int[])[least(notifications + 1, %(steps)s)])
    WHERE resolved_at IS NULL AND fired_at IS NOT NULL AND repeat_at <= now() AND (rule, subject) IN (
        SELECT * FROM unnest(%(rules)s::text[], %(subjects)s::text[])) {CHANGED}"""

RESOLVE = f"""
    UPDATE alerts SET resolved_at = now()
    WHERE resolved_at IS NULL AND fired_at IS NOT NULL AND found_at < now() - %(grace)s {CHANGED}"""

DELETE_UNFIRED = """
    DELETE FROM alerts WHERE resolved_at IS NULL AND fired_at IS NULL AND found_at < now() - %(grace)s"""

NOTIFY = """
    INSERT INTO alert_notifications (channel_id, severity, title, body, created_at, due_at, attempts)
    SELECT id, %s, %s, %s, now(), now(), 0 FROM alert_channels WHERE enabled ORDER BY id"""


def record_conditions(conditions: Conditions) -> list[AlertChange] | None:
    """Bring the alerts up to the conditions, write notifications of the transitions and return these.

    They are in the order fired, repeated, resolved. Returns None while another worker does the same.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(LOCK_POLICY)
        locked = cursor.fetchone()
        if locked is None:
            return None
        changes = _update(cursor, conditions, locked[0] or [24])
        if changes:
            create_notifications(cursor, messages.of_changes(changes))
    return changes


def create_notifications(cursor: Any, notification: messages.Notification) -> None:
    """Write a notification for every channel, in the caller's transaction."""
    cursor.execute(NOTIFY, [notification.severity, notification.title, notification.body])


def _update(cursor: Any, conditions: Conditions, hours: list[int]) -> list[AlertChange]:
    active = _columns(each for each in conditions.found if not each.is_paused)
    values: dict[str, Any] = {
        "first": hours[0],
        "hours": hours,
        "steps": len(hours),
        "held": list(HELD_RULES),
        "hold": HOLD,
        "grace": GRACE,
        "rules": active[0],
        "subjects": active[1],
    }
    cursor.execute(SAVE_FOUND, active)
    cursor.execute(SAVE_PAUSED, _columns(each for each in conditions.found if each.is_paused))
    cursor.execute(KEEP_UNKNOWN, [list(conditions.unknown_rules)])
    changes = []
    for kind, query in (("fired", FIRE), ("repeated", REPEAT), ("resolved", RESOLVE)):
        cursor.execute(query, values)
        changes += [AlertChange(kind, *row) for row in sorted(cursor.fetchall())]
    cursor.execute(DELETE_UNFIRED, values)
    return changes


def _columns(conditions: Iterable[Condition]) -> list[list[str]]:
    """Return rules, subjects and texts, each pair of rule and subject once."""
    texts = {(each.rule, each.subject): each.text for each in conditions}
    ordered = sorted(texts)
    return [[rule for rule, _ in ordered], [subject for _, subject in ordered], [texts[k] for k in ordered]]

"""The loop that evaluates the alert rules and sends what is due. Any number of processes may run it.

Not a task of Celery's: those stop with the broker, with beat and with the workers, which it has to report.
"""

import logging
import time
from collections.abc import Sequence

from django.db import DEFAULT_DB_ALIAS, Error, connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from aggregator.alerts import delivery, messages, rules, transitions
from aggregator.background import BackgroundValue, NotReady
from aggregator.health.checks import Status
from aggregator.health.database_checks import DatabaseCheck
from aggregator.health.runner import check_runner
from aggregator.ledger import errors
from aggregator.models import Alert, AlertPolicy
from aggregator.worker import Loop

logger = logging.getLogger("signal_hub.alerts")

EVALUATION_TIMEOUT_S = 15.0
"""How long an evaluation may take before the database is asked whether it still answers."""
CLOSE_TIMEOUT_S = 30.0
REPEAT_INTERVAL_S = 3600.0
HOLD_S = 40.0
"""How long the database must be down before anything is sent: longer than a restart takes."""

CLAIM_ALL_CLEAR = """
    UPDATE alert_policy SET all_clear_on = (now() AT TIME ZONE 'UTC')::date
    WHERE id = 1 AND (now() AT TIME ZONE 'UTC')::time >= all_clear_at
        AND (all_clear_on IS NULL OR all_clear_on < (now() AT TIME ZONE 'UTC')::date)
    RETURNING 1"""

LAST_DAY = """
    SELECT ecosystem, sum(accepted)::bigint, count(DISTINCT agent_source) FROM arrival_hours
    WHERE hour > now() - interval '24 hours' AND accepted > 0 GROUP BY ecosystem ORDER BY ecosystem"""


class DatabaseOutage:
    """Notifies that the core database itself is down, which cannot be recorded in the database.

    Each process does so by itself, so that several which watch one hub send it several times: nothing that
    they could use to agree is sure to work during an outage. For one thread.
    """

    def __init__(self) -> None:
        self._since: float | None = None
        self._sent_at = float("-inf")
        self._is_announced = False

    def continues(self, targets: Sequence[delivery.ChannelTarget]) -> None:
        """Note that the database is down; notify once it has been for HOLD_S, and every REPEAT_INTERVAL_S."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        if targets and now - self._since >= HOLD_S and now - self._sent_at >= REPEAT_INTERVAL_S:
            self._sent_at, self._is_announced = now, True
            delivery.broadcast(targets, messages.DATABASE_DOWN)

    def is_over(self, targets: Sequence[delivery.ChannelTarget]) -> None:
        """Note that the database answers; notify if this process had announced that it did not."""
        self._since = None
        if self._is_announced:
            self._is_announced = False
            delivery.broadcast(targets, messages.DATABASE_BACK)


class AlertWatcher(Loop):
    """Evaluates the rules in a thread of its own, which hangs with a database that hangs. For one thread."""

    idle_interval_s = 15.0

    def __init__(self) -> None:
        self._outage = DatabaseOutage()
        self._targets: list[delivery.ChannelTarget] = []
        self._sender = delivery.NotificationSender()
        self._database = DatabaseCheck(DEFAULT_DB_ALIAS)
        self._evaluation = BackgroundValue(self._evaluate, fresh_s=0.0, timeout_s=EVALUATION_TIMEOUT_S)

    def run_once(self, *, wait: bool = False) -> int:  # noqa: ARG002 - there is nothing to wait for
        """Evaluate the rules once; return how many alerts fired, repeated or resolved.

        An evaluation that hangs is left to itself, and the next call comes back to it. That the database is
        away is no error: the operator is notified of it.
        """
        try:
            changed = self._evaluation.get()
        except NotReady:
            if self._database.result().status is not Status.OK:
                self._outage.continues(self._targets)
            return 0
        except Error as error:
            if not errors.is_outage(error):
                raise
            self._outage.continues(self._targets)
            return 0
        self._outage.is_over(self._targets)
        return changed

    def close(self) -> None:
        """Wait for what is being evaluated and sent."""
        self._evaluation.join(CLOSE_TIMEOUT_S)
        self._sender.close()

    def _evaluate(self) -> int:
        policy = AlertPolicy.current()
        self._targets = delivery.usable_targets()
        changes = transitions.record_conditions(rules.evaluate(policy, check_runner().run_all()))
        for each in changes or ():
            logger.warning("alert %s rule=%s subject=%s: %s", each.kind, each.rule, each.subject, each.text)
        create_all_clear()
        self._sender.send_due()
        return len(changes or ())


def create_all_clear() -> None:
    """Write the daily all-clear if it is due and no other worker has written it."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(CLAIM_ALL_CLEAR)
        if cursor.fetchone() is None:
            return
        open_alerts = Alert.objects.filter(resolved_at=None).exclude(fired_at=None).order_by("since", "id")
        rows = open_alerts.values_list("rule", "subject", "text", Now() - F("since"))
        cursor.execute(LAST_DAY)
        message = messages.all_clear([rules.AlertChange("open", *row) for row in rows], cursor.fetchall())
        transitions.create_notifications(cursor, message)

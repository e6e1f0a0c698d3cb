"""The loop that looks for what is wrong and alerts the operator. Any number may run.

Not a task of Celery's: those stop with the broker, with beat and with the workers, which it has to report.
"""

import asyncio
import logging
from concurrent.futures import Future, wait
from datetime import datetime

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, Error, connection, connections, transaction

from aggregator.alerts import delivery, messages, rules, transitions
from aggregator.alerts.database_outage import Blackout
from aggregator.background import DAEMONS
from aggregator.health.checks import Status
from aggregator.health.database_checks import DatabaseCheck
from aggregator.health.runner import check_runner
from aggregator.ledger import errors
from aggregator.models import Alert, AlertPolicy
from aggregator.worker import Loop

logger = logging.getLogger("signal_hub.alerts")

PATIENCE_S = 5.0
"""How long a look may take before the database is asked whether it still answers."""

ALL_CLEAR = """
    UPDATE alert_policy SET all_clear_on = (now() AT TIME ZONE 'UTC')::date
    WHERE id = 1 AND (now() AT TIME ZONE 'UTC')::time >= all_clear_at
        AND (all_clear_on IS NULL OR all_clear_on < (now() AT TIME ZONE 'UTC')::date)
    RETURNING now()"""

DAY = """
    SELECT ecosystem, sum(accepted)::bigint, count(DISTINCT agent_source) FROM arrival_hours
    WHERE hour > now() - interval '24 hours' AND accepted > 0 GROUP BY ecosystem ORDER BY ecosystem"""


class AlertWatcher(Loop):
    """One watcher. Not for several threads."""

    idle_interval_s = 15.0

    def __init__(self) -> None:
        self._blackout = Blackout(settings.ENVIRONMENT)
        self._targets: list[delivery.Target] = []
        self._sender = delivery.NotificationSender()
        self._database = DatabaseCheck(DEFAULT_DB_ALIAS)
        self._looking: Future[transitions.Transitions | None] | None = None

    def run_once(self, *, wait: bool = False) -> int:  # noqa: ARG002 - there is nothing to wait for
        """Look once; return 0, since nothing is left to do until the next look is due."""
        self.look()
        return 0

    def look(self) -> transitions.Transitions | None:
        """Look once, keep the book, send what is due; return what changed, None where others were at it.

        A look hangs with a database that neither answers nor hangs up. It is left then, in a thread of its
        own, and the next turn comes back to it.
        """
        self._looking = self._looking or DAEMONS.submit(self._look_apart)
        while not wait([self._looking], PATIENCE_S).done:
            if not self._database_answers():
                self._blackout.goes_on(self._targets)
                return None
        looked, self._looking = self._looking, None
        try:
            changes = looked.result()
        except Error as error:
            if not errors.is_outage(error):
                raise
            self._blackout.goes_on(self._targets)
            return None
        self._blackout.is_over(self._targets)
        return changes

    def close(self) -> None:
        """Wait for the notices under way."""
        self._sender.close()

    def _database_answers(self) -> bool:
        return asyncio.run(self._database.outcome()).state is Status.OK

    def _look_apart(self) -> transitions.Transitions | None:
        try:
            return self._look()
        finally:
            connections.close_all()  # this thread's own; it ends here

    def _look(self) -> transitions.Transitions | None:
        policy = AlertPolicy.current()
        self._targets = delivery.targets()
        changes = transitions.record_conditions(rules.evaluate(policy, check_runner().ask_all()))
        if changes:
            _log(changes)
        _all_clear()
        self._sender.send_due()
        return changes


def _claimed(query: str) -> datetime | None:
    """Run a conditional UPDATE of the policy; return when, if this worker is the one that changed it."""
    with connection.cursor() as cursor:
        cursor.execute(query)
        row = cursor.fetchone()
    return row[0] if row else None


def _all_clear() -> None:
    """Write the daily notice, once a day among all workers."""
    with transaction.atomic():
        if not _claimed(ALL_CLEAR):
            return
        alerts = Alert.objects.filter(resolved_at=None).exclude(fired_at=None).order_by("since", "id")
        with connection.cursor() as cursor:
            cursor.execute(DAY)
            arrivals = cursor.fetchall()
            transitions.create_notifications(
                cursor, messages.all_clear(list(alerts.values_list("rule", "subject", "text")), arrivals)
            )


def _log(changes: transitions.Transitions) -> None:
    for word, alerts in (("fired", changes.fired), ("goes on", changes.repeated), ("over", changes.over)):
        for alert in alerts:
            logger.warning("alert %s rule=%s subject=%s: %s", word, alert.rule, alert.subject, alert.text)

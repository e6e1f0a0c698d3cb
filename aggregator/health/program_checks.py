"""Checks of the hub's own parts: its workers, public address, disk and alert channels."""

import shutil
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import requests
from django.db import connections
from django.template.defaultfilters import pluralize

from aggregator import worker_states
from aggregator.health.checks import NOT_CONFIGURED, Check, Degraded, Failed, Status
from aggregator.health.database_checks import DatabaseDependentCheck
from aggregator.ledger.inserted_rows import longest_wait_s
from aggregator.models import AlertChannel

ALIVE_S = 45.0
"""A loop that no worker has reported for longer is silent. Workers report it every ten seconds."""
STALLED_S = 120.0
"""A loop that did no batch for longer hangs, or waits for an outage to end."""
MAX_WAIT_S = 60.0
"""Rows that agents insert are recorded within a second."""
START_A_WORKER = "start manage.py run_worker, or a Celery worker"
GIB = 1 << 30


class WorkerCheck(DatabaseDependentCheck):
    """Fails when a loop is hosted no more, degrades when one crashes or stalls.

    A loop is expected once a worker has hosted it: a hub may run some loops only, or none yet. One that
    records a database's inserted rows is expected as soon as a row waits for it.
    """

    name = "workers"

    def __init__(self, loops: Sequence[str]) -> None:
        super().__init__()
        self.loops = loops

    def run(self) -> tuple[str, str]:
        seen = worker_states.read_states(self.loops)
        hosted = {each.loop for each in seen}
        if any(
            f"databases:{each}" not in hosted and longest_wait_s(each) > MAX_WAIT_S for each in connections
        ):
            raise Failed("none records inserted rows", START_A_WORKER)
        if not seen:
            return "none seen", START_A_WORKER
        latest = [next(states) for _, states in groupby(seen, lambda each: each.loop)]
        silent = [
            f"{each.loop} last seen {each.age_s:.0f} s ago on {each.worker}; if no longer used,"
            f" DELETE FROM worker_loops WHERE loop = '{each.loop}'"
            for each in latest
            if each.age_s > ALIVE_S
        ]
        if silent:
            raise Failed("silent", "; ".join(silent))
        alive = [each for each in seen if each.age_s <= ALIVE_S]
        crashed = [
            f"{each.loop} of {each.worker} crashed {each.crashes} times"
            f"{f' ({each.problem})' if each.problem else ''}: restarting"
            for each in alive
            if each.crashes
        ]
        if crashed:
            raise Degraded("crashing", "; ".join(crashed))
        stalled = [
            f"{each.loop} of {each.worker} did nothing for {each.ok_age_s:.0f} s {each.problem}".rstrip()
            for each in alive
            if each.ok_age_s > STALLED_S
        ]
        if stalled:
            raise Degraded("stalled", "; ".join(stalled))
        return "", ", ".join(sorted({f"{each.loop} on {each.worker}" for each in alive}))


class EndpointCheck(Check):
    """The hub can be reached under AGG_SIGNAL_ENDPOINT: a GET gets the webhook's 405.

    In the background, since a server of one thread cannot answer itself while a poll waits for it. Only
    degrades, because many networks do not let a server reach its own public address.
    """

    name = "endpoint"
    max_status = Status.DEGRADED
    in_background = True
    fresh_s = 30.0

    def __init__(self, url: str | None) -> None:
        super().__init__()
        self.url = url

    def run(self) -> tuple[str, str] | None:
        if not self.url:
            return NOT_CONFIGURED, ""
        try:
            with requests.get(self.url, timeout=(1, 1), allow_redirects=False, stream=True) as response:
                status = response.status_code
                is_webhook = status == 405 and "POST" in response.headers.get("Allow", "")
        except requests.RequestException as error:
            raise Degraded("cannot be reached from here", type(error).__name__) from error
        if not is_webhook:
            raise Degraded("answers, but not as the webhook does", f"GET gave {status}, not 405")
        return None


class DiskCheck(Check):
    """There is room on the disk that the hub runs on."""

    name = "disk"

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def run(self) -> tuple[str, str]:
        usage = shutil.disk_usage(self.path)
        share = usage.free / usage.total
        detail = f"{usage.free / GIB:.1f} GiB free, {share:.0%}"
        if share < 0.02 or usage.free < GIB / 4:
            raise Failed("full", detail)
        if share < 0.1 and usage.free < 10 * GIB:
            raise Degraded("nearly full", detail)
        return "", detail


class AlertChannelsCheck(DatabaseDependentCheck):
    """Every channel accepted the last message sent over it: a failure is noticed before one is needed.

    Only degrades.
    """

    name = "alerts"
    max_status = Status.DEGRADED
    fresh_s = 5.0

    def run(self) -> tuple[str, str]:
        channels = list(AlertChannel.objects.filter(enabled=True).order_by("name"))
        broken = [channel.name for channel in channels if channel.last_error]
        if broken:
            raise Degraded("a channel rejects alerts", ", ".join(broken))
        if not channels:
            return "no channel", "add one in the admin"
        return "", f"{len(channels)} channel{pluralize(len(channels))}"

"""Asks all probes at once, and keeps many askers from asking the same thing."""

import asyncio
import logging
import threading
import time
from collections.abc import Sequence
from functools import cache

from aggregator.background import DAEMONS
from aggregator.health.checks import Check, CheckResult, Status
from aggregator.health.registry import configured_checks

logger = logging.getLogger("signal_hub.health")

FRESH_S = 1.0
"""For how long outcomes are given out again."""
STALE_S = 15.0
"""How old the last outcomes may be for an asker who finds somebody else asking just now."""

NOT_ASKED = "not asked yet"


class CheckRunner:
    """The outcomes of some probes, for all threads of this process."""

    def __init__(self, probes: Sequence[Check]) -> None:
        self.probes = probes
        self._known: dict[str, tuple[float, CheckResult]] = {}
        self._asked_at = -STALE_S
        self._asking = threading.Lock()
        self._behind: set[str] = set()
        """Probes in the background whose answer is awaited."""

    def outcomes(self) -> list[CheckResult]:
        """Return the latest outcome of each probe, no older than a poll needs.

        One thread asks, within seconds; whoever comes meanwhile gets what was known before, so that polls
        never take up the web server's threads.
        """
        age = time.monotonic() - self._asked_at
        if age > FRESH_S and self._asking.acquire(blocking=age > STALE_S):
            try:
                if time.monotonic() - self._asked_at > FRESH_S:
                    self._turn()
            finally:
                self._asking.release()
        return self._latest()

    def ask_all(self) -> list[CheckResult]:
        """Ask every probe now and wait for it."""
        self._ask(self.probes)
        return self._latest()

    def _turn(self) -> None:
        due = [probe for probe in self.probes if self._is_due(probe)]
        for probe in due:
            # One that takes its time must not be asked again meanwhile: that would count as hanging.
            if probe.background and probe.name not in self._behind:
                self._behind.add(probe.name)
                DAEMONS.submit(self._ask_behind, probe)
        self._ask([probe for probe in due if not probe.background])
        self._asked_at = time.monotonic()

    def _is_due(self, probe: Check) -> bool:
        at, outcome = self._known.get(probe.name, (0.0, None))
        if outcome is None or (outcome.state is not Status.OK and not probe.background):
            return True
        return time.monotonic() - at > probe.lasts_s

    def _ask(self, probes: Sequence[Check]) -> None:
        # Never in the caller's thread, which may have an event loop of its own.
        for outcome in DAEMONS.submit(lambda: asyncio.run(_gather(probes))).result():
            self._note(outcome)

    def _ask_behind(self, probe: Check) -> None:
        try:
            self._ask([probe])
        finally:
            self._behind.discard(probe.name)

    def _note(self, outcome: CheckResult) -> None:
        _, before = self._known.get(outcome.name, (0.0, None))
        self._known[outcome.name] = (time.monotonic(), outcome)
        if outcome.state is not (before.state if before else Status.OK):
            level = logging.INFO if outcome.state is Status.OK else logging.WARNING
            logger.log(
                level,
                "check=%s status=%s %s",
                outcome.name,
                outcome.state,
                "; ".join(filter(None, (outcome.text, outcome.detail))),
            )

    def _latest(self) -> list[CheckResult]:
        unknown = {probe.name: CheckResult(probe.name, Status.OK, NOT_ASKED) for probe in self.probes}
        return [self._known[name][1] if name in self._known else outcome for name, outcome in unknown.items()]


async def _gather(probes: Sequence[Check]) -> list[CheckResult]:
    return await asyncio.gather(*(probe.outcome() for probe in probes))


@cache
def check_runner() -> CheckRunner:
    """Return this process's survey of everything."""
    return CheckRunner(configured_checks())

"""Runs all checks at once, and keeps many readers from running the same ones."""

import logging
from collections.abc import Sequence
from functools import cache, partial

from aggregator.background import BackgroundValue, run_in_thread
from aggregator.health.checks import Check, CheckResult, Status
from aggregator.health.registry import configured_checks

logger = logging.getLogger("signal_hub.health")

RESULTS_FRESH_S = 1.0
"""For how long results are given out again."""
RESULTS_STALE_S = 15.0
"""How old the results may be that are given out while another thread runs the checks."""
RUN_TIMEOUT_S = 30.0
"""Longer than any check takes: each has its own time limit."""


class CheckRunner:
    """The results of some checks, for all threads of this process."""

    def __init__(self, checks: Sequence[Check], *, fresh_s: float = RESULTS_FRESH_S) -> None:
        self.checks = checks
        self._statuses = {check.name: Status.OK for check in checks}
        self._results = BackgroundValue(
            self._run, fresh_s=fresh_s, stale_s=RESULTS_STALE_S, timeout_s=RUN_TIMEOUT_S
        )

    def results(self) -> list[CheckResult]:
        """Return the latest result of each check.

        One thread waits for the checks; others get the results of the run before, so that polls never occupy
        all of the web server's threads.
        """
        return self._results.get()

    def latest_results(self, timeout_s: float) -> list[CheckResult] | None:
        """Return what `results` returns, None where there is none after `timeout_s`."""
        return self._results.latest(timeout_s)

    def run_all(self) -> list[CheckResult]:
        """Run every check whose result is not fresh, and wait for those in the background too."""
        return self._run(wait=True)

    def _run(self, *, wait: bool = False) -> list[CheckResult]:
        running = [run_in_thread(partial(check.result, wait=wait)) for check in self.checks]
        results = [each.result() for each in running]
        for result in results:
            if result.status is not self._statuses[result.name]:
                level = logging.INFO if result.status is Status.OK else logging.WARNING
                logger.log(level, "check=%s status=%s %s", result.name, result.status, result.text)
                self._statuses[result.name] = result.status
        return results


@cache
def check_runner() -> CheckRunner:
    """Return this process's runner of all configured checks."""
    return CheckRunner(configured_checks())

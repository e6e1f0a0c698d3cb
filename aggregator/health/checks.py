"""What a health check is: one question, answered in a thread of its own and within a time limit."""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from aggregator.background import BackgroundValue, NotReady

logger = logging.getLogger("signal_hub.health")

NOT_RUN = "not run yet"
NOT_CONFIGURED = "not configured"


class Status(StrEnum):
    OK = "ok"
    DEGRADED = "degraded"
    """The hub works, but something needs attention."""
    FAILED = "failed"
    """Signals cannot come in, or were lost."""


SEVERITY = list(Status)


def worst(statuses: list[Status]) -> Status:
    """Return the worst of the statuses; ok for none."""
    return max(statuses, key=SEVERITY.index, default=Status.OK)


@dataclass(frozen=True)
class CheckResult:
    """The result of one run of a check."""

    name: str
    status: Status
    summary: str = ""
    """A few words for the public: no names of hosts or agents, no figures."""
    detail: str = ""
    """More for an operator. Neither ever holds a secret or a URL."""
    seconds: float = 0.0

    @property
    def text(self) -> str:
        return "; ".join(filter(None, (self.summary, self.detail)))


class CheckError(Exception):
    """Raised by a check that does not pass; with the two texts of a CheckResult."""

    status: ClassVar[Status]

    def __init__(self, summary: str, detail: str = "") -> None:
        super().__init__(summary)
        self.summary, self.detail = summary, detail


class Degraded(CheckError):
    status = Status.DEGRADED


class Failed(CheckError):
    status = Status.FAILED


class Check(ABC):
    """One question about the hub, asked by `run`; any number of threads may ask for the result."""

    name: str
    timeout_s = 3.0
    """How long an answer may take. A run that takes longer counts as hung until it returns."""
    fresh_s = 0.0
    """How long a result is given out without another run."""
    in_background = False
    """Whether polls get the result of the run before in place of waiting for this one."""
    max_status = Status.FAILED
    """The worst status that this check can give the hub, also when it hangs."""

    def __init__(self) -> None:
        stale_s = float("inf") if self.in_background else 0.0
        self._result = BackgroundValue(
            lambda: self._result_of(self.run), fresh_s=self.fresh_s, stale_s=stale_s, timeout_s=self.timeout_s
        )

    @abstractmethod
    def run(self) -> tuple[str, str] | None:
        """Return the summary and detail of a CheckResult, None for no words; raise Degraded or Failed.

        Called in a thread of its own, never twice at once. It may hang, or raise anything else.
        """

    def hung(self, detail: str) -> CheckError:
        """Return what it means that `run` does not return."""
        return Failed("does not answer", detail)

    def crashed(self, error: Exception) -> CheckError:
        """Return what it means that `run` raised anything else than a CheckError: a bug, unless known."""
        logger.error("check=%s raised %s", self.name, type(error).__name__, exc_info=error)
        return Failed("unknown error")

    def result(self, *, wait: bool = False) -> CheckResult:
        """Return the result, after `timeout_s` at most.

        Without `wait` a check in the background gives the result of the run before, NOT_RUN for none.
        """
        wait = wait or not self.in_background
        if (self._result.running_for_s() or 0.0) < self.timeout_s:
            try:
                return self._result.get(self.timeout_s if wait else 0.0)
            except NotReady:
                if not wait:
                    return CheckResult(self.name, Status.OK, NOT_RUN)
        return self._as_result(self.hung(f"no answer within {self.timeout_s:g} s"), self.timeout_s)

    def _result_of(self, run: Callable[[], tuple[str, str] | None]) -> CheckResult:
        began = time.monotonic()
        try:
            summary, detail = run() or ("", "")
        except Exception as error:
            known = error if isinstance(error, CheckError) else self.crashed(error)
            return self._as_result(known, time.monotonic() - began)
        return CheckResult(self.name, Status.OK, summary, detail, time.monotonic() - began)

    def _as_result(self, error: CheckError, seconds: float) -> CheckResult:
        status = min(error.status, self.max_status, key=SEVERITY.index)
        return CheckResult(self.name, status, error.summary, error.detail, seconds)

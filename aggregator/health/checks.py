"""What a probe is. A thin layer on django-health-check's `HealthCheck`: states, and texts for two readers."""

import threading
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from django.db import connections
from health_check import HealthCheck
from health_check.exceptions import HealthCheckException, ServiceUnavailable, ServiceWarning

from aggregator.background import DAEMONS


class Status(StrEnum):
    OK = "ok"
    DEGRADED = "degraded"
    """The hub works, but something needs a look."""
    FAILED = "failed"
    """Signals cannot come in, or were lost."""


def worst(states: list[Status]) -> Status:
    """Return the worst of the states; ok for none."""
    return max(states, key=list(Status).index, default=Status.OK)


@dataclass(frozen=True)
class CheckResult:
    """What a probe found."""

    name: str
    state: Status
    text: str = ""
    """A few words for anybody: no names of hosts or agents, no figures."""
    detail: str = ""
    """More for an operator. Neither ever holds a secret or a URL."""
    seconds: float = 0.0


class Degraded(ServiceWarning):  # type: ignore[misc] # the package has no types
    """What a probe raises for the state of that name; see Outcome for the two texts."""

    def __init__(self, text: str, detail: str = "") -> None:
        super().__init__(text)
        self.detail = detail


class Failed(ServiceUnavailable):  # type: ignore[misc]
    """What a probe raises for the state of that name; see Outcome for the two texts."""

    def __init__(self, text: str, detail: str = "") -> None:
        super().__init__(text)
        self.detail = detail


class Check(HealthCheck):  # type: ignore[misc]
    """One question. A subclass answers it in `probe`, in a thread of its own."""

    timeout = timedelta(seconds=2)
    lasts_s = 0.0
    """For how long a good answer need not be asked for again."""
    background = False
    """Whether nobody waits for the answer: a poll gets the one before."""
    worst = Status.FAILED
    """What this probe makes of the hub at most, also when it does not come back."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._note = ("", "")
        self._idle = threading.Lock()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def probe(self) -> tuple[str, str] | None:
        """Return the two texts of an Outcome, or None for no words; raise Degraded or Failed."""
        raise NotImplementedError

    def hung(self, how: str) -> Degraded | Failed:
        """Return what it means that `probe` does not come back; `how` is more for an operator."""
        return Failed("does not answer", how)

    def run(self) -> None:
        """Ask once. What hangs in one attempt is not asked again before it has come back."""
        if not self._idle.acquire(blocking=False):
            raise ServiceUnavailable("the attempt before hangs")
        try:
            self._note = self.probe() or ("", "")
        finally:
            connections.close_all()  # this thread's own; it ends here
            self._idle.release()

    async def outcome(self) -> CheckResult:
        """Ask, within the timeout. Never raises."""
        result = await self.get_result(DAEMONS)
        if result.error is None:
            return CheckResult(self.name, Status.OK, *self._note, seconds=result.time_taken)
        error = result.error
        if type(error) is ServiceUnavailable:  # the timeout's, or `run`'s own
            error = self.hung(str(error.message).lower())
        found = Status.DEGRADED if isinstance(error, ServiceWarning) else Status.FAILED
        text, detail = _texts(error)
        return CheckResult(
            self.name, min(found, self.worst, key=list(Status).index), text, detail, result.time_taken
        )


def _texts(error: HealthCheckException) -> tuple[str, str]:
    return str(error.message), str(getattr(error, "detail", ""))

"""What a transport is: signals go in, one fate for each comes out."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from ecosystems import ECOSYSTEMS
from ecosystems.signal import Signal, parse

Callback = Callable[[Signal], None]
Unsubscribe = Callable[[], None]


class BusError(Exception):
    """The bus cannot do what was asked; the text is one line made for an operator."""


class Unsupported(BusError):
    """The transport has no such ability."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A valid signal as it travels. Light, since there may be many: it keeps the JSON alone."""

    ecosystem: str
    signal_id: str
    topic: str
    payload: bytes

    def signal(self) -> Signal:
        """Return the signal, normalised."""
        judged = parse(self.payload, now=_NEVER)
        assert isinstance(judged, Signal), "the entry was made from a valid signal"
        return judged


_NEVER = datetime(9999, 1, 1, tzinfo=UTC)
"""A clock that finds no timestamp too new: that was judged when the entry was made."""


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The other side holds the signal: in the stream, in the table, or committed by the hub."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The other side will never take the signal as it is; sending it again changes nothing."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Postponed:
    """The signal may or may not have arrived: send it again, which the ledger makes harmless.

    `after` is the wait in seconds that the other side asked for.
    """

    reason: str
    after: float | None = None


Fate = Confirmed | Refused | Postponed

CONFIRMED = Confirmed()


class Transport(ABC):
    """One way out. Used by one sending thread at a time."""

    name: str
    ecosystems: frozenset[str] = frozenset(ECOSYSTEMS)
    """The ecosystems whose signals it carries."""
    local: bool = False
    """Whether it ends in this process, where no outage is to be outlived."""

    @abstractmethod
    def send(self, entries: Sequence[Entry]) -> list[Fate]:
        """Send in the given order; return one fate for each entry, in the same order.

        Never raises for what an outage or a refusal brings. After a postponed batch nothing further is
        tried, so that what follows does not overtake it.
        """

    def subscribe(self, callback: Callback, topic: str) -> Unsubscribe:  # noqa: ARG002
        """Call `callback` with each signal of `topic` from now on. Raises Unsupported."""
        raise Unsupported(f"the {self.name} transport only sends: subscribe through memory or redis")

    def close(self) -> None:
        """Let go of connections and threads; the transport is not used afterwards."""
        return


def postpone(count: int, reason: str, after: float | None = None) -> list[Fate]:
    """Return the same postponement for `count` entries."""
    return [Postponed(reason, after)] * count


def stopped(fates: Sequence[Fate]) -> Postponed | None:
    """Return the postponement that ends a series of batches, if there is one."""
    return fates[-1] if fates and isinstance(fates[-1], Postponed) else None

"""The interface of a transport: it sends signals and returns the fate of each."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from ecosystems import ECOSYSTEMS
from ecosystems.signal import Signal, parse

Callback = Callable[[Signal], None]
Unsubscribe = Callable[[], None]


class BusError(Exception):
    """The bus cannot do what was asked; the text is one line for the operator."""


class Unsupported(BusError):
    """The transport does not offer this."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A valid signal on its way: its JSON and what identifies it, since there may be many in memory."""

    ecosystem: str
    signal_id: str
    topic: str
    payload: bytes

    def signal(self) -> Signal:
        """Return the signal, normalised."""
        signal = parse(self.payload, now=_NEVER)
        assert isinstance(signal, Signal), "the entry was made from a valid signal"
        return signal


_NEVER = datetime(9999, 1, 1, tzinfo=UTC)
"""A clock for which no timestamp is too new: that was checked when the entry was made."""


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The receiver holds the signal: in the stream, in the table, or committed by the hub."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The receiver will never accept the signal; sending it again changes nothing."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Postponed:
    """The signal may or may not have arrived: send it again, which the ledger makes harmless.

    `after` is the wait in seconds that the receiver asked for.
    """

    reason: str
    after: float | None = None


Fate = Confirmed | Refused | Postponed

CONFIRMED = Confirmed()


class Transport(ABC):
    """One way to send signals. Used by one sending thread at a time."""

    name: str
    ecosystems: frozenset[str] = frozenset(ECOSYSTEMS)
    """The ecosystems whose signals it carries."""
    local: bool = False
    """Whether it ends in this process, where no outage is possible."""

    @abstractmethod
    def send(self, entries: Sequence[Entry]) -> list[Fate]:
        """Send in the given order; return one fate for each entry, in the same order.

        Never raises for an outage or a refusal. After a postponed batch nothing further is
        tried, so that later signals do not overtake it.
        """

    def subscribe(self, callback: Callback, topic: str) -> Unsubscribe:  # noqa: ARG002
        """Call `callback` with each signal of `topic` from now on. Raises Unsupported."""
        raise Unsupported(f"the {self.name} transport only sends: subscribe through memory or redis")

    def close(self) -> None:
        """Close connections and end threads; the transport is not used afterwards."""
        return


def send_in_turn(
    send: Callable[[Sequence[Entry]], list[Fate]], batches: Iterable[Sequence[Entry]]
) -> list[Fate]:
    """Send batches, none of them empty, until one ends with a postponement, which the rest of them gets."""
    fates: list[Fate] = []
    for batch in batches:
        if fates and isinstance(fates[-1], Postponed):
            fates += [fates[-1]] * len(batch)
        else:
            fates += send(batch)
    return fates


def halves(batch: Sequence[Entry]) -> tuple[Sequence[Entry], Sequence[Entry]]:
    middle = len(batch) // 2
    return batch[:middle], batch[middle:]

"""What became of published signals."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self

from ecosystems.bus.transport import BusError, Confirmed, Entry, Fate, Postponed, Refused
from ecosystems.signal import Signal


@dataclass(frozen=True)
class Parked:
    """A signal that was refused for good, with the refuser's reason."""

    signal: Signal
    transport: str
    code: str
    detail: str

    def __str__(self) -> str:
        name = f"{self.signal.ecosystem}/{self.signal.signal_id}"
        return f"{self.transport} refused {name}: {self.code}: {self.detail}"


@dataclass(frozen=True)
class Delivery:
    """What one transport made of the signals that were given to it."""

    transport: str
    confirmed: int = 0
    parked: tuple[Parked, ...] = ()
    pending: tuple[Signal, ...] = ()
    """Signals that it is not known to hold, in their order."""
    reason: str = ""
    """Why they are pending."""
    after: float | None = None
    """The wait in seconds that the other side asked for."""

    @classmethod
    def of(cls, transport: str, entries: Sequence[Entry], fates: Sequence[Fate]) -> Self:
        """Sum up one call of `Transport.send`."""
        confirmed = sum(isinstance(fate, Confirmed) for fate in fates)
        if confirmed == len(fates):
            return cls(transport, confirmed)
        postponed = next((fate for fate in fates if isinstance(fate, Postponed)), Postponed(""))
        pairs = list(zip(entries, fates, strict=True))
        return cls(
            transport,
            confirmed,
            tuple(
                Parked(entry.signal(), transport, fate.code, fate.detail)
                for entry, fate in pairs
                if isinstance(fate, Refused)
            ),
            tuple(entry.signal() for entry, fate in pairs if isinstance(fate, Postponed)),
            postponed.reason,
            postponed.after,
        )

    def problems(self) -> list[str]:
        """Return a sentence for each thing that went wrong, the first refusal standing for all of them."""
        found = []
        if self.parked:
            more = f" (and {len(self.parked) - 1} more)" if len(self.parked) > 1 else ""
            found.append(f"{self.parked[0]}{more}")
        if self.pending:
            found.append(f"{self.transport} did not confirm {counted(len(self.pending))}: {self.reason}")
        return found


@dataclass(frozen=True)
class Receipt:
    """What each transport made of one call of `publish`, `publish_many` or `flush`."""

    deliveries: tuple[Delivery, ...] = ()

    @property
    def confirmed(self) -> int:
        """Confirmations: one for each signal and transport."""
        return sum(delivery.confirmed for delivery in self.deliveries)

    @property
    def parked(self) -> tuple[Parked, ...]:
        return tuple(parked for delivery in self.deliveries for parked in delivery.parked)

    @property
    def pending(self) -> tuple[Signal, ...]:
        """Signals that at least one transport has not confirmed, each once, in their order."""
        return tuple(_unique(signal for delivery in self.deliveries for signal in delivery.pending))

    @property
    def complete(self) -> bool:
        """Whether every transport confirmed every signal."""
        return not any(delivery.parked or delivery.pending for delivery in self.deliveries)


class Unsent(BusError):
    """Signals were not confirmed and nothing keeps them; `receipt.pending` may be published again."""

    def __init__(self, receipt: Receipt) -> None:
        super().__init__("; ".join(text for delivery in receipt.deliveries for text in delivery.problems()))
        self.receipt = receipt


def counted(count: int) -> str:
    return f"{count} signal" if count == 1 else f"{count} signals"


def _unique(signals: Iterable[Signal]) -> Iterable[Signal]:
    return {(signal.ecosystem, signal.signal_id): signal for signal in signals}.values()


def merged(deliveries: Iterable[Delivery]) -> Receipt:
    """Sum up deliveries of several batches, one for each transport; the last one tells what is pending."""
    found: dict[str, Delivery] = {}
    for new in deliveries:
        old = found.get(new.transport, Delivery(new.transport))
        found[new.transport] = replace(
            new, confirmed=old.confirmed + new.confirmed, parked=old.parked + new.parked
        )
    return Receipt(tuple(found.values()))

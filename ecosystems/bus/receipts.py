"""The results of publishing, by transport."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from ecosystems.bus.transport import BusError, Confirmed, Entry, Fate, Postponed, Refused
from ecosystems.signal import Signal


@dataclass(frozen=True)
class RefusedSignal:
    """A signal that a transport refused for good, and why."""

    signal: Signal
    transport: str
    code: str
    detail: str

    def __str__(self) -> str:
        name = f"{self.signal.ecosystem}/{self.signal.signal_id}"
        return f"{self.transport} refused {name}: {self.code}: {self.detail}"


@dataclass(frozen=True)
class Delivery:
    """The result of sending signals through one transport."""

    transport: str
    confirmed: int = 0
    refused: tuple[RefusedSignal, ...] = ()
    pending: tuple[Signal, ...] = ()
    """Signals that it has not confirmed, in their order."""
    reason: str = ""
    """Why they are pending."""
    after: float | None = None
    """The wait in seconds that the receiver asked for."""

    @classmethod
    def of(cls, transport: str, entries: Sequence[Entry], fates: Sequence[Fate]) -> Self:
        """Return the result of one call of `Transport.send`."""
        confirmed = sum(isinstance(fate, Confirmed) for fate in fates)
        if confirmed == len(fates):
            return cls(transport, confirmed)
        postponed = next((fate for fate in fates if isinstance(fate, Postponed)), Postponed(""))
        pairs = list(zip(entries, fates, strict=True))
        return cls(
            transport,
            confirmed,
            tuple(
                RefusedSignal(entry.signal(), transport, fate.code, fate.detail)
                for entry, fate in pairs
                if isinstance(fate, Refused)
            ),
            tuple(entry.signal() for entry, fate in pairs if isinstance(fate, Postponed)),
            postponed.reason,
            postponed.after,
        )

    def problems(self) -> list[str]:
        """Return a sentence for each thing that went wrong, with the first refusal as an example of all."""
        found = []
        if self.refused:
            more = f" (and {len(self.refused) - 1} more)" if len(self.refused) > 1 else ""
            found.append(f"{self.refused[0]}{more}")
        if self.pending:
            count = "1 signal" if len(self.pending) == 1 else f"{len(self.pending)} signals"
            found.append(f"{self.transport} did not confirm {count}: {self.reason}")
        return found


@dataclass(frozen=True)
class Receipt:
    """The results of one call of `publish`, `publish_many` or `flush`, one for each transport."""

    deliveries: tuple[Delivery, ...] = ()

    @property
    def confirmed(self) -> int:
        """Confirmations: one for each signal and transport."""
        return sum(delivery.confirmed for delivery in self.deliveries)

    @property
    def refused(self) -> tuple[RefusedSignal, ...]:
        return tuple(refused for delivery in self.deliveries for refused in delivery.refused)

    @property
    def pending(self) -> tuple[Signal, ...]:
        """Signals that at least one transport has not confirmed, each once, in their order."""
        pending = (signal for delivery in self.deliveries for signal in delivery.pending)
        return tuple({(signal.ecosystem, signal.signal_id): signal for signal in pending}.values())

    @property
    def complete(self) -> bool:
        """True if every transport confirmed every signal."""
        return not any(delivery.refused or delivery.pending for delivery in self.deliveries)


class Unsent(BusError):
    """Signals were not confirmed and no outbox keeps them; `receipt.pending` may be published again."""

    def __init__(self, receipt: Receipt) -> None:
        super().__init__("; ".join(text for delivery in receipt.deliveries for text in delivery.problems()))
        self.receipt = receipt

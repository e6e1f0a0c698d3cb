"""What goes into the ledger and what becomes of it."""

from enum import StrEnum

import msgspec

from ecosystems.signal import Refusal, Signal


class Entry(msgspec.Struct, frozen=True, gc=False):
    """Bytes that should be a signal, and where they came from."""

    raw: bytes
    sender: str = ""
    """The key's id, else the address it came from."""
    ecosystems: frozenset[str] | None = None
    """The ecosystems that the sender may write to; None means all."""
    stream: str = ""
    entry_id: str = ""
    deliveries: int = 1
    refusal: Refusal | None = None
    """Set where a door has already found that this can be no signal."""


class Fate(StrEnum):
    """What became of an entry. All but `deferred` are final: they are on record."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    REFUSED = "refused"
    DEFERRED = "deferred"
    """Another transaction that is still open holds the same identity: try again later."""


class Result(msgspec.Struct, frozen=True, gc=False):
    fate: Fate
    signal: Signal | None = None
    refusal: Refusal | None = None

    @property
    def is_final(self) -> bool:
        """Whether the entry is on record, so that its door may acknowledge it."""
        return self.fate is not Fate.DEFERRED


CONFLICT = Refusal(
    "conflict", "another signal with this ecosystem and signal_id, but other content, is on record"
)
DEFERRED = Refusal("busy", "a transaction that is still open holds this ecosystem and signal_id; try again")
FORBIDDEN = Refusal("ecosystem_forbidden", "the API key may not write to this ecosystem")
EXHAUSTED = Refusal("delivered_too_often", "delivered five times without success")

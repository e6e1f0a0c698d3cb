"""Entries, which go into the ledger, and the result of each."""

from enum import StrEnum

import msgspec

from ecosystems.signal import Refusal, Signal


class Entry(msgspec.Struct, frozen=True, gc=False):
    """Bytes that should be a signal, and where they came from."""

    raw: bytes
    sender: str = ""
    """Who proved it: `key:<id>`, `role:<session_user>`, else the address or `stream:<key>` it came from."""
    ecosystems: frozenset[str] | None = None
    """The ecosystems that the sender may write to; None means all."""
    stream: str = ""
    entry_id: str = ""
    deliveries: int = 1
    refusal: Refusal | None = None
    """Set where it is already known that this can be no signal."""
    whole: tuple[int, bytes] | None = None
    """Where `raw` is only the head: the length and the SHA-256 of all bytes."""
    agents: frozenset[str] | None = None
    """The agents that the sender may write as; None means all."""
    mapped: bytes = b""
    """The signal's JSON, where the bytes are a producer's own."""


class Fate(StrEnum):
    """What became of an entry. All but `deferred` are final: they are on record."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    REFUSED = "refused"
    DEFERRED = "deferred"
    """Another transaction that is still open holds the same identity: try again later."""


class Result(msgspec.Struct, frozen=True, gc=False):
    """The fate of one entry, with its signal, or with the reason why it is not on record."""

    fate: Fate
    signal: Signal | None = None
    refusal: Refusal | None = None

    @property
    def is_final(self) -> bool:
        """Return whether the entry is kept, as a signal or a dead letter, so that it may be acknowledged."""
        return self.fate is not Fate.DEFERRED


CONFLICT = Refusal(
    "conflict", "another signal with this ecosystem and signal_id, but other content, is on record"
)
DEFERRED = Refusal("busy", "a transaction that is still open holds this ecosystem and signal_id; try again")
ECOSYSTEM_FORBIDDEN = Refusal("ecosystem_forbidden", "the API key may not write to this ecosystem")
AGENT_FORBIDDEN = Refusal("agent_forbidden", "the sender may not publish as this agent", "agent_source")
NO_PAYLOAD = Refusal("no_payload", "the stream entry has no field named payload")
ENTRY_TOO_LARGE = Refusal("entry_too_large", "the stream entry has more bytes than CORE_STREAM_MAX_BYTES")
TRIMMED_UNREAD = "trimmed_unread"
"""The code of a dead letter that stands for entries removed from a stream before they were read."""
EXHAUSTED = Refusal("delivered_too_often", "delivered five times without success")

"""Checkpoints: signing the tree's head, and never one that contradicts an earlier one.

What was published may be ahead of the tables, after a restore or on a standby that was promoted. So the last
checkpoint is kept outside the database as well, and written there before it is published: the tree must
extend that copy, which a consistency proof shows, before anything is appended or signed.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from aggregator.models import TransparencyLog
from aggregator.transparency import log_tables, merkle, notes
from aggregator.transparency.log_directory import CannotSeal, LogDirectory, key_ids
from aggregator.transparency.notes import Checkpoint, InvalidNote, Note, SigningKey

_T = TypeVar("_T")

FOLLOWER = "transparency"
"""The name of the cursor in the ledger up to which signals are leaves."""

ADVICE = "restore the database that was ahead, or begin another log: manage.py transparency init --new-origin"


def require_extends(cursor: Any, head: TransparencyLog, copy: str | None) -> bytes:
    """Return the root of the tree in the tables, which extends the copy of the last checkpoint.

    Raises CannotSeal where it does not, or where there is no copy to compare it with.
    """
    last = read_copy(copy)
    if last.origin != head.origin:
        raise CannotSeal("the copy of the last checkpoint is another log's", f"{last.origin}; {ADVICE}")
    if last.size > head.size:
        detail = f"they hold {head.size} leaves, the checkpoint {last.size}; {ADVICE}"
        raise CannotSeal("the tables are behind the last checkpoint", detail)
    try:
        proof_ranges = merkle.consistency_ranges(last.size, head.size)
        root, *proof = log_tables.read_hashes(cursor, [(0, head.size), *proof_ranges])
        extends = merkle.is_consistent(last.size, head.size, last.root, root, proof)
    except (KeyError, IndexError):
        extends = False
    if not extends:
        raise CannotSeal("the tables contradict the last checkpoint", f"of {last.size} leaves; {ADVICE}")
    return root


def read_copy(copy: str | None) -> Checkpoint:
    """Return the checkpoint of a copy. Raises CannotSeal where there is none, or it is damaged."""
    return _read(copy, lambda note: Checkpoint.parse(note.text))


def is_signed(copy: str | None, keys: Sequence[SigningKey], origin: str) -> bool:
    """Return whether one of the keys has signed a copy. Raises CannotSeal as `read_copy` does."""
    verifiers = [key.verifier(origin) for key in keys]
    return bool(_read(copy, lambda note: note.verified_by(verifiers)))


def _read(copy: str | None, read: Callable[[Note], _T]) -> _T:
    if copy is None:
        detail = "put the last one that was published into CORE_LOG_DIR as the file checkpoint"
        raise CannotSeal("there is no copy of the last checkpoint", f"{detail}; {ADVICE}")
    try:
        return read(Note.parse(copy))
    except InvalidNote as error:
        raise CannotSeal("the copy of the last checkpoint is damaged", str(error)) from error


def publish(cursor: Any, directory: LogDirectory, keys: list[SigningKey]) -> bool:
    """Publish a checkpoint if there is news; return whether there was. Raises CannotSeal.

    The caller commits. Until then only the copy knows of the checkpoint, which the next one extends.
    """
    head = log_tables.head(lock=True)
    assert head is not None, "the caller has found a log"
    with directory.locked():
        copy = directory.copy()
        signers = key_ids(keys, head.origin)
        if copy == head.checkpoint and (head.size, signers) == (head.checkpoint_size, head.verifier_keys):
            return False
        root = require_extends(cursor, head, copy)
        if not is_signed(copy, keys, head.origin):
            raise CannotSeal(
                "the signing key is not the log's",
                "put the key that signed the last checkpoint back, and rotate: manage.py transparency rotate",
            )
        note = notes.sign(Checkpoint(head.origin, head.size, root), keys)
        if (head.size, signers) == (head.checkpoint_size, head.verifier_keys):
            note = head.checkpoint  # another machine has published it, or this one was killed just before
        directory.write_copy(note)
    parameters = {"checkpoint": note, "verifier_keys": signers, "follower": FOLLOWER}
    cursor.execute(log_tables.PUBLISH_CHECKPOINT, parameters)
    return True

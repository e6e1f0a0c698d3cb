"""Beginning a log, and changing its key."""

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from django.db import connection, transaction

from aggregator.ledger.errors import classified
from aggregator.models import TransparencyLog
from aggregator.transparency import log_tables, notes
from aggregator.transparency.checkpoints import ADVICE, FOLLOWER, is_signed, read_copy, require_extends
from aggregator.transparency.log_directory import CannotSeal, LogDirectory, key_ids
from aggregator.transparency.notes import Checkpoint, SigningKey

_LOCK = "LOCK TABLE transparency_log IN SHARE ROW EXCLUSIVE MODE"
"""One beginning at a time; while there is a row, its lock keeps workers from publishing."""


def begin(directory: LogDirectory, host: str) -> list[str]:
    """Begin a log unless one has begun; return its verifier keys. Raises CannotSeal and Outage.

    Never begins a log anew where the copy of a checkpoint shows that the tables were ahead.
    """
    directory.create()
    with classified(), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_LOCK)
        head, copy = log_tables.head(lock=True), directory.copy()
        if head is not None:
            require_extends(cursor, head, copy)
            return key_ids(_keys(directory), head.origin)
        if copy is not None and read_copy(copy).size:
            detail = f"the database has no log, the copy is of {read_copy(copy).origin}; {ADVICE}"
            raise CannotSeal("the tables are behind the last checkpoint", detail)
        return _sign_first(cursor, directory, f"{host}/log", None)


def begin_another(directory: LogDirectory, host: str) -> list[str]:
    """Begin another log with the leaves that the tables hold; return its verifier keys.

    The last checkpoint of the old one is kept. Raises CannotSeal and Outage.
    """
    directory.create()
    with classified(), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_LOCK)
        head = log_tables.head(lock=True)
        used = {head.origin} if head else set()
        copy, name = directory.copy(), "damaged"
        with suppress(CannotSeal):
            last = read_copy(copy)
            used.add(last.origin)
            name = f"{re.sub('[^a-z0-9.-]', '-', last.origin)}-{last.size}"
        directory.archive_copy(f"checkpoint-{name}")
        return _sign_first(cursor, directory, next_origin(host, used), head)


def next_origin(host: str, used: set[str]) -> str:
    """Return a log's name that is not used, and higher than those with a number."""
    base = f"{host}/log"
    numbers = [
        int(match[1] or 1) for name in used if (match := re.fullmatch(rf"{re.escape(base)}(?:-(\d+))?", name))
    ]
    return f"{base}-{max(numbers) + 1}" if numbers else base


def announce_key(directory: LogDirectory) -> list[str]:
    """Make a second signing key, which signs checkpoints beside the first; return the verifier keys."""
    origin, keys = _origin(), _file_keys(directory)
    if len(keys) > 1:
        raise CannotSeal("a rotation is under way", "end it: manage.py transparency rotate --finish")
    directory.add_key()
    return key_ids(_keys(directory), origin)


def retire_key(directory: LogDirectory) -> list[str]:
    """Remove the first of two signing keys; return the verifier key of the other."""
    origin, keys = _origin(), _file_keys(directory)
    if len(keys) < 2:
        raise CannotSeal("no rotation is under way", "begin one: manage.py transparency rotate")
    if not is_signed(directory.copy(), keys[-1:], origin):
        raise CannotSeal("the second key has signed no checkpoint yet", "wait until a worker has run")
    directory.drop_first_key()
    return key_ids(_keys(directory), origin)


def _sign_first(cursor: Any, directory: LogDirectory, origin: str, head: TransparencyLog | None) -> list[str]:
    """Sign the first checkpoint of a log, and keep it, also in the folder."""
    keys = directory.keys()
    if not keys:
        directory.add_key()
        keys = directory.keys()
    if head is None:
        cursor.execute(log_tables.EMPTY_LOG, {"follower": FOLLOWER})
    size = head.size if head else 0
    [root] = log_tables.read_hashes(cursor, [(0, size)])
    note = notes.sign(Checkpoint(origin, size, root), keys)
    with directory.locked():
        directory.write_copy(note)
    verifiers = key_ids(keys, origin)
    cursor.execute(log_tables.BEGIN_LOG, {"origin": origin, "checkpoint": note, "verifier_keys": verifiers})
    return verifiers


def _keys(directory: LogDirectory) -> Sequence[SigningKey]:
    """Return the signing keys of a log that has begun."""
    keys = directory.keys()
    if not keys:
        raise CannotSeal("the signing key is not here", f"put it back from your backup: {directory.key_file}")
    return keys


def _file_keys(directory: LogDirectory) -> Sequence[SigningKey]:
    """Return the signing keys, where they are in a file."""
    if directory.given_keys is not None:
        detail = "put the PEM of both keys into it, later that of the second alone"
        raise CannotSeal("the signing key is in CORE_LOG_SIGNING_KEY", detail)
    return _keys(directory)


def _origin() -> str:
    with classified():
        head = log_tables.head()
    if head is None:
        raise CannotSeal("no log has begun", "manage.py transparency init")
    return head.origin

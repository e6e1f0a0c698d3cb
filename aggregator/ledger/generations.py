"""Generations: how positions stay true when the ledger itself goes back.

After a restore, or the promotion of a standby that was behind, signals are missing that readers have seen,
and the next ones would get positions that readers have passed. A new generation makes positions go on far
above: at the microseconds since 1970, which no ledger reaches that records less than a million signals a
second all the while. So every cursor of before stays valid, and skips nothing that is recorded from then on.

Postgres alone cannot know that it went back. The head is therefore remembered outside it by its position and
digest: when another row is there, or none, the ledger is not what it was. It is kept in the cache, which is
Redis where the hub has one, and then all processes share it; and in a file in CORE_LOG_DIR, which is not part
of the database and of its backups.
"""

import logging
import os
import socket
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from django.conf import settings
from django.core.cache import cache as shared
from django.db import Error, connection, transaction

from aggregator.models import TradingSignal

_CREATE_FIRST = """
    INSERT INTO ledger_generations (number, ledger, floor, head, server)
    SELECT 1, gen_random_uuid(), 0, 0, %(server)s
    WHERE NOT EXISTS (SELECT FROM ledger_generations) ON CONFLICT DO NOTHING"""

_CURRENT = """
    SELECT number, ledger, floor, server, coalesce((SELECT max(position) FROM trading_signals), 0)
    FROM ledger_generations ORDER BY number DESC LIMIT 1"""

_HEAD = """
    SELECT greatest(coalesce((SELECT max(position) FROM trading_signals), 0),
        coalesce((SELECT max(floor) FROM ledger_generations), 0))"""

# A standby that was promoted has another timeline; a database that was restored has other ids.
_SERVER = """
    SELECT concat_ws('/', (SELECT system_identifier FROM pg_control_system()),
        left(pg_walfile_name(pg_current_wal_lsn()), 8),
        (SELECT oid FROM pg_database WHERE datname = current_database()), 'trading_signals'::regclass::oid)"""

# Writers only read the table, so they go on until the ledger's own lock is taken.
_ONE_AT_A_TIME = "LOCK TABLE ledger_generations IN SHARE ROW EXCLUSIVE MODE"

_BEGIN = """
    LOCK TABLE ledger_lock IN EXCLUSIVE MODE;
    INSERT INTO ledger_generations (number, ledger, floor, head, server)
    SELECT %(number)s, %(ledger)s,
        greatest((extract(epoch FROM clock_timestamp()) * 1000000)::bigint, %(above)s, %(head)s),
        %(head)s, %(server)s;
    SELECT setval(pg_get_serial_sequence('outcome_events', 'id'), greatest(
        (SELECT max(floor) FROM ledger_generations), (SELECT max(id) FROM outcome_events)))"""
# Readers of outcomes remember the ids of what was decided.

logger = logging.getLogger("signal_hub.ledger")


class Generation(NamedTuple):
    """The latest generation of the ledger, and the ledger's greatest position."""

    number: int
    ledger: UUID
    floor: int
    server: str
    head: int


class RememberedHead(msgspec.Struct, frozen=True, order=True):
    """The greatest position of a ledger at some time, and the digest of its signal."""

    generation: int
    position: int
    digest: str


def current_generation() -> Generation:
    """Return the latest generation; a ledger without one gets its first."""
    with connection.cursor() as cursor:
        cursor.execute(_CURRENT)
        row = cursor.fetchone()
        if row is None:
            cursor.execute(_CREATE_FIRST, {"server": _server()})
            cursor.execute(_CURRENT)
            row = cursor.fetchone()
    return Generation(*row)


def ledger_head() -> int:
    """Return the position that no reader can have passed: the greatest one, or the generation's floor."""
    with connection.cursor() as cursor:
        cursor.execute(_HEAD)
        return int(cursor.fetchone()[0])


def went_back(generation: Generation) -> RememberedHead | None:
    """Return the remembered head if the ledger has lost it, and no generation was begun since."""
    known = recall_head(generation.ledger)
    if known is None or known.generation < generation.number:
        return None
    return None if _digest_at(known.position) == known.digest else known


def is_elsewhere(generation: Generation) -> bool:
    """Return whether the ledger is on another server, timeline or table than when its generation began."""
    return bool(generation.server) and _server() not in {"", generation.server}


def keep_head() -> None:
    """Remember the head outside Postgres where it has moved, unless the ledger went back."""
    generation = current_generation()
    digest = _digest_at(generation.head)
    if digest is None or went_back(generation):
        return
    head = RememberedHead(generation.number, generation.head, digest)
    if head != recall_head(generation.ledger):
        remember_head(generation.ledger, head)


def begin_generation() -> tuple[Generation, bool]:
    """Begin a new generation; return the latest one, and whether it is new.

    It is not where the latest one has no signals yet and the ledger has not gone back since it began.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_ONE_AT_A_TIME)
        before = current_generation()
        known = recall_head(before.ledger)
        is_empty = before.number > 1 and before.head <= before.floor
        if is_empty and not went_back(before) and not is_elsewhere(before):
            return before, False
        parameters: dict[str, Any] = {
            "number": max(before.number, known.generation if known else 0) + 1,
            "ledger": before.ledger,
            "above": max(before.floor, known.position if known else 0),
            "head": before.head,
            "server": _server(),
        }
        cursor.execute(_BEGIN, parameters)
    return current_generation(), True


def _digest_at(position: int) -> str | None:
    """Return the digest of the signal at a position, None where there is none."""
    digests = TradingSignal.objects.filter(position=position).values_list("digest", flat=True)
    return next((bytes(digest).hex() for digest in digests if digest is not None), None)


def _server() -> str:
    """Return what identifies the server, its timeline and the ledger's table; "" if that is forbidden."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_SERVER)
            return str(cursor.fetchone()[0])
    except Error:
        return ""


def recall_head(ledger: UUID) -> RememberedHead | None:
    """Return the greatest head that is remembered of a ledger."""
    texts = [shared.get(_key(ledger))]
    with suppress(OSError):
        texts.append(_path(ledger).read_bytes())
    return max(filter(None, map(_decoded, texts)), default=None)


def remember_head(ledger: UUID, head: RememberedHead) -> None:
    """Remember a head in every place that takes it."""
    text = msgspec.json.encode(head)
    shared.set(_key(ledger), text, timeout=None)
    path = _path(ledger)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Of each process, since those that share the folder do this at the same time.
        draft = path.with_suffix(f".{socket.gethostname()}-{os.getpid()}")
        draft.write_bytes(text)
        draft.replace(path)
    except OSError as error:
        _warn_once(type(error).__name__)


def _key(ledger: UUID) -> str:
    return f"ledger-head:{ledger}"


def _path(ledger: UUID) -> Path:
    return Path(settings.BASE_DIR / settings.ENVIRONMENT.log_dir / f"head-{ledger}.json")


def _decoded(text: bytes | None) -> RememberedHead | None:
    try:
        return msgspec.json.decode(text, type=RememberedHead) if text else None
    except msgspec.MsgspecError:
        return None


@cache
def _warn_once(reason: str) -> None:
    logger.warning("the ledger's head cannot be remembered in CORE_LOG_DIR: %s", reason)

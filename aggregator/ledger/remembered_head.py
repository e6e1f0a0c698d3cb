"""The ledger's head as it is remembered outside Postgres: in the shared cache and in a file.

The cache is Redis, where the hub has one, and then all processes share it. The file is in CORE_LOG_DIR, which
is not part of the database and of its backups.
"""

import logging
import os
import socket
from contextlib import suppress
from functools import cache
from pathlib import Path
from uuid import UUID

import msgspec
from django.conf import settings
from django.core.cache import cache as shared

logger = logging.getLogger("signal_hub.ledger")


class RememberedHead(msgspec.Struct, frozen=True, order=True):
    """The greatest position of a ledger at some time, and the digest of its signal."""

    generation: int
    position: int
    digest: str


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

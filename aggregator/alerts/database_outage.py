"""The alert that the database itself is down, which cannot be kept in the database.

The workers of all machines agree in Redis on who tells, and each machine keeps in a file what was agreed.
Where Redis is down too, the workers of one machine agree by that file. Several machines have nothing to agree
by then, and each tells it once.
"""

import fcntl
import hashlib
import hmac
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import redis

from aggregator.alerts import delivery, messages
from aggregator.health.stream_checks import client
from ecosystems.env import Environment

logger = logging.getLogger("signal_hub.alerts")

DOWN = "signal_hub:alerts:database_down"
TOLD = "signal_hub:alerts:database_told"
KEPT_S = 7 * 86_400
REPEAT_S = 3600
HOLD_S = 40.0
"""For how long it must be down before anybody is told."""

SHARED_FOLDERS = ("/dev/shm",)  # noqa: S108 - opened with care
"""Where services find the same files: systemd gives each its own `/tmp`. The temporary folder comes after."""

SIZE = 32
"""Bytes of a note, always as many: to forget one must not need room on a disk."""


class Blackout:
    """One worker's view of the core database's absence."""

    def __init__(self, environment: Environment) -> None:
        self._redis = client(environment.redis_url) if environment.redis_url else None
        self._since: float | None = None
        self.note = MachineNote(environment)

    def goes_on(self, targets: Sequence[delivery.Target]) -> None:
        """Say that the database is down; tell the operator when it is this worker's turn to."""
        now = time.monotonic()
        self._since = self._since if self._since is not None else now
        if now - self._since >= HOLD_S and self._may_tell():
            delivery.broadcast(targets, messages.DATABASE_DOWN)

    def is_over(self, targets: Sequence[delivery.Target]) -> None:
        """Say that the database answers; tell the operator where that is news."""
        self._since = None
        told_alone = False
        with self.note.held() as held:
            if held:
                told_alone = self.note.take() == "alone"
        if self._forget() or told_alone:
            delivery.broadcast(targets, messages.DATABASE_BACK)

    def _may_tell(self) -> bool:
        """Claim the telling before anything is sent: who dies over it leaves it to the next hour."""
        with self.note.held(create=True) as held:
            if not held or self.note.is_fresh():
                return False
            claimed = self._claim()
            self.note.write("alone" if claimed is None else "agreed")
            return claimed is not False

    def _claim(self) -> bool | None:
        """Return whether this worker may tell, by Redis; None where that is not to be asked."""
        if self._redis is None:
            return None
        try:
            claimed = bool(self._redis.set(TOLD, "1", nx=True, ex=max(1, REPEAT_S)))
            if claimed:
                self._redis.set(DOWN, "1", ex=KEPT_S)
        except redis.RedisError:
            return None
        return claimed

    def _forget(self) -> bool:
        """Return whether it was told by agreement, and nobody has told the end yet."""
        if self._redis is None:
            return False
        try:
            if not self._redis.delete(DOWN):
                return False
            self._redis.delete(TOLD)
        except redis.RedisError:
            return False
        return True


class MachineNote:
    """What this hub's workers on this machine know in common: when it was told, and how that was claimed.

    A file, locked while it is read and written. Where there can be none, each worker keeps a note of its own.
    """

    def __init__(self, environment: Environment) -> None:
        folder = next(filter(os.path.isdir, SHARED_FOLDERS), tempfile.gettempdir())
        hub = hmac.new(
            (environment.auth_secret or "").encode(), (environment.core_db_url or "").encode(), hashlib.sha256
        )
        self.path = Path(folder) / f"signal-hub-{os.geteuid()}-{hub.hexdigest()[:16]}"
        self._file: int | None = None
        self._own = ""

    @contextmanager
    def held(self, *, create: bool = False) -> Iterator[bool]:
        """Hold the note; False where another worker holds it just now."""
        try:
            self._file = self._open(os.O_CREAT if create else 0)
        except OSError:
            self._file = None
        try:
            if self._file is not None:
                try:
                    fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    yield False
                    return
            yield True
        finally:
            if self._file is not None:
                os.close(self._file)
                self._file = None

    def is_fresh(self) -> bool:
        """Say whether it was told within REPEAT_S; one from the future is of a clock that was set back."""
        at, _, _ = self._read().partition(" ")
        try:
            return 0 <= time.time() - float(at) < REPEAT_S
        except ValueError:  # nothing, or nothing of ours
            return False

    def write(self, how: str) -> None:
        self._replace(f"{int(time.time())} {how}")

    def take(self) -> str:
        """Return how it was claimed, or "" for not at all, and forget it."""
        _, _, how = self._read().partition(" ")
        if how:
            self._replace("")
        return how

    def _open(self, create: int) -> int:
        number = os.open(self.path, os.O_RDWR | create | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        if os.fstat(number).st_uid != os.geteuid():
            os.close(number)
            raise PermissionError
        return number

    def _read(self) -> str:
        kept = os.pread(self._file, SIZE, 0) if self._file is not None else b""
        return kept.decode(errors="replace").strip() or self._own

    def _replace(self, text: str) -> None:
        self._own = text
        if self._file is not None:
            with suppress(OSError):  # a full disk
                os.pwrite(self._file, text.ljust(SIZE).encode(), 0)
                self._own = ""

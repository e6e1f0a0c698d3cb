"""Homes of embedded servers that are thrown away after a run of the tests or benchmarks."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from config.local.server_home import SHARED_HOME, create_home, is_root

ABANDONED_AFTER_S = 3600


@contextmanager
def temporary_home() -> Iterator[Path]:
    """Create a home in a temporary place; remove it with everything in it afterwards."""
    parent = SHARED_HOME if is_root() else Path(tempfile.gettempdir())
    create_home(parent)
    _remove_abandoned(parent)
    home = Path(tempfile.mkdtemp(prefix="signal-hub-tmp-", dir=parent))
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_root():
            home.chmod(0o711)
        try:
            yield home
        finally:
            shutil.rmtree(home, ignore_errors=True)


def _remove_abandoned(parent: Path) -> None:
    """Remove temporary homes of killed runs: old ones whose lock no process holds."""
    for home in parent.glob("signal-hub-tmp-*"):
        try:
            if time.time() - home.stat().st_mtime < ABANDONED_AFTER_S:
                continue
            with (home / "lock").open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(home, ignore_errors=True)
        except OSError:
            continue

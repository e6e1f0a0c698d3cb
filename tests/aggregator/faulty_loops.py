"""Settings of a hub whose loops crash as a file says, for DJANGO_SETTINGS_MODULE.

The file in FAULTS holds the names of the loops that raise an unexpected error at their next batch.
"""

import os
from pathlib import Path
from typing import Any

from config.settings import *  # noqa: F403 - the hub's settings, but for the loops
from config.settings import WORKER_LOOPS as REAL_LOOPS

FAULTS = Path(os.environ["FAULTS"])

WORKER_LOOPS = {name: f"{__name__}.{name.partition(':')[0]}" for name in REAL_LOOPS}


class FaultyLoop:
    """A loop of the hub, and the errors that a test puts into it."""

    def __init__(self, name: str, *arguments: str) -> None:
        from django.utils.module_loading import import_string

        self.name = ":".join([name, *arguments])
        self.real = import_string(REAL_LOOPS[self.name])(*arguments)
        self.idle_interval_s = min(0.25, self.real.idle_interval_s)

    def run_once(self, *, wait: bool) -> int:
        if self.name in FAULTS.read_text().split():
            raise ZeroDivisionError(self.name)
        return int(self.real.run_once(wait=wait))

    def close(self) -> None:
        self.real.close()


def __getattr__(group: str) -> Any:
    if group in {name.partition(":")[0] for name in REAL_LOOPS}:
        return lambda *arguments: FaultyLoop(group, *arguments)
    raise AttributeError(group)

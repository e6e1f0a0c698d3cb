"""Run Procfiles with honcho, and explain which program ended the run, with its last lines."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from honcho import manager as honcho  # type: ignore[import-untyped]
from honcho.environ import parse_procfile  # type: ignore[import-untyped]
from honcho.printer import Printer  # type: ignore[import-untyped]

from config.local.announcement import print_line

TAIL_LINES = 15
honcho.KILL_WAIT = 40
"""Seconds between SIGTERM and SIGKILL: a consumer finishes its batch, commits and acknowledges first."""


def supervise(
    procfile: Path,
    demo: Path | None,
    environment: Mapping[str, str],
    announce: Callable[[threading.Event], None],
) -> str:
    """Run all programs of the Procfiles until a signal or until one of them ends, other than one of `demo`.

    `announce` runs in a thread once all are started; its event is set before they are ended. Returns what
    went wrong; empty after a signal.
    """
    manager = Manager(announce)
    for file in filter(None, (procfile, demo)):
        for name, command in parse_procfile(file.read_text()).processes.items():
            manager.add_process(name, command, env=dict(environment), cwd=str(file.parent))
            if file is demo:
                manager.may_end.add(name)
    # honcho handles SIGINT and SIGTERM alone; a closed terminal must stop the programs, too.
    signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    manager.loop()
    return manager.failure


class Console(Printer):  # type: ignore[misc]
    """Prints what the programs say and keeps the last lines of each."""

    def __init__(self) -> None:
        super().__init__()
        self.tails: dict[str, deque[str]] = defaultdict(lambda: deque(maxlen=TAIL_LINES))

    def write(self, message: Any) -> None:
        """Print a line of a program, or honcho's own."""
        data = message.data
        text = data.decode(errors="replace") if isinstance(data, bytes) else str(data)
        self.tails[message.name].extend(text.splitlines())
        with suppress(OSError):  # a terminal that is gone must not prevent an orderly stop
            super().write(message)


class Manager(honcho.Manager):  # type: ignore[misc]
    """honcho's manager, safe against a signal that arrives while it is still starting programs."""

    def __init__(self, announce: Callable[[threading.Event], None]) -> None:
        self.console = Console()
        super().__init__(self.console)
        self.may_end: set[str] = set()
        self.failure = ""
        self._announce = announce
        self._stopping = threading.Event()

    def terminate(self) -> None:
        """End all programs; put off until all are known, because honcho cannot signal the others."""
        self._stopping.set()
        if self._all_started():
            super().terminate()

    def _system_print(self, data: str) -> None:
        """Print what honcho says of starts and stops, and follow it."""
        super()._system_print(data)
        ended = re.fullmatch(r"(\S+) stopped \(rc=(-?\d+)\)", data.strip())
        if " started (pid=" in data and self._all_started():
            if self._stopping.is_set():
                self.terminate()
            else:
                threading.Thread(target=self._announce, args=[self._stopping], daemon=True).start()
        elif ended and not self._stopping.is_set():
            name, status = ended.groups()
            if name in self.may_end:
                print_line(f"signal-hub: {name} has ended; the hub goes on without it.")
            elif not self.failure:
                lines = "\n".join(f"    {line}" for line in self.console.tails[name]) or "    (nothing)"
                self.failure = f"signal-hub: {name} ended with status {status}; its last lines:\n{lines}"

    def _any_stopped(self) -> bool:
        """Return whether the run has to end: a demo agent may be stopped, to see how the hub reacts."""
        ended = {name for name, each in self._processes.items() if each.get("returncode") is not None}
        return bool(ended - self.may_end)

"""Run Procfiles with honcho, and explain which program ended the run, with its last lines."""

from __future__ import annotations

import os
import re
import signal
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
    on_started: Callable[[], None],
    on_stopping: Callable[[], None],
) -> str:
    """Run all programs of the Procfiles until a signal or until one of them ends, other than one of `demo`.

    `on_started` is called once all are started, `on_stopping` before they are ended. Returns what went wrong;
    empty after a signal.
    """
    console = Console(on_started, on_stopping)
    manager = Manager(console)
    for file in filter(None, (procfile, demo)):
        for name, command in parse_procfile(file.read_text()).processes.items():
            manager.add_process(name, command, env=dict(environment), cwd=str(file.parent))
            if file is demo:
                manager.may_end.add(name)
    # honcho handles SIGINT and SIGTERM alone; a closed terminal must stop the programs, too.
    signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    manager.loop()
    return console.explanation()


class Console(Printer):  # type: ignore[misc]
    """Prints what the programs say and keeps the last lines of each."""

    def __init__(self, on_started: Callable[[], None], on_stopping: Callable[[], None]) -> None:
        super().__init__()
        self.manager: Manager | None = None
        self._ended: re.Match[str] | None = None
        self._on_started = on_started
        self._on_stopping = on_stopping
        self._interrupted = False
        self._tails: dict[str, deque[str]] = defaultdict(lambda: deque(maxlen=TAIL_LINES))

    def write(self, message: Any) -> None:
        """Print one of honcho's messages: a line of a program, or honcho's own on starts and stops."""
        data = message.data
        text = data.decode(errors="replace") if isinstance(data, bytes) else str(data)
        if message.name == honcho.SYSTEM_PRINTER_NAME:
            self._follow(text.strip())
        else:
            self._tails[message.name].extend(text.splitlines())
        with suppress(OSError):  # a terminal that is gone must not prevent an orderly stop
            super().write(message)

    def _follow(self, text: str) -> None:
        if text.endswith(" received"):
            self._interrupted = True
            self._on_stopping()
        elif " started (pid=" in text and self.manager is not None:
            self.manager.note_start(self._on_started)
        elif self._ended is None and not self._interrupted:
            ended = re.fullmatch(r"(\S+) stopped \(rc=(-?\d+)\)", text)
            if ended and self.manager is not None and ended[1] in self.manager.may_end:
                print_line(f"signal-hub: {ended[1]} has ended; the hub goes on without it.")
            elif ended:
                self._ended = ended
                self._on_stopping()

    def explanation(self) -> str:
        """Return which program ended by itself, with its last lines; empty when none did."""
        if self._ended is None:
            return ""
        name, status = self._ended.groups()
        lines = "\n".join(f"    {line}" for line in self._tails[name]) or "    (nothing)"
        return f"signal-hub: {name} ended with status {status}; its last lines:\n{lines}"


class Manager(honcho.Manager):  # type: ignore[misc]
    """honcho's manager, safe against a signal that arrives while it is still starting programs."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        console.manager = self
        self._end_requested = False
        self.may_end: set[str] = set()

    def note_start(self, on_started: Callable[[], None]) -> None:
        """Note that one more program has started."""
        if not self._all_started():
            return
        if self._end_requested:
            self.terminate()
        else:
            on_started()

    def terminate(self) -> None:
        """End all programs; put off until all are known, because honcho cannot signal the others."""
        if self._all_started():
            super().terminate()
        else:
            self._end_requested = True

    def _any_stopped(self) -> bool:
        """Return whether the run has to end: a demo agent may be stopped, to see how the hub reacts."""
        ended = {name for name, each in self._processes.items() if each.get("returncode") is not None}
        return bool(ended - self.may_end)

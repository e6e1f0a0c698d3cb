"""What the embedded Postgres and Redis have in common: a child process, its data, port and password."""

from __future__ import annotations

import ctypes
import functools
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

import psutil

from config.local.server_home import ServerError, create_home, server_account

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
# Below the ports that Linux and macOS give to outgoing connections: a client that retries while its server is
# down can then never be given the server's own port and connect to itself.
PORTS = range(20000, 32000)


@dataclass(frozen=True)
class Identity:
    """What clients need to reach a server: kept beside its data, readable by its owner only."""

    port: int
    password: str


class Server(ABC):
    """A child process with data in `home`; usable as a context manager.

    `durable=False` trades the safety of the data for speed, for homes that are thrown away.
    On Linux the server ends with the thread that started it, so a killed parent leaves no server behind.
    """

    name: ClassVar[str]
    pid_file: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]

    def __init__(self, home: Path, *, durable: bool = True) -> None:
        self.home = home.absolute()  # the server's own folder is another one than the caller's
        self.durable = durable
        self.data = self.home / self.name
        self.log = self.home / f"{self.name}.log"
        self._identity_file = self.home / f"{self.name}.json"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """Process id of the server; None when it does not run."""
        return self._process.pid if self._process is not None and self.running else None

    @functools.cached_property
    def identity(self) -> Identity:
        """Port and password; made at the first access and kept in the home."""
        try:
            return Identity(**json.loads(self._identity_file.read_text()))
        except FileNotFoundError:
            return self._save_identity(Identity(free_port(), secrets.token_urlsafe(24)))
        except (ValueError, TypeError) as error:
            raise ServerError(f"{self._identity_file} is damaged: {error}") from error

    def start(self) -> None:
        """Start the server and return when it answers.

        Raises ServerError: no binary, no space, no permission, or whatever the server's log names last.
        """
        if self.running:
            return
        try:
            create_home(self.home)
            self._prepare()
            self._end_predecessor()
            self._start_until(time.monotonic() + START_TIMEOUT_S)
        except OSError as error:
            raise ServerError(f"{self.name}: {error}") from error

    def stop(self) -> None:
        """Stop the server and wait for its end; harsher signals follow when it does not end in time."""
        process, self._process = self._process, None
        if process is None:
            return
        for step in (self.stop_signal, signal.SIGQUIT, signal.SIGKILL):
            process.send_signal(step)
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                continue
            return

    def _start_until(self, deadline: float) -> None:
        if not is_port_free(self.identity.port):
            self._save_identity(replace(self.identity, port=free_port()))
        while (reason := self._try_start(deadline)) is not None:
            if "in use" not in reason or time.monotonic() > deadline:
                raise ServerError(f"{self.name} does not start: {reason} (log: {self.log})")
            if "shared memory" in reason:
                # Processes of a killed predecessor need a moment to notice that it is gone.
                time.sleep(0.2)
            else:
                self._save_identity(replace(self.identity, port=free_port()))

    def _try_start(self, deadline: float) -> str | None:
        """Start once; return None when the server answers, or why it does not, with no process left."""
        reason: str | None = "interrupted"
        try:
            self._process = self._launch()
            reason = self._await_ready(deadline)
        finally:
            if reason is not None:
                self.stop()
        return reason

    def _await_ready(self, deadline: float) -> str | None:
        while self.running:
            problem = self._probe()
            if problem is None:
                return None
            if time.monotonic() > deadline:
                return f"no answer within {START_TIMEOUT_S:.0f} s: {problem}"
            time.sleep(0.03)
        return last_log_line(self.log)

    def _end_predecessor(self) -> None:
        """End a server that a killed run left on our data, and remove a pid file without a process."""
        pid_file = self.data / self.pid_file
        try:
            process = psutil.Process(int(pid_file.read_text().split()[0]))
            # The number may belong to another program: only one that works in our data folder is ours.
            if Path(process.cwd()) == self.data.resolve():
                process.send_signal(self.stop_signal)
                process.wait(STOP_TIMEOUT_S)
        except (FileNotFoundError, ValueError, IndexError, psutil.Error):
            pass
        pid_file.unlink(missing_ok=True)

    def _spawn(
        self, command: Sequence[str | Path], cwd: Path, stdin: str | None = None
    ) -> subprocess.Popen[bytes]:
        """Run a program of the server, its output to the log.

        It gets a session of its own: a terminal's Ctrl-C must not stop the server before its clients.
        """
        account = server_account()
        # No more than it needs: a developer's PGDATA, PGPORT or locale must not affect it.
        kept = {key: value for key, value in os.environ.items() if key in {"PATH", "TMPDIR"}}
        self.log.touch(mode=0o600)
        self.log.chmod(0o600)  # it may be of a version that left it readable, and holds what clients sent
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env={"LC_ALL": "C", "TZ": "UTC"} | kept,
                start_new_session=True,
                preexec_fn=_end_with_parent(self.stop_signal),
                user=account.pw_uid if account else None,
                group=account.pw_gid if account else None,
                extra_groups=() if account else None,
            )
        if stdin is not None and process.stdin is not None:
            with process.stdin:
                process.stdin.write(stdin.encode())
        return process

    def _save_identity(self, identity: Identity) -> Identity:
        create_home(self.home)
        draft = self._identity_file.with_suffix(".part")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(asdict(identity)))
        draft.replace(self._identity_file)
        self.__dict__["identity"] = identity
        return identity

    @abstractmethod
    def _prepare(self) -> None:
        """Make what the first start needs."""

    @abstractmethod
    def _launch(self) -> subprocess.Popen[bytes]: ...

    @abstractmethod
    def _probe(self) -> str | None:
        """Return None when the server answers, else what is wrong."""


def free_port() -> int:
    """Return a random port on which no program listens."""
    for _ in range(200):
        if is_port_free(port := secrets.choice(PORTS)):
            return port
    raise ServerError(f"no free port between {PORTS.start} and {PORTS.stop}")


def is_port_free(port: int) -> bool:
    """Return whether a server could listen on this port."""
    with socket.socket() as probe:
        # As servers do it; without it a port would count as taken for a minute after each stop.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def last_log_line(log: Path) -> str:
    """Return the line of a server's log that most likely names why it ended."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    for telling in ("No space left|free disk space", "Permission denied", "in use", "FATAL|PANIC|error:"):
        causes = [line for line in lines if re.search(telling, line)]
        if causes:
            return re.sub(r"^.*?(FATAL|PANIC|LOG|HINT|error): +", "", causes[-1])
    return lines[-1] if lines else "it ended without a message"


def _end_with_parent(stop_signal: signal.Signals) -> Callable[[], None] | None:
    """Return a hook for the child that has Linux signal it when its parent has ended, however it ended."""
    if sys.platform != "linux":
        return None
    set_parent_death_signal = ctypes.CDLL(None).prctl
    return lambda: set_parent_death_signal(1, int(stop_signal))

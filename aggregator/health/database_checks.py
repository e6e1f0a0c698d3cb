"""Checks of Postgres: that signals can be recorded, and that its schema is this program's."""

from functools import cache

from django.db import DEFAULT_DB_ALIAS, Error, connections
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from aggregator.health.checks import Check, CheckError, Degraded, Failed
from aggregator.ledger.errors import sqlstate
from aggregator.ledger.functions import outdated_functions
from aggregator.ledger.trial import try_recording

UNKNOWN = "unknown without the database"
MAX_NAMED = 5


class DatabaseCheck(Check):
    """A database takes a signal, which is written as recording does it, and taken back."""

    fresh_s = 2.0

    def __init__(self, alias: str) -> None:
        super().__init__()
        self.name = "database" if alias == DEFAULT_DB_ALIAS else f"database:{alias}"
        self.alias = alias

    def run(self) -> None:
        try:
            missing = try_recording(self.alias)
        except Error as error:
            summary = "cannot record signals" if sqlstate(error) else "does not answer"
            raise Failed(summary, error_text(error)) from error
        if missing:
            raise Failed("rights are missing", ", ".join(missing[:MAX_NAMED]))


class DatabaseDependentCheck(Check):
    """A check of something else that reads the database. It degrades while the database is away, whose own
    check fails then: an operator should not look for a second cause.
    """

    def hung(self, detail: str) -> CheckError:
        return Degraded(UNKNOWN, detail)

    def crashed(self, error: Exception) -> CheckError:
        return Degraded(UNKNOWN, error_text(error)) if isinstance(error, Error) else super().crashed(error)


class MigrationsCheck(DatabaseDependentCheck):
    """Every database has the tables and functions that this program expects."""

    name = "migrations"
    fresh_s = 5.0

    def run(self) -> None:
        commands, missing = [], []
        for alias in connections:
            applied = MigrationRecorder(connections[alias]).applied_migrations()
            absent = [
                f"{app}.{name}" for app, name in expected_migrations(alias) if (app, name) not in applied
            ]
            if absent:
                commands.append("migrate" if alias == DEFAULT_DB_ALIAS else f"migrate --database {alias}")
                missing.append(f"{alias}: {', '.join(absent)}")
        if not missing and outdated_functions():
            commands, missing = ["migrate"], ["functions that differ from the program's"]
        if missing:
            run = " and ".join(f"manage.py {command}" for command in commands)
            raise Failed("not all applied", f"run {run}; missing {'; '.join(missing)}")


@cache
def expected_migrations(alias: str) -> list[tuple[str, str]]:
    """Return the last migration of each app that has tables in the database `alias`, as (app, name)."""
    leaves: list[tuple[str, str]] = MigrationLoader(None).graph.leaf_nodes()
    return [leaf for leaf in leaves if alias == DEFAULT_DB_ALIAS or leaf[0] == "aggregator"]


def error_text(error: Error) -> str:
    """Return what the server or libpq reports, without the address that libpq puts before it."""
    first = str(error).strip().partition("\n")[0]
    return " ".join(filter(None, (sqlstate(error), first.rpartition(" failed: ")[2].strip())))

"""Emptying the databases after a test that commits."""

from __future__ import annotations

from typing import Any

from django.db import OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import TransactionTestCase

KEPT = ("django_content_type", "auth_permission")
"""What `migrate` writes by the models alone, so that it is the same after every test."""
MAX_DEADLOCKS = 5
TRIGGER = "append_only"
"""Refuses to delete from the tables that have it, whose owner may switch it off."""
APPEND_ONLY = (
    f"SELECT relname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid WHERE tgname = '{TRIGGER}'"
)
PAGE_BYTES = 8192
"""A table of more than a page is truncated: among dead rows new ones lie in another order than they came."""


def empty_after_each_test() -> None:
    """Have pytest-django empty the databases by `empty` in place of `manage.py flush`.

    That truncates some forty tables with their indexes, however few have rows, and then makes the permissions
    anew: 170 ms a test, against 3 ms.
    """

    def empty_all(test: TransactionTestCase) -> None:
        for alias in test._databases_names(include_mirrors=False):
            empty_despite_readers(connections[alias])

    TransactionTestCase._fixture_teardown = empty_all


def empty_despite_readers(connection: BaseDatabaseWrapper) -> None:
    """Empty a database, again where a program of the test that is still reading caused a deadlock."""
    for left in range(MAX_DEADLOCKS, -1, -1):
        try:
            return empty(connection)
        except OperationalError as error:
            if not left or getattr(error.__cause__, "sqlstate", "") != "40P01":
                raise
    return None


def empty(connection: BaseDatabaseWrapper) -> None:
    """Delete all rows but those of `KEPT`; waits for every transaction under way, as TRUNCATE does."""
    found = connection.introspection.django_table_names(only_existing=True, include_views=False)
    tables = [connection.ops.quote_name(name) for name in sorted({*found} - {*KEPT})]
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE")
        cursor.execute(
            "SELECT name FROM unnest(%s::text[]) name WHERE pg_relation_size(name::regclass) > %s",
            [tables, PAGE_BYTES],
        )
        large = [name for (name,) in cursor.fetchall()]
        cursor.execute(APPEND_ONLY)
        refusing = {connection.ops.quote_name(name) for (name,) in cursor.fetchall()} & {*tables}
        filled = {name for name in refusing if has_rows(cursor, name)}
        for name in filled:
            cursor.execute(f"ALTER TABLE {name} DISABLE TRIGGER {TRIGGER}")
        if large:
            cursor.execute(f"TRUNCATE {', '.join(large)} CASCADE")
        cursor.execute("; ".join(f"DELETE FROM {name}" for name in tables if name not in refusing - filled))
        for name in filled:
            cursor.execute(f"ALTER TABLE {name} ENABLE TRIGGER {TRIGGER}")


def has_rows(cursor: Any, table: str) -> bool:
    """Return whether a table has rows."""
    cursor.execute(f"SELECT EXISTS (SELECT FROM {table})")
    return bool(cursor.fetchone()[0])

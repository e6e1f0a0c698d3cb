"""Django 5.2 asks for Postgres 14 or later; shared servers still run 13, and nothing used here needs more.

A backend of Django's is a package with a module of this name:
https://docs.djangoproject.com/en/5.2/ref/databases/#subclassing-the-built-in-database-backends
"""

from datetime import UTC
from typing import Any, cast

import psycopg
from django.db.backends.base.base import NO_DB_ALIAS
from django.db.backends.postgresql import base, features
from psycopg.abc import Loader
from psycopg.pq import Format

from aggregator.postgres.pool import Connection, Pool, close_idle_connections, pool_of


class _TimestampLoader:
    """psycopg's own, compiled where it can be: Django's takes twenty times as long for each timestamp."""

    format = Format.TEXT
    timezone = UTC
    """What Django asks for, before it would set its own."""

    def __new__(cls, oid: int, context: Any = None) -> Loader:  # type: ignore[misc] # a factory
        loader = psycopg.adapters.get_loader(oid, cls.format)
        assert loader, "psycopg has one"
        return loader(oid, context)


class DatabaseFeatures(features.DatabaseFeatures):
    minimum_database_version = (13,)


class DatabaseWrapper(base.DatabaseWrapper):
    """A thread's connection, acquired from the process's pool and released to it when it is closed."""

    features_class = DatabaseFeatures
    _acquired_from: Pool | None = None

    def get_new_connection(self, conn_params: dict[str, Any]) -> Connection:
        if self.alias == NO_DB_ALIAS:
            return self._connect(conn_params)
        options = {name: value for name, value in conn_params.items() if isinstance(value, str | int)}
        self._acquired_from = pool_of(frozenset(options.items()))
        return self._acquired_from.acquire(lambda: self._connect(conn_params))

    def _connect(self, conn_params: dict[str, Any]) -> Connection:
        connection = cast(Connection, super().get_new_connection(conn_params))
        connection.adapters.register_loader("timestamptz", cast(type[Loader], _TimestampLoader))
        return connection

    def _close(self) -> None:
        if self._acquired_from is None or self.connection is None:
            super()._close()  # type: ignore[misc] # the stubs lack it
            return
        with self.wrap_database_errors:
            if self.in_atomic_block:  # Django keeps it until the block ends
                self.connection.close()
            self._acquired_from.release(self.connection)

    def close_pool(self) -> None:
        """Close the connections that no thread uses, of which Django wants none when it drops a database."""
        close_idle_connections()

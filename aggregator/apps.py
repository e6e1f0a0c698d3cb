"""The aggregator as a Django application."""

from typing import Any

from django.apps import AppConfig
from django.core.management.base import CommandError
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.migrations.recorder import MigrationRecorder
from django.db.models.signals import post_migrate, pre_migrate

from aggregator.ledger import functions

WEB_API_ROLES = ("anon", "authenticated")
"""Supabase's public web API runs as these, and its default privileges give them every new table."""


WITHOUT_MODELS = ("ledger_lock", "outcome_lock", "django_migrations")
FIRST_UNRELEASED = "0001_trading_signals"
"""A migration that only databases from before the first release have."""


class AggregatorConfig(AppConfig):
    name = "aggregator"
    verbose_name = "Signals"

    def ready(self) -> None:
        pre_migrate.connect(refuse_unreleased_tables, sender=self)
        post_migrate.connect(close_to_web_api, sender=self)
        post_migrate.connect(create_ledger_functions, sender=self)


def refuse_unreleased_tables(using: str, **_: Any) -> None:
    """Raise CommandError for a database with the tables of a version before the first release."""
    applied = MigrationRecorder(connections[using]).applied_migrations()
    if ("aggregator", FIRST_UNRELEASED) in applied:
        raise CommandError(
            f"the database {using!r} holds the tables of a version before the first release, "
            "which this one cannot read: use an empty database"
        )


def close_to_web_api(using: str, **_: Any) -> None:
    """Take the hub's tables out of reach of a database's own public web API, where there is one."""
    connection = connections[using]
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY (%s)", [list(WEB_API_ROLES)])
        roles = ", ".join(name for (name,) in cursor.fetchall())
        tables = connection.introspection.django_table_names(only_existing=True)
        if roles and tables:
            names = ", ".join(map(connection.ops.quote_name, [*tables, *WITHOUT_MODELS]))
            cursor.execute(f"REVOKE ALL ON {names} FROM {roles}")


def create_ledger_functions(using: str, **_: Any) -> None:
    """Create the ledger's functions in the core database; an ecosystem's own one has no positions."""
    if using == DEFAULT_DB_ALIAS and "trading_signals" in connections[using].introspection.table_names():
        functions.create_functions()

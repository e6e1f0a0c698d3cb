"""Limits of an agent's database role, and what it has only because every role has it.

A role may change its own settings, so time limits hold for agents that err rather than for those that attack;
the ledger waits for neither. Every role may create temporary tables and large objects, which fill a disk:
that can be taken from all of them alone, and only by the owner of the database or a superuser.
"""

from typing import Any

from django.db import DatabaseError, transaction
from psycopg import sql

MAX_CONNECTIONS = 10
SETTINGS = {"idle_in_transaction_session_timeout": "10s", "statement_timeout": "30s"}
"""Time limits of the role's sessions: an agent inserts and commits."""
SINCE_17 = {"transaction_timeout": "60s"}
LARGE_OBJECTS = ("lo_creat(integer)", "lo_create(oid)", "lo_from_bytea(oid, bytea)")

LEFT = """
    SELECT has_database_privilege(%(role)s, current_database(), 'TEMPORARY'),
        (SELECT bool_or(has_function_privilege(%(role)s, 'pg_catalog.' || name, 'EXECUTE'))
            FROM unnest(%(functions)s::text[]) AS name)"""


def limit_statements(cursor: Any, name: str) -> list[sql.Composed]:
    """Return the DDL that limits a role's connections and how long it may take, for this server's version."""
    role = sql.Identifier(name)
    cursor.execute("SELECT current_setting('server_version_num')::int")
    settings = SETTINGS | (SINCE_17 if cursor.fetchone()[0] >= 170_000 else {})
    return [
        sql.SQL("ALTER ROLE {} CONNECTION LIMIT {}").format(role, sql.Literal(MAX_CONNECTIONS)),
        *(
            sql.SQL("ALTER ROLE {} SET {} = {}").format(role, sql.Identifier(setting), sql.Literal(value))
            for setting, value in settings.items()
        ),
    ]


def revoke_from_public(cursor: Any, using: str, database: str, name: str) -> list[str]:
    """Take temporary tables and large objects from every role, as far as this one may.

    Returns the statements that somebody else has to run, for the role `name` to be without them.
    """
    temporary = sql.SQL("TEMPORARY ON DATABASE {}").format(sql.Identifier(database))
    # The hub itself stages large batches in a temporary table.
    attempts = [
        [sql.SQL("GRANT {} TO CURRENT_USER"), sql.SQL("REVOKE {} FROM PUBLIC")],
        [sql.SQL("REVOKE {} FROM PUBLIC")],
    ]
    listed = sql.SQL("EXECUTE ON FUNCTION {}").format(
        sql.SQL(", ").join(sql.SQL(f"pg_catalog.{function}") for function in LARGE_OBJECTS)
    )
    for statements, what in zip(attempts, (temporary, listed), strict=True):
        try:
            with transaction.atomic(using=using):
                for statement in statements:
                    cursor.execute(statement.format(what))
        except DatabaseError:
            pass  # what is left says so
    cursor.execute(LEFT, {"role": name, "functions": list(LARGE_OBJECTS)})
    left = zip(cursor.fetchone(), (temporary, listed), strict=True)
    return [
        sql.SQL("REVOKE {} FROM PUBLIC").format(what).as_string(cursor.connection)
        for is_left, what in left
        if is_left
    ]

"""Trying whether signals can be recorded.

A mere query is answered by a read-only server, by one whose disk is full, and to a role that lost its rights.
"""

from django.apps import apps
from django.db import connections

from aggregator.ledger import sql


def try_recording(alias: str) -> list[str]:
    """Write a signal into a database and take it back; return the rights on its tables that are missing.

    Raises the database's own error where it cannot be done. Waits two seconds at most for a lock.
    """
    connection = connections[alias]
    tables = [model._meta.db_table for model in apps.get_models() if model._meta.managed]
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql.FIND_MISSING_RIGHTS, {"tables": tables})
            missing = [name for (name,) in cursor.fetchall()]
            cursor.execute(sql.TRY_RECORDING)
    except BaseException:
        connection.close()  # what was begun ends with it
        raise
    return missing

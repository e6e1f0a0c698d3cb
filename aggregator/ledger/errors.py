"""Database errors, classified: an outage, the data's own fault, or a bug.

They are classified by SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html), since
exception classes put a lost connection and a missing column under the same name.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from django.db import Error, InterfaceError, OperationalError, close_old_connections

OUTAGE_CLASSES = ("08", "40", "53", "57", "58")
"""Connection, serialization and deadlock, resources, operator intervention, system error."""
READ_ONLY = "25006"
"""A server that is a replica after a failover."""
LOCK_NOT_AVAILABLE = "55P03"
SESSION_ENDING = ("FATAL", "PANIC")
"""Severities after which the server has closed the connection, or a pooler in its place. Some poolers have no
SQLSTATE but XX000 for it."""
DATA_CLASSES = ("22", "23", "54")
"""Values, constraints, limits."""
OWN_CONSTRAINTS = ("trading_signals_position_key", "trading_signals_pkey")
"""Of columns that the hub or the database fills. A violation means that a sequence fell behind."""


class Outage(Exception):
    """The database cannot take it now, through no fault of the entries. Nothing was recorded: try again."""


class DataFault(Exception):
    """The database refuses what an entry holds; the text names the SQLSTATE and the constraint, no value."""


class Contended(Exception):
    """An open transaction of an agent holds the identity of a signal. Nothing was recorded."""


def sqlstate(error: BaseException) -> str:
    """Return the error's SQLSTATE, also of one that Django has wrapped; "" where it has none."""
    reported = _reported(error)
    return (reported.sqlstate or "") if reported else ""


def constraint(error: BaseException) -> str:
    """Return the name of the constraint that an error is about; "" where there is none."""
    reported = _reported(error)
    return (reported.diag.constraint_name or "") if reported else ""


def is_outage(error: BaseException) -> bool:
    """Return whether waiting may help, whatever was sent."""
    state = sqlstate(error)
    if not state:
        # No server answered, or the connection broke.
        return isinstance(
            error, (OperationalError, InterfaceError, psycopg.OperationalError, psycopg.InterfaceError)
        )
    reported = _reported(error)
    ended = reported is not None and reported.diag.severity_nonlocalized in SESSION_ENDING
    return ended or state.startswith(OUTAGE_CLASSES) or state in {READ_ONLY, LOCK_NOT_AVAILABLE}


def _reported(error: BaseException) -> psycopg.Error | None:
    """Return the error as psycopg has it, also of one that Django has wrapped."""
    return next((each for each in (error, error.__cause__) if isinstance(each, psycopg.Error)), None)


@contextmanager
def classified() -> Iterator[None]:
    """Turn database errors into Outage or DataFault; what is neither passes, to crash loudly.

    A connection that an error left unusable is closed, so that the next attempt gets a new one.
    """
    try:
        yield
    except (Error, psycopg.Error) as error:
        if is_outage(error):
            close_old_connections()
            raise Outage(
                f"the database is not available ({sqlstate(error) or type(error).__name__})"
            ) from error
        name = constraint(error)
        if sqlstate(error).startswith(DATA_CLASSES) and name not in OWN_CONSTRAINTS:
            raise DataFault(f"SQLSTATE {sqlstate(error)}, {name or 'no constraint'}") from error
        raise

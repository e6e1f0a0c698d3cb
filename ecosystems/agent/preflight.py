"""Checks of the connection to the hub before an agent starts: a wrong key or URL is reported at once.

An outage fails no check: the outbox bridges it.
"""

import logging
import socket
from contextlib import closing
from typing import TYPE_CHECKING

import psycopg
import redis
import requests

from ecosystems.bus.configuration import webhook_transport
from ecosystems.bus.redis import make_client
from ecosystems.bus.transport import BusError
from ecosystems.bus.webhook import problem_of
from ecosystems.http_errors import error_chain
from ecosystems.redis_client import error_text

if TYPE_CHECKING:
    from ecosystems.env import Environment

logger = logging.getLogger("signal_hub.agent")

DATABASE_REFUSALS = {
    "authentication failed": "refuses the user or the password",
    "root certificate file": "cannot be verified without its authority's certificate (sslrootcert)",
    "does not exist": "has no such database or role",
    "no pg_hba.conf entry": "does not admit this server",
    "certificate verify failed": "has a certificate that cannot be verified",
}
"""Parts of libpq's texts, which are all that it offers when a connection cannot be made; the first holds."""

UNKNOWN_HOST = "has a host name that cannot be resolved: check its spelling"


def failed_checks(environment: "Environment", ecosystem: str) -> list[str]:
    """Return a line for each transport that cannot work as it is configured; warn of outages."""
    found = []
    match environment.bus_backend()[0]:
        case "webhook":
            found.append(_webhook(environment))
        case "redis":
            found.append(_redis(environment.redis_url or ""))
    if url := environment.database_url(ecosystem):
        own = ecosystem in environment.ecosystem_db_urls
        found.append(_database(url, f"CORE_{ecosystem.upper()}_DB_URL" if own else "CORE_DB_URL"))
    return [line for line in found if line]


def _webhook(environment: "Environment") -> str | None:
    """Post an empty array, to which a hub that knows the sender answers 400 and keeps nothing."""
    try:
        with closing(webhook_transport(environment)) as transport:
            response = transport.post(b"[]")
    except requests.RequestException as error:
        if _is_unknown_host(error):
            return f"CORE_EVENT_WEBHOOK_URL {UNKNOWN_HOST}"
        return _outage("the webhook", type(error).__name__)
    status, code = response.status_code, problem_of(response.content).code
    if status == 400 and code == "empty":
        return None
    if status == 401 or code == "scope_missing":
        return (
            f"the hub refuses this agent ({status}): CORE_EVENT_WEBHOOK_SECRET and the first key of "
            "CORE_API_KEYS must be the hub's, and the key must have the scope to publish"
        )
    if status == 429 or status >= 500:
        return _outage("the webhook", f"status {status}")
    return f"there is no hub at CORE_EVENT_WEBHOOK_URL (it answers {status}): the URL ends in /api/signals"


def _redis(url: str) -> str | None:
    try:
        with make_client(url) as client:
            client.ping()
    except BusError as error:
        return str(error)
    except (redis.exceptions.AuthenticationError, redis.exceptions.NoPermissionError):
        return "Redis refuses the user or the password of CORE_REDIS_URL"
    except (redis.RedisError, OSError, UnicodeError) as error:
        if _is_unknown_host(error):
            return f"CORE_REDIS_URL {UNKNOWN_HOST}"
        # Other answers, such as MISCONF, are about the server's state, which may pass.
        if isinstance(error, redis.ResponseError) and error.status_code == "ERR":
            return f"Redis refuses CORE_REDIS_URL: {error}"
        return _outage("Redis", error_text(error))
    return None


def _database(url: str, variable: str) -> str | None:
    try:
        with psycopg.connect(url, connect_timeout=5, autocommit=True, prepare_threshold=None) as connection:
            row = connection.execute(
                "SELECT has_any_column_privilege(to_regclass('trading_signals'), 'INSERT')"
            ).fetchone()
    except psycopg.ProgrammingError:
        return f"{variable} is not valid: it may hold postgres://user:password@host:5432/name"
    except (psycopg.Error, UnicodeError) as error:
        # The text is psycopg's of a failed getaddrinfo.
        if _is_unknown_host(error) or f"[Errno {socket.EAI_NONAME}]" in str(error):
            return f"{variable} {UNKNOWN_HOST}"
        for part, meaning in DATABASE_REFUSALS.items():
            if part in str(error):
                return f"the database of {variable} {meaning}: check it, or run `manage.py agent_role`"
        return _outage("the database", type(error).__name__)
    if not row or row[0] is None:
        return f"the database of {variable} has no table trading_signals: `manage.py migrate` creates it"
    return (
        None
        if row[0]
        else f"the role of {variable} may not insert: `manage.py agent_role` creates one that may"
    )


def _is_unknown_host(error: Exception) -> bool:
    """Return whether the resolver knows no such name; any other failure of it may pass."""
    return isinstance(error, UnicodeError) or any(
        isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_NONAME
        for cause in error_chain(error)
    )


def _outage(what: str, why: str) -> str | None:
    """Warn of an outage, which fails no check."""
    logger.warning("agent: %s cannot be reached now (%s): signals wait in the outbox", what, why)
    return None

"""`manage.py agent_role`: a database role for an agent that inserts its signals itself.

A role may change its own settings, so time limits hold for agents that err rather than for those that attack;
the ledger waits for neither. Every role may create temporary tables and large objects, which fill a disk:
that can be taken from all of them alone, and only by the owner of the database or a superuser.
"""

import re
import secrets
from argparse import ArgumentParser
from collections.abc import Sequence
from itertools import cycle
from typing import Any
from urllib.parse import quote, urlencode

from django.core.management.base import CommandError
from django.db import DatabaseError, Error, connections, transaction
from psycopg import sql

from aggregator.ledger.errors import sqlstate
from aggregator.management.hub_command import HubCommand
from ecosystems import ECOSYSTEMS
from ecosystems.signal import RULES, is_agent_source

# What it may do more: by an attribute, as a member of another role, as an owner, or by a grant in this
# database on anything but the ledger.
EXISTING = """
    SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls OR rolreplication,
        rolname = current_user,
        EXISTS (SELECT FROM pg_auth_members WHERE member = role.oid),
        EXISTS (SELECT FROM pg_shdepend WHERE refclassid = 'pg_authid'::regclass AND refobjid = role.oid
            AND (deptype = 'o' OR deptype = 'a' AND objid <> 'trading_signals'::regclass
                AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())))
    FROM pg_roles AS role WHERE rolname = %s"""

MAX_CONNECTIONS = 10
# A time without an offset is UTC, as over every other transport. An agent inserts and commits.
SETTINGS = {"timezone": "UTC", "idle_in_transaction_session_timeout": "10s", "statement_timeout": "30s"}
SINCE_17 = {"transaction_timeout": "60s"}
LARGE_OBJECTS = ("lo_creat(integer)", "lo_create(oid)", "lo_from_bytea(oid, bytea)")

LEFT = """
    SELECT has_database_privilege(%(role)s, current_database(), 'TEMPORARY'),
        (SELECT bool_or(has_function_privilege(%(role)s, 'pg_catalog.' || name, 'EXECUTE'))
            FROM unnest(%(functions)s::text[]) AS name)"""

TLS_OPTIONS = ("sslmode", "sslrootcert", "target_session_attrs")


class Command(HubCommand):
    help = (
        "Create a database role that may insert the signals of one ecosystem and do nothing else: no "
        "reading, no positions, no other ecosystem. Run again, it gives the role a new password."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="the role: lower-case letters, digits and underscores")
        parser.add_argument("--ecosystem", required=True, choices=ECOSYSTEMS)
        parser.add_argument(
            "--agent",
            action="append",
            default=[],
            metavar="NAME",
            help="an agent (agent_source) it may insert as; may be given several times (default: any)",
        )
        parser.add_argument("--database", default="default", help="default, or an ecosystem's own database")

    def handle(self, *args: Any, **options: Any) -> None:
        name, ecosystem, alias = options["name"], options["ecosystem"], options["database"]
        agents = options["agent"]
        # Ten more name its policy: Postgres cuts names at 63, and two roles must not share a policy.
        if not re.fullmatch(r"[a-z_][a-z0-9_]{0,52}", name):
            raise CommandError("a role's name is of up to 53 lower-case letters, digits and underscores")
        if alias not in connections:
            raise CommandError(f"there is no database {alias!r}; there are: {', '.join(connections)}")
        if not all(map(is_agent_source, agents)):
            raise CommandError(f"--agent: a name is a {RULES['agent_source']}, without invisible ones")
        password = secrets.token_urlsafe(24)
        try:
            with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
                verb = "ALTER" if self.existing(cursor, name) else "CREATE"
                settings = SETTINGS | (SINCE_17 if cursor.connection.info.server_version >= 170_000 else {})
                for statement in statements(verb, name, ecosystem, agents, password, settings):
                    cursor.execute(statement)
                left = revoke_from_public(cursor, alias, connections[alias].settings_dict["NAME"], name)
                cursor.execute("SELECT has_schema_privilege(%s, 'public', 'CREATE')", [name])
                may_create = cursor.fetchone()[0]
        except Error as error:
            reason = str(error).partition("\n")[0]
            raise CommandError(f"the database refuses ({sqlstate(error)}): {reason}") from error
        names = f" of {', '.join(agents)}" if agents else ""
        self.stderr.write(f"Role {name} may insert {ecosystem} signals{names}. Its URL, shown this once:")
        if may_create:
            self.stderr.write(
                "Note: this server lets every role create tables in the schema public (as all did before "
                "Postgres 15). To end that: REVOKE CREATE ON SCHEMA public FROM PUBLIC"
            )
        for revocation in left:
            self.stderr.write(
                f"Note: it may do what every role may. To end that, as a superuser: {revocation}"
            )
        self.stdout.write(url_of(connections[alias].settings_dict, name, password))

    def existing(self, cursor: Any, name: str) -> bool:
        """Return whether the role exists. Raises CommandError for one that this command did not create."""
        cursor.execute(EXISTING, [name])
        found = cursor.fetchone()
        if found and any(found):
            raise CommandError(f"the role {name} exists already and may do more; choose another name")
        return found is not None


def url_of(settings: Any, name: str, password: str) -> str:
    """Return the role's URL of a database, by the same way as the hub's own.

    A pooler that serves many projects finds the project behind the first dot of the user, as in
    `postgres.PROJECT`.
    """
    _, dot, project = settings["USER"].partition(".")
    hosts = (settings["HOST"] or "localhost").split(",")
    ports = (settings["PORT"] or "5432").split(",")
    where = ",".join(f"{_in_url(host)}:{port}" for host, port in zip(hosts, cycle(ports), strict=False))
    kept = {option: settings["OPTIONS"][option] for option in TLS_OPTIONS if option in settings["OPTIONS"]}
    query = f"?{urlencode(kept)}" if kept else ""
    return f"postgres://{name}{dot}{project}:{password}@{where}/{quote(settings['NAME'], safe='')}{query}"


def _in_url(host: str) -> str:
    """Return a host as a URL has it: an IPv6 address in brackets, the folder of a socket percent-encoded."""
    return f"[{host}]" if ":" in host else quote(host, safe="")


def statements(
    verb: str, name: str, ecosystem: str, agents: Sequence[str], password: str, settings: dict[str, str]
) -> list[sql.Composed]:
    """Return the DDL: a login that may insert the public columns of its agents' rows alone, within limits."""
    role = sql.Identifier(name)
    columns = sql.SQL(", ").join(map(sql.Identifier, RULES))
    policy = sql.Identifier(f"{name}_ecosystem")
    own = sql.SQL("agent_source = ANY ({})").format(sql.Literal(list(agents))) if agents else sql.SQL("true")
    return [
        sql.SQL("{} ROLE {} LOGIN NOINHERIT PASSWORD {}").format(sql.SQL(verb), role, sql.Literal(password)),
        sql.SQL("ALTER ROLE {} CONNECTION LIMIT {}").format(role, sql.Literal(MAX_CONNECTIONS)),
        *(
            sql.SQL("ALTER ROLE {} SET {} = {}").format(role, sql.Identifier(setting), sql.Literal(value))
            for setting, value in settings.items()
        ),
        sql.SQL("REVOKE ALL ON trading_signals FROM {}").format(role),
        sql.SQL("GRANT INSERT ({}) ON trading_signals TO {}").format(columns, role),
        sql.SQL("DROP POLICY IF EXISTS {} ON trading_signals").format(policy),
        sql.SQL(
            "CREATE POLICY {} ON trading_signals AS RESTRICTIVE TO {} "
            "USING (false) WITH CHECK (ecosystem = {} AND {})"
        ).format(policy, role, sql.Literal(ecosystem), own),
    ]


def revoke_from_public(cursor: Any, using: str, database: str, name: str) -> list[str]:
    """Take temporary tables and large objects from every role, as far as this one may.

    Returns the statements that another role has to run, for the role `name` to be without them.
    """
    revoke = sql.SQL("REVOKE {} FROM PUBLIC")
    temporary = sql.SQL("TEMPORARY ON DATABASE {}").format(sql.Identifier(database))
    large_objects = sql.SQL("EXECUTE ON FUNCTION {}").format(
        sql.SQL(", ").join(sql.SQL(f"pg_catalog.{function}") for function in LARGE_OBJECTS)
    )
    revocations = [revoke.format(temporary), revoke.format(large_objects)]
    # The hub itself stages large batches in a temporary table.
    grant = sql.SQL("GRANT {} TO CURRENT_USER").format(temporary)
    for attempt in ([grant, revocations[0]], [revocations[1]]):
        try:
            with transaction.atomic(using=using):
                for statement in attempt:
                    cursor.execute(statement)
        except DatabaseError:
            pass  # what is left says so
    cursor.execute(LEFT, {"role": name, "functions": list(LARGE_OBJECTS)})
    left = zip(cursor.fetchone(), revocations, strict=True)
    return [revocation.as_string(cursor.connection) for is_left, revocation in left if is_left]

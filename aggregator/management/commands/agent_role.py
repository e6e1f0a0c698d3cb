"""`manage.py agent_role`: a database role for an agent that inserts its signals itself."""

import re
import secrets
from argparse import ArgumentParser
from collections.abc import Sequence
from itertools import cycle
from typing import Any
from urllib.parse import quote, urlencode

from django.core.management.base import CommandError
from django.db import Error, connections, transaction
from psycopg import sql

from aggregator.ledger.errors import sqlstate
from aggregator.management.hub_command import HubCommand
from aggregator.management.role_limits import limit_statements, revoke_from_public
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
                for statement in statements(name, ecosystem, agents, password, self.existing(cursor, name)):
                    cursor.execute(statement)
                for statement in limit_statements(cursor, name):
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
    name: str, ecosystem: str, agents: Sequence[str], password: str, exists: bool
) -> list[sql.Composed]:
    """Return the DDL: a login that may insert the public columns of its agents' rows alone."""
    role = sql.Identifier(name)
    columns = sql.SQL(", ").join(map(sql.Identifier, RULES))
    policy = sql.Identifier(f"{name}_ecosystem")
    verb = sql.SQL("ALTER" if exists else "CREATE")
    own = sql.SQL("agent_source = ANY ({})").format(sql.Literal(list(agents))) if agents else sql.SQL("true")
    return [
        sql.SQL("{} ROLE {} LOGIN NOINHERIT PASSWORD {}").format(verb, role, sql.Literal(password)),
        # A time without an offset is UTC, as over every other transport.
        sql.SQL("ALTER ROLE {} SET timezone = 'UTC'").format(role),
        sql.SQL("REVOKE ALL ON trading_signals FROM {}").format(role),
        sql.SQL("GRANT INSERT ({}) ON trading_signals TO {}").format(columns, role),
        sql.SQL("DROP POLICY IF EXISTS {} ON trading_signals").format(policy),
        sql.SQL(
            "CREATE POLICY {} ON trading_signals AS RESTRICTIVE TO {} "
            "USING (false) WITH CHECK (ecosystem = {} AND {})"
        ).format(policy, role, sql.Literal(ecosystem), own),
    ]

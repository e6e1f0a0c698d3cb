"""Supabase's public web API: its roles lose their grants on the hub's tables at each `migrate`."""

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection

from tests.aggregator.ledger.samples import rows

EXPOSED = """
    SELECT relname FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
        AND has_table_privilege('anon', oid, 'SELECT, INSERT, UPDATE, DELETE')"""


@pytest.mark.django_db(transaction=True)
def test_migrate_takes_the_hubs_tables_from_them():
    with psycopg.connect(**connection.get_connection_params() | {"cursor_factory": None}) as server:
        server.execute("CREATE ROLE anon NOLOGIN")
        server.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO anon")
        server.execute("CREATE TABLE somebody_elses (id int)")
        server.execute("GRANT SELECT ON somebody_elses TO anon")
    try:
        assert ("trading_signals",) in rows(EXPOSED)
        assert ("auth_user",) in rows(EXPOSED)
        call_command("migrate", verbosity=0)
        assert rows(EXPOSED) == [("somebody_elses",)]
    finally:
        with psycopg.connect(**connection.get_connection_params() | {"cursor_factory": None}) as server:
            server.execute("DROP TABLE somebody_elses; DROP OWNED BY anon; DROP ROLE anon")

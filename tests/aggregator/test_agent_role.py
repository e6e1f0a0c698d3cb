import json
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connections, transaction
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from aggregator.ingest.databases import DatabaseConsumer
from aggregator.management.commands import agent_role
from aggregator.management.commands.agent_role import url_of
from aggregator.models import DeadLetter, Sighting, TradingSignal
from ecosystems.signal import RULES
from tests.servers import SERVERS, eventually

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "forex"])
DENIED = psycopg.errors.InsufficientPrivilege
INSERT = (
    'INSERT INTO trading_signals (signal_id, ecosystem, "timestamp", symbol, action) '
    "VALUES ('{}', 'crypto', '2026-01-02T03:04:05Z', 'BTCUSDT', 'buy')"
)


@pytest.fixture
def make_role(capsys):
    """`make_role("agent_x", ecosystem="crypto")` makes the role and returns its URL."""
    made = []

    def run(name="agent_test", ecosystem="crypto", database="default", agents=()):
        made.append((name, database))
        call_command("agent_role", name, ecosystem=ecosystem, database=database, agent=list(agents))
        return capsys.readouterr().out.strip()

    yield run
    for name, database in made:
        drop(name, database)


def drop(name, database="default"):
    with connections[database].cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name])
        if cursor.fetchone():
            cursor.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
            cursor.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@pytest.fixture
def agent(make_role):
    """A connection of the agent."""
    with closing(psycopg.connect(make_role(), autocommit=True)) as connection:
        yield connection


def test_a_plain_insert_of_the_role_is_recorded(agent):
    agent.execute(INSERT.format("s-1"))
    assert DatabaseConsumer("default").run_once() == 1
    row = TradingSignal.objects.get()
    assert (row.transport, row.instrument, row.action) == ("database", "BTC/USDT", "BUY")
    assert row.sender == "role:agent_test"
    assert row.position is not None


def test_every_public_column_may_be_written(agent):
    columns = {
        "signal_id": "s-1",
        "ecosystem": "crypto",
        "timestamp": "2026-01-02T03:04:05Z",
        "symbol": "BTCUSDT",
        "action": "SELL",
        "refers_to": "s-0",
        "signal_type": "LIMIT",
        "entry_price": "64000.123456789012345678",
        "stop_loss": "1",
        "take_profit": "2",
        "volume": "0",
        "confidence": 0.5,
        "agent_source": "scout",
        "tags": json.dumps(["a"]),
        "raw_payload": json.dumps({"b": 1}),
    }
    names, marks = ", ".join(f'"{name}"' for name in columns), ", ".join(["%s"] * len(columns))
    agent.execute(f"INSERT INTO trading_signals ({names}) VALUES ({marks})", [*columns.values()])
    row = TradingSignal.objects.values(*columns).get()
    assert str(row["entry_price"]) == columns["entry_price"]


def test_a_time_without_an_offset_is_utc(make_role):
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT current_database()")
        database = cursor.fetchone()[0]
        cursor.execute(f"ALTER DATABASE {database} SET timezone = 'Asia/Tokyo'")
        try:
            with closing(psycopg.connect(make_role(), autocommit=True)) as agent:
                agent.execute(INSERT.format("s-1").replace("T03:04:05Z", " 03:04"))
        finally:
            cursor.execute(f"ALTER DATABASE {database} RESET timezone")
    assert TradingSignal.objects.get().timestamp.isoformat() == "2026-01-02T03:04:00+00:00"


def test_psql_is_enough(make_role):
    psql = shutil.which("psql")
    if not psql and SERVERS.postgres:
        psql = shutil.which("psql", path=str(SERVERS.postgres.programs))
    if not psql:
        pytest.skip("there is no psql")
    subprocess.run([psql, make_role(), "-c", INSERT.format("s-1")], check=True, env=os.environ, timeout=60)
    assert DatabaseConsumer("default").run_once() == 1


def test_inserting_again_what_is_there_need_not_fail(agent):
    for _ in range(2):
        agent.execute(INSERT.format("s-1") + " ON CONFLICT DO NOTHING")
    assert TradingSignal.objects.count() == 1


def consume(alias="default"):
    while DatabaseConsumer(alias).run_once():
        pass


@pytest.mark.parametrize(("alias", "ecosystem"), [("default", "crypto"), ("forex", "forex")])
def test_a_row_under_a_taken_identity_is_a_duplicate_or_a_conflict(make_role, alias, ecosystem):
    """Plain SQL of a role that may only insert, and that Postgres tells nothing."""
    again = INSERT.replace("crypto", ecosystem) + " ON CONFLICT DO NOTHING"
    other = again.replace("'buy'", "'sell'")
    with closing(psycopg.connect(make_role(ecosystem=ecosystem, database=alias), autocommit=True)) as agent:
        for statement in (again.format("s-1"), again.format("s-1").replace("BTCUSDT", "ETHUSDT")):
            assert agent.execute(statement).rowcount in {0, 1}
        consume(alias)  # the first is compared before it is on record
        agent.execute("BEGIN")
        agent.execute(other.format("s-1"))
        agent.execute(again.format("s-1"))
        agent.execute(again.format("s-2"))
        consume(alias)  # what is not committed is not seen
        assert DeadLetter.objects.count() == 1
        agent.execute("COMMIT")
    consume(alias)
    letters = DeadLetter.objects.order_by("pk").values_list("code", "sender", "signal_id")
    assert list(letters) == [("conflict", "role:agent_test", "s-1")] * 2
    assert {json.loads(bytes(raw))["action"] for raw in DeadLetter.objects.values_list("raw", flat=True)} == {
        "BUY",
        "SELL",
    }
    assert TradingSignal.objects.get(signal_id="s-1").action == "BUY"
    assert list(Sighting.objects.values_list("sender", "transport")) == [("role:agent_test", "database")]
    assert sorted(TradingSignal.objects.values_list("signal_id", flat=True)) == ["s-1", "s-2"]
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM repeated_rows")
        assert cursor.fetchone() == (0,)


def test_two_transactions_with_one_identity_lose_nothing(make_role):
    """The second waits for the first, as for a unique index; then it is to be run again."""
    url = make_role()
    other = INSERT.format("s-1").replace("'buy'", "'sell'") + " ON CONFLICT DO NOTHING"
    with (
        closing(psycopg.connect(url, autocommit=True)) as first,
        closing(psycopg.connect(url, autocommit=True)) as second,
        ThreadPoolExecutor(1) as pool,
    ):
        first.execute("BEGIN")
        first.execute(INSERT.format("s-1"))
        waiting = pool.submit(second.execute, other)
        with connections["default"].cursor() as cursor:
            while not cursor.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone():
                pass
        first.execute("COMMIT")
        with pytest.raises(psycopg.errors.SerializationFailure, match="run the statement again"):
            waiting.result()
        second.execute(other)
    consume()
    assert DeadLetter.objects.get().code == "conflict"
    assert TradingSignal.objects.get().action == "BUY"


def test_what_is_repeated_is_kept_only_if_the_role_could_insert_it(make_role):
    url = make_role(agents=["scout"])
    as_agent = INSERT.replace("action)", "action, agent_source)").replace("'buy')", "'{}', '{}')")
    again = as_agent + " ON CONFLICT DO NOTHING"
    with closing(psycopg.connect(url, autocommit=True)) as agent:
        agent.execute(as_agent.format("s-1", "buy", "scout"))
        for action, name in (("sell", "other"), ("hodl", "scout")):
            with pytest.raises((DENIED, psycopg.errors.CheckViolation)):
                agent.execute(again.format("s-1", action, name))
        with pytest.raises(psycopg.errors.UniqueViolation):
            agent.execute(as_agent.format("s-1", "sell", "scout"))
        agent.execute("SET signal_hub.unplaced_rows = '-5'")  # hides what is its own at most
        agent.execute(again.format("s-2", "buy", "scout"))
    consume()
    assert not DeadLetter.objects.exists()
    assert TradingSignal.objects.count() == 2


@pytest.mark.parametrize("ecosystem", ["forex", "stock", "CRYPTO"])
def test_no_other_ecosystem_may_be_written(agent, ecosystem):
    for off in ("", "SET row_security = off; "):
        with pytest.raises((DENIED, psycopg.errors.CheckViolation)):
            agent.execute(off + INSERT.format("s-1").replace("crypto", ecosystem))


def test_a_role_of_agents_may_insert_as_no_other(make_role):
    as_agent = INSERT.replace("action)", "action, agent_source)").replace("'buy')", "'buy', '{}')")
    with closing(psycopg.connect(make_role(agents=["scout", "é's \\ bot"]), autocommit=True)) as connection:
        connection.execute(as_agent.format("s-1", "scout"))
        connection.execute(as_agent.format("s-2", "é''s \\ bot"))
        for name in ("Scout", "scout ", "other", ""):
            with pytest.raises(DENIED):
                connection.execute(as_agent.format("s-3", name))
        with pytest.raises(DENIED):
            connection.execute(INSERT.format("s-3"))
        with pytest.raises(DENIED):  # nor under an id that is taken, which would tell what is there
            connection.execute(as_agent.format("s-1", "other") + " ON CONFLICT DO NOTHING")
    with closing(psycopg.connect(make_role(), autocommit=True)) as connection:
        connection.execute(as_agent.format("s-3", "other"))
    for name in ("a\u200bb", "x" * 129):
        with pytest.raises(CommandError, match="--agent"):
            make_role(agents=[name])


def test_the_hubs_columns_may_not(agent):
    own = {field.column for field in TradingSignal._meta.fields} - RULES.keys()
    assert {"id", "transport", "sender", "recorded_at", "digest", "position"} <= own
    for column in own:
        statement = INSERT.format("s-1").replace("action)", f'action, "{column}")')
        with pytest.raises(DENIED):
            agent.execute(statement.replace("'buy')", "'buy', DEFAULT)"))


TABLES = [
    "trading_signals",
    "api_keys",
    "dead_letters",
    "sightings",
    "agents",
    "arrival_minutes",
    "ledger_lock",
    "repeated_rows",
]


FORBIDDEN = [
    *(f"SELECT 1 FROM {table}" for table in [*TABLES, "auth_user", "django_session"]),
    *(f"DELETE FROM {table}" for table in TABLES),
    *(f"TRUNCATE {table}" for table in TABLES),
    *(
        f"BEGIN; LOCK TABLE {table} IN {mode} MODE"
        for table in TABLES
        for mode in ("ACCESS SHARE", "SHARE", "EXCLUSIVE")
    ),
    "SELECT count(signal_id) FROM trading_signals",
    "UPDATE trading_signals SET action = 'SELL'",
    "UPDATE trading_signals SET position = 1",
    f"{INSERT.format('s-1')} RETURNING id",
    f"{INSERT.format('s-1')} ON CONFLICT (ecosystem, signal_id) DO UPDATE SET action = 'SELL'",
    "INSERT INTO trading_signals DEFAULT VALUES",
    "INSERT INTO dead_letters DEFAULT VALUES",
    "INSERT INTO sightings DEFAULT VALUES",
    "INSERT INTO repeated_rows (sender, signal) VALUES ('key:desk', '{}')",
    "MERGE INTO trading_signals t USING (SELECT 1) s ON false WHEN MATCHED THEN DELETE",
    "COPY trading_signals TO STDOUT",
    "COPY (SELECT * FROM trading_signals) TO STDOUT",
    "COPY trading_signals FROM '/etc/passwd'",
    "COPY trading_signals (signal_id) FROM PROGRAM 'id'",
    "TABLE trading_signals",
    "SELECT nextval('trading_signals_position_seq')",
    "SELECT setval('trading_signals_position_seq', 1)",
    "SELECT last_value FROM trading_signals_position_seq",
    "SELECT nextval(pg_get_serial_sequence('trading_signals', 'id'))",
    "CREATE TABLE mine ()",
    "CREATE TEMPORARY TABLE mine ()",
    "SELECT lo_creat(-1)",
    "SELECT lo_create(0)",
    "SELECT lo_from_bytea(0, '\\x00')",
    "SELECT record_signals('[]', 0, 'database', NULL)",
    "SELECT record_inserted_signals('[]')",
    "CREATE SCHEMA mine",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql RETURN 1",
    "CREATE FUNCTION public.now() RETURNS timestamptz LANGUAGE sql RETURN 'infinity'",
    "CREATE VIEW v AS SELECT 1",
    "DROP EXTENSION plpgsql",
    "CREATE EVENT TRIGGER t ON ddl_command_start EXECUTE FUNCTION f()",
    "CREATE PUBLICATION p FOR TABLE trading_signals",
    "CREATE ROLE other",
    "CREATE DATABASE other",
    "CREATE INDEX ON trading_signals (symbol)",
    "CREATE POLICY p ON trading_signals USING (true)",
    "CREATE TRIGGER t AFTER INSERT ON trading_signals EXECUTE FUNCTION tsvector_update_trigger()",
    "CREATE STATISTICS st ON symbol, action FROM trading_signals",
    "DROP POLICY agent_test_ecosystem ON trading_signals",
    "ALTER TABLE trading_signals DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE trading_signals ADD COLUMN x int",
    "ALTER ROLE agent_test BYPASSRLS",
    "ALTER ROLE agent_test SUPERUSER",
    "ALTER ROLE agent_test CREATEROLE",
    "ALTER DATABASE {database} SET search_path = mine",
    "ALTER SYSTEM SET fsync = off",
    "DROP TABLE trading_signals",
    "COMMENT ON TABLE trading_signals IS 'mine'",
    "SET ROLE {owner}",
    "SET SESSION AUTHORIZATION {owner}",
    "GRANT {owner} TO agent_test",
    "GRANT SELECT ON trading_signals TO agent_test",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_ls_dir('/')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{owner}'",
    "SELECT pg_reload_conf()",
    "SELECT rolpassword FROM pg_authid",
    "CHECKPOINT",
    "SET session_replication_role = replica",
    "SET log_statement = 'none'",
]


def test_nothing_else_may_be_done(agent):
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT current_user, current_database()")
        owner, database = cursor.fetchone()
    done = []
    for template in FORBIDDEN:
        statement = template.replace("{owner}", owner).replace("{database}", database)
        # Before Postgres 15 there was no MERGE, and every role could create in the schema public.
        if agent.info.server_version < 150000 and statement.startswith(("MERGE", "CREATE")):
            continue
        try:
            agent.execute(statement)
            done.append(statement)
        except DENIED:
            pass
        finally:
            agent.execute("ROLLBACK")
    assert done == []
    assert not TradingSignal.objects.exists()


def test_its_sessions_are_limited(agent):
    shown = [agent.execute(f"SHOW {name}").fetchone()[0] for name in agent_role.SETTINGS]
    assert shown == [*agent_role.SETTINGS.values()]
    limit = agent.execute("SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user").fetchone()
    assert limit == (agent_role.MAX_CONNECTIONS,)
    with connections["default"].cursor() as cursor:
        cursor.execute("ALTER ROLE agent_test SET idle_in_transaction_session_timeout = '500ms'")
    with closing(psycopg.connect(agent.info.dsn, password=agent.info.password)) as forgetful:
        forgetful.execute(INSERT.format("held"))
        eventually(lambda: not holds_signals(), what="the open transaction is ended")
        with pytest.raises(psycopg.Error, match="idle-in-transaction"):
            forgetful.execute("SELECT 1")


def holds_signals():
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = 'agent_test' AND state ~ '^idle in'"
        )
        return cursor.fetchone()[0]


def test_what_it_may_not_take_from_all_roles_it_names(make_role, capsys):
    """The hub's role is a superuser here; one that owns nothing must say what is left."""
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT current_database()")
        (database,) = cursor.fetchone()
        cursor.execute(f"GRANT TEMPORARY ON DATABASE {database} TO PUBLIC")
        cursor.execute("GRANT EXECUTE ON FUNCTION lo_create(oid) TO PUBLIC")
        cursor.execute("CREATE ROLE owns_nothing")
        try:
            with transaction.atomic():
                cursor.execute("SET LOCAL ROLE owns_nothing")
                left = agent_role.revoke_from_public(cursor, "default", database, "owns_nothing")
        finally:
            cursor.execute("DROP ROLE owns_nothing")
    assert [statement.split(" ON ")[0] for statement in left] == ["REVOKE TEMPORARY", "REVOKE EXECUTE"]
    make_role()
    assert "Note: it may do" not in capsys.readouterr().err


def test_what_others_write_and_ask_is_hidden(agent):
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT 'sesame'")
        (shown,) = agent.execute("SELECT string_agg(query, '') FROM pg_stat_activity").fetchone()
        assert "sesame" not in shown
    agent.execute(INSERT.format("sesame"))
    with pytest.raises(psycopg.errors.UniqueViolation) as caught:
        agent.execute(INSERT.format("sesame"))
    assert caught.value.diag.message_detail is None


def test_no_lock_of_its_own_stops_the_ledger(agent):
    """All the locks it can take, held in an open transaction, while the hub records."""
    agent.execute("BEGIN")
    agent.execute("SELECT pg_advisory_lock(n) FROM generate_series(0, 100) AS n")
    agent.execute(INSERT.format("held"))
    with psycopg.connect(agent.info.dsn, password=agent.info.password, autocommit=True) as second:
        second.execute(INSERT.format("free"))
    assert DatabaseConsumer("default").run_once() == 1
    agent.execute("ROLLBACK")


def test_run_again_it_gives_a_new_password(make_role):
    old = make_role()
    new = make_role()
    assert old != new
    with closing(psycopg.connect(new, autocommit=True)) as connection:
        connection.execute(INSERT.format("s-1"))
    if SERVERS.postgres is None:
        pytest.skip("the Postgres of CORE_TEST_DB_URL may trust everyone")
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        psycopg.connect(old)


def test_and_may_move_the_role_to_another_ecosystem(make_role):
    make_role(ecosystem="crypto")
    with closing(psycopg.connect(make_role(ecosystem="stock"), autocommit=True)) as connection:
        connection.execute(INSERT.format("s-1").replace("crypto", "stock"))
        with pytest.raises(DENIED):
            connection.execute(INSERT.format("s-2"))


def test_an_ecosystems_own_database_gets_its_own_role(make_role):
    url = make_role("agent_forex", ecosystem="forex", database="forex")
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute(INSERT.format("s-1").replace("crypto", "forex"))
        with pytest.raises(DENIED):
            connection.execute(INSERT.format("s-2"))
    assert DatabaseConsumer("forex").run_once() == 1
    assert TradingSignal.objects.get().ecosystem == "forex"


@pytest.mark.parametrize("name", ["", "Agent", "a b", "a;b", 'a"b', "1a", "agent-x", "é", "x" * 54])
def test_a_name_that_is_no_plain_identifier_is_refused(name):
    with pytest.raises(CommandError, match="lower-case"):
        call_command("agent_role", name, ecosystem="crypto")


@pytest.mark.parametrize("name", ["pg_agent", "public", "none"])
def test_a_name_that_postgres_keeps_is_refused_in_one_line(name):
    with pytest.raises(CommandError, match="the database refuses") as caught:
        call_command("agent_role", name, ecosystem="crypto")
    assert "\n" not in str(caught.value)


def test_an_unknown_ecosystem_or_database_is_refused():
    with pytest.raises(CommandError, match="invalid choice"):
        call_command("agent_role", "agent_test", "--ecosystem", "bonds")
    with pytest.raises(CommandError, match="default, forex"):
        call_command("agent_role", "agent_test", ecosystem="crypto", database="stock")


@pytest.mark.parametrize(
    "right",
    [
        *(
            f"ALTER ROLE agent_other {right}"
            for right in ("SUPERUSER", "CREATEROLE", "CREATEDB", "BYPASSRLS")
        ),
        "ALTER ROLE agent_other REPLICATION",
        "GRANT pg_monitor TO agent_other",
        "GRANT SELECT ON api_keys TO agent_other",
        "GRANT SELECT (raw) ON dead_letters TO agent_other",
        "GRANT CREATE ON SCHEMA public TO agent_other",
        "GRANT USAGE ON SEQUENCE trading_signals_position_seq TO agent_other",
        "CREATE TABLE theirs (); ALTER TABLE theirs OWNER TO agent_other",
    ],
)
def test_a_role_that_is_there_and_may_do_more_is_left_alone(right):
    with connections["default"].cursor() as cursor:
        cursor.execute(f"CREATE ROLE agent_other; {right}")
    try:
        with pytest.raises(CommandError, match="may do more"):
            call_command("agent_role", "agent_other", ecosystem="crypto")
    finally:
        drop("agent_other")


def test_the_hubs_own_role_is_refused():
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT current_user")
        (name,) = cursor.fetchone()
    with pytest.raises(CommandError, match="may do more"):
        call_command("agent_role", name, ecosystem="crypto")


def test_rights_on_the_ledger_that_somebody_gave_the_role_are_taken_back(make_role):
    make_role()
    with connections["default"].cursor() as cursor:
        cursor.execute("GRANT SELECT, UPDATE (position) ON trading_signals TO agent_test")
    with closing(psycopg.connect(make_role(), autocommit=True)) as connection:
        for statement in ("SELECT 1 FROM trading_signals", "UPDATE trading_signals SET position = 1"):
            with pytest.raises(DENIED):
                connection.execute(statement)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"USER": "postgres.abcd", "HOST": "pooler", "PORT": "6543"}, "a.abcd:p@pooler:6543/hub"),
        ({"USER": "hub", "HOST": "a,b", "PORT": "1,2"}, "a:p@a:1,b:2/hub"),
        ({"USER": "hub", "HOST": "a,b", "PORT": ""}, "a:p@a:5432,b:5432/hub"),
        ({"USER": "hub", "HOST": "::1,/run/pg", "PORT": "1"}, "a:p@[::1]:1,%2Frun%2Fpg:1/hub"),
        ({"USER": "hub", "NAME": "a b/c"}, "a:p@localhost:5432/a%20b%2Fc"),
        (
            {"USER": "hub", "OPTIONS": {"sslmode": "require", "x": 5}},
            "a:p@localhost:5432/hub?sslmode=require",
        ),
    ],
)
def test_the_url_leads_the_way_that_the_hubs_own_does(settings, expected):
    whole = {"HOST": "", "PORT": "", "NAME": "hub", "OPTIONS": {}} | settings
    url = url_of(whole, "a", "p")
    assert url == f"postgres://{expected}"
    known = conninfo_to_dict(url)
    assert known["dbname"] == whole["NAME"]
    assert known["host"] == (whole["HOST"] or "localhost")

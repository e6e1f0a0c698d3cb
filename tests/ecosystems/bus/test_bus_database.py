import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import connections

from aggregator.ingest.databases import DatabaseConsumer
from ecosystems.bus import BusError, EventBus, Unsent
from ecosystems.bus.database import DatabaseTransport
from tests.ecosystems.examples import a_signal, signals

PUBLIC = (
    "signal_id, ecosystem, timestamp, symbol, action, signal_type, entry_price, stop_loss, take_profit, "
    "volume, confidence, agent_source, tags, raw_payload"
)


@pytest.fixture
def url(program_environment: dict[str, str]) -> str:
    return program_environment["CORE_DB_URL"]


@pytest.fixture
def table(url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def bus(url: str) -> Iterator[EventBus]:
    with EventBus([DatabaseTransport(url)]) as bus:
        yield bus


@pytest.fixture
def insert_only_url(table: psycopg.Connection) -> Iterator[str]:
    """A role that may insert the public columns of crypto signals, and nothing else."""
    output = io.StringIO()
    call_command("agent_role", "bus_test_agent", "--ecosystem", "crypto", stdout=output, stderr=output)
    yield output.getvalue().split()[-1]
    table.execute("DROP POLICY IF EXISTS bus_test_agent_ecosystem ON trading_signals")
    table.execute("DROP OWNED BY bus_test_agent; DROP ROLE bus_test_agent")


def ids(table: psycopg.Connection) -> list[str]:
    return [row[0] for row in table.execute("SELECT signal_id FROM trading_signals ORDER BY id")]


def test_every_field_arrives_exactly(table, bus):
    assert bus.publish(a_signal()).confirmed == 1

    row = table.execute(f"SELECT {PUBLIC}, transport, position FROM trading_signals").fetchone()
    assert row == (
        *("s-1", "crypto", datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC), "BTC/USDT", "BUY", "LIMIT"),
        *(Decimal("64000.123456789012345678"), Decimal(63000), Decimal("66000.5"), Decimal("0.25"), 0.75),
        *("tester", ["ema", "1h"], {"ema": {"fast": 12, "slow": 26}}, "database", None),
    )


def test_a_signal_of_required_fields_alone_gets_the_defaults(table, bus):
    nothing: dict[str, Any] = dict.fromkeys(
        ("entry_price", "stop_loss", "take_profit", "volume", "confidence")
    )
    naive = datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001 - without an offset it is UTC
    bus.publish(a_signal(**nothing, tags=(), raw_payload={}, timestamp=naive, action="buy"))

    row = table.execute("SELECT timestamp, action, entry_price, tags, raw_payload FROM trading_signals")
    assert row.fetchone() == (naive.replace(tzinfo=UTC), "BUY", None, [], {})


def test_many_are_inserted_in_order_and_repeats_are_harmless(table, bus):
    many = signals(2500)
    assert bus.publish_many(many).confirmed == 2500
    assert bus.publish_many(many).confirmed == 2500
    assert ids(table) == [signal.signal_id for signal in many]


def test_text_that_only_looks_like_an_array_or_sql_stays_text(table, bus):
    odd = ("{a,b}", 'quote " backslash \\', "NULL", "'; DROP TABLE x; --", "Ünïcödé 🚀", "%s")
    bus.publish(a_signal("'{\",\\}", tags=odd, raw_payload={"k": odd}))
    row = table.execute("SELECT signal_id, tags, raw_payload FROM trading_signals").fetchone()
    assert row == ("'{\",\\}", list(odd), {"k": list(odd)})


def test_a_role_that_may_only_insert(insert_only_url, table):
    with EventBus([DatabaseTransport(insert_only_url)]) as bus:
        assert bus.publish_many(signals(3)).confirmed == 3
        assert bus.publish_many(signals(4)).confirmed == 4
    assert ids(table) == ["s-0", "s-1", "s-2", "s-3"]


def test_a_conflict_of_a_role_that_may_only_insert_becomes_a_dead_letter(insert_only_url, table):
    with EventBus([DatabaseTransport(insert_only_url)]) as bus:
        bus.publish_many(signals(3))
        changed = [a_signal("s-1", action="SELL"), *signals(5)[2:]]
        assert bus.publish_many(changed).confirmed == 4
        DatabaseConsumer("default").run_once()
        # One that is committed while the bus inserts: the bus runs its statement again.
        table.execute("BEGIN")
        table.execute(
            "INSERT INTO trading_signals (signal_id, ecosystem, timestamp, symbol, action) "
            "VALUES ('s-9', 'crypto', now(), 'BTC/USDT', 'BUY')"
        )
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(bus.publish, a_signal("s-9"))
            with connections["default"].cursor() as cursor:
                while not cursor.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone():
                    pass
            table.execute("COMMIT")
            assert waiting.result().confirmed == 1
    DatabaseConsumer("default").run_once()
    found = "SELECT code, signal_id, sender FROM dead_letters ORDER BY id"
    assert table.execute(found).fetchall() == [
        ("conflict", "s-1", "role:bus_test_agent"),
        ("conflict", "s-9", "role:bus_test_agent"),
    ]
    assert table.execute("SELECT count(*) FROM sightings").fetchone() == (1,)
    assert ids(table) == ["s-0", "s-1", "s-2", "s-3", "s-4", "s-9"]


def test_another_ecosystems_rows_are_refused_and_their_neighbours_inserted(insert_only_url, table):
    mixed = [a_signal(f"s-{n}", ecosystem="forex" if n in {3, 7} else "crypto") for n in range(10)]
    with (
        EventBus([DatabaseTransport(insert_only_url)]) as bus,
        pytest.raises(Unsent, match="database refused forex/s-3: sqlstate_42501: new row violates") as caught,
    ):
        bus.publish_many(mixed)

    assert caught.value.receipt.confirmed == 8
    assert [refused.signal.signal_id for refused in caught.value.receipt.refused] == ["s-3", "s-7"]
    assert ids(table) == [f"s-{n}" for n in range(10) if n not in {3, 7}]


def test_a_broken_constraint_is_a_refusal_without_the_rows_values(table, bus):
    table.execute("ALTER TABLE trading_signals ADD CONSTRAINT bus_test CHECK (symbol <> 'SECRET')")
    try:
        with pytest.raises(Unsent, match="sqlstate_23514") as caught:
            bus.publish_many([a_signal("a"), a_signal("b", symbol="SECRET"), a_signal("c")])
    finally:
        table.execute("ALTER TABLE trading_signals DROP CONSTRAINT bus_test")
    assert "SECRET" not in str(caught.value)
    assert ids(table) == ["a", "c"]


def test_a_connection_that_the_server_closed_is_made_again(table, bus):
    bus.publish(a_signal())
    table.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'signal-hub-agent'"
    )
    assert bus.publish(a_signal("s-2")).confirmed == 1


def test_an_outage_and_its_end(postgres_server, url):
    with EventBus([DatabaseTransport(url)]) as bus:
        bus.publish(a_signal())
        postgres_server.stop()
        with pytest.raises(Unsent, match="database did not confirm 2 signals") as caught:
            bus.publish_many(signals(2))
        assert not caught.value.receipt.refused
        postgres_server.start()
        assert bus.publish_many(caught.value.receipt.pending).confirmed == 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"password": "wrong"}, "password authentication failed"),
        ({"dbname": "no_such_database"}, "does not exist"),
        ({"host": "db..example"}, "label empty"),
        ({"dbname": "postgres"}, 'relation "trading_signals" does not exist'),
    ],
)
def test_a_server_to_be_mended_loses_nothing(url, change, reason):
    with (
        EventBus([DatabaseTransport(psycopg.conninfo.make_conninfo(url, **change))]) as bus,
        pytest.raises(Unsent, match=reason) as caught,
    ):
        bus.publish_many(signals(2))
    assert len(caught.value.receipt.pending) == 2


def test_only_the_ecosystems_of_that_database_are_carried(url, bus):
    with EventBus([DatabaseTransport(url, ecosystems=["stock"])]) as stock_bus:
        with pytest.raises(BusError, match="no transport of this bus carries crypto signals"):
            stock_bus.publish(a_signal())
        assert stock_bus.publish(a_signal(ecosystem="stock", symbol="AAPL")).confirmed == 1


def test_no_statement_is_prepared_however_often_it_runs(bus):
    """A transaction pooler gives each transaction another session."""
    for number in range(8):
        bus.publish(a_signal(f"s-{number}"))
    connection = bus.transports[0].connection
    assert connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("postgres://u:pa55@[host/db", "it may hold postgres://"),
        ("postgres://u:pa55@host/db?pgbouncer=true", 'invalid URI query parameter: "pgbouncer"'),
    ],
)
def test_an_invalid_url_is_explained_without_its_password(bad, reason):
    with pytest.raises(BusError) as caught:
        DatabaseTransport(bad)
    assert reason in str(caught.value)
    assert "pa55" not in str(caught.value)

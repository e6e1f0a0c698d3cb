"""`manage.py consume_databases`: rows that agents insert, in the core database and in an ecosystem's own."""

import json
from datetime import timedelta

import psycopg
import pytest
from django.db import connection, connections

from aggregator import ledger
from aggregator.ingest import databases
from aggregator.models import Agent, ArrivalMinute, DeadLetter, Sighting, SymbolAlias, TradingSignal
from tests.aggregator.ledger.samples import entry, insert, raw, rows

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "forex"])


def consume():
    for consumer in map(databases.DatabaseConsumer, connections):
        while consumer.run_once():
            pass


def in_forex(query, *parameters):
    with connections["forex"].cursor() as cursor:
        cursor.execute(query, parameters)
        return cursor.fetchall() if cursor.description else None


def test_a_plain_insert_is_recorded_with_instrument_position_and_digest(run_manage, count_arrivals):
    with connection.cursor() as cursor:
        insert(cursor, "a", symbol="BINANCE:BTCUSDT")
        insert(cursor, "b")
    program = run_manage("consume_databases", "--once")
    assert program.wait() == 0
    assert "2 rows processed" in program.text
    assert "EventBus backend=memory" in program.text
    first, second = TradingSignal.objects.order_by("position")
    assert (first.signal_id, second.signal_id) == ("a", "b")
    assert (first.symbol, first.instrument, first.action) == ("BINANCE:BTCUSDT", "BTC/USDT", "BUY")
    assert (first.transport, len(first.digest)) == ("database", 32)
    count_arrivals()
    assert ArrivalMinute.objects.get().accepted == 2
    assert Agent.objects.get().last_transport == "database"


def test_the_command_goes_on_until_sigterm(run_manage):
    program = run_manage("consume_databases")
    program.until(lambda: "EventBus" in program.text)
    with connection.cursor() as cursor:
        insert(cursor, "a")
    program.until(TradingSignal.objects.exclude(position=None).exists)
    assert program.stop() == 0
    assert "Traceback" not in program.text


def test_a_row_that_no_check_can_refuse_moves_to_the_dead_letters_and_frees_its_id():
    tiny = '{"tiny": 1e-401}'
    with connection.cursor() as cursor:
        insert(cursor, "a")
        insert(cursor, "b")
        cursor.execute("UPDATE trading_signals SET raw_payload = %s WHERE signal_id = 'a'", [tiny])
    consume()
    assert list(TradingSignal.objects.values_list("signal_id", flat=True)) == ["b"]
    letter = DeadLetter.objects.get()
    assert (letter.code, letter.signal_id, letter.transport) == ("out_of_range", "a", "database")
    assert json.loads(bytes(letter.raw))["symbol"] == "BTCUSDT"
    assert [str(result.fate) for result in ledger.record([entry("a")], "redis")] == ["accepted"]


@pytest.mark.parametrize("odd", ["infinity", "-infinity", "0044-03-15 BC", "294276-12-31"])
def test_a_row_that_says_it_came_at_no_sensible_time_holds_up_nobody(odd, count_arrivals):
    with connection.cursor() as cursor:
        insert(cursor, "odd")
        insert(cursor, "even")
        cursor.execute(
            "UPDATE trading_signals SET received_at = %s, first_received_at = %s WHERE signal_id = 'odd'",
            [odd, odd],
        )
    consume()
    assert rows("SELECT signal_id FROM trading_signals WHERE position > 0 ORDER BY position") == [
        ("odd",),
        ("even",),
    ]
    count_arrivals()
    minute = ArrivalMinute.objects.get()
    assert (minute.accepted, sum(minute.lags)) == (2, 2)
    for row in TradingSignal.objects.all():  # as every page and every reader's feed has it
        assert row.recorded_at - timedelta(minutes=1) < row.received_at <= row.recorded_at
    assert Agent.objects.get().first_seen == TradingSignal.objects.earliest("received_at").received_at


def test_an_open_transaction_delays_its_own_rows_and_no_others():
    with psycopg.connect(**connection.get_connection_params() | {"cursor_factory": None}) as agent:
        insert(agent.cursor(), "slow")
        with connection.cursor() as cursor:
            insert(cursor, "quick")
        consume()
        recorded = TradingSignal.objects.exclude(position=None).values_list("signal_id", flat=True)
        assert list(recorded) == ["quick"]
        agent.commit()
    consume()
    assert list(recorded.order_by("position")) == ["quick", "slow"]


def test_an_ecosystems_own_database_reaches_the_ledger_and_its_rows_are_marked():
    with connections["forex"].cursor() as cursor:
        insert(cursor, "fx", ecosystem="forex", symbol="EUR_USD")
    consume()
    row = TradingSignal.objects.get()
    assert (row.ecosystem, row.instrument, row.transport) == ("forex", "EUR/USD", "database")
    marked = in_forex("SELECT position, recorded_at, instrument, octet_length(digest) FROM trading_signals")
    assert marked == [(row.position, row.recorded_at, "EUR/USD", 32)]
    consume()
    assert not Sighting.objects.exists(), "a marked row is not read again"


def test_a_mapped_symbol_has_its_name_in_an_own_database_too():
    SymbolAlias.objects.create(ecosystem="forex", symbol="CABLE", instrument="GBP/USD")
    with connections["forex"].cursor() as cursor:
        insert(cursor, "fx", ecosystem="forex", symbol="CABLE")
    consume()
    assert in_forex("SELECT instrument FROM trading_signals") == [("GBP/USD",)]


def test_a_crash_between_the_ledger_and_the_mark_makes_duplicates_and_no_second_row():
    with connections["forex"].cursor() as cursor:
        insert(cursor, "fx", ecosystem="forex", symbol="EURUSD")
    consume()
    in_forex("UPDATE trading_signals SET position = NULL, digest = NULL, instrument = ''")
    consume()
    assert TradingSignal.objects.count() == 1
    assert Sighting.objects.count() == 1
    assert in_forex("SELECT count(*) FROM trading_signals WHERE position IS NULL") == [(0,)]


def test_a_conflicting_row_of_an_own_database_becomes_a_dead_letter_and_the_first_stays():
    ledger.record([entry("fx", ecosystem="forex", symbol="GBPUSD")], "webhook")
    with connections["forex"].cursor() as cursor:
        insert(cursor, "fx", ecosystem="forex", symbol="EURUSD")
    consume()
    assert TradingSignal.objects.get().symbol == "GBPUSD"
    assert DeadLetter.objects.get().code == "conflict"
    assert in_forex("SELECT count(*) FROM trading_signals") == [(0,)]


def test_a_repeated_row_that_is_held_does_not_hold_up_others(monkeypatch):
    monkeypatch.setattr(databases, "MAX_ROWS", 1)
    with connection.cursor() as cursor:
        for name in ("held", "free"):
            row = raw(name).decode()
            cursor.execute("INSERT INTO repeated_rows (sender, signal) VALUES ('role:a', %s)", [row])
    with psycopg.connect(**connection.get_connection_params() | {"cursor_factory": None}) as agent:
        with agent.cursor() as cursor:
            insert(cursor, "held")
        for _ in range(2):
            databases.DatabaseConsumer("default").run_once()
        assert TradingSignal.objects.get().signal_id == "free"
    consume()
    assert DeadLetter.objects.get().signal_id == "held"
    assert rows("SELECT count(*) FROM repeated_rows") == [(0,)]


def test_several_consumers_record_each_row_once(run_manage, count_arrivals):
    with connection.cursor() as cursor:
        cursor.execute(
            'INSERT INTO trading_signals (signal_id, ecosystem, "timestamp", symbol, action) '
            "SELECT 's' || n, 'crypto', now(), 'BTCUSDT', 'BUY' FROM generate_series(1, 5000) AS n"
        )
    programs = [run_manage("consume_databases", "--once") for _ in range(3)]
    assert [program.wait() for program in programs] == [0, 0, 0]
    consume()
    assert rows("SELECT count(*), count(DISTINCT position) FROM trading_signals") == [(5000, 5000)]
    count_arrivals()
    assert ArrivalMinute.objects.count() <= 2
    assert sum(ArrivalMinute.objects.values_list("accepted", flat=True)) == 5000


def test_the_core_database_by_another_url_is_read_once(run_manage, program_environment):
    """As an ecosystem's own, for instance through a pooler."""
    same = f"{program_environment['CORE_DB_URL']}?application_name=another"
    program = run_manage("consume_databases", CORE_CRYPTO_DB_URL=same)
    program.until(lambda: "EventBus" in program.text)
    with connection.cursor() as cursor:
        for number in range(100):
            insert(cursor, f"s-{number}")
    recorded = TradingSignal.objects.exclude(position=None)
    program.until(lambda: recorded.count() == 100)
    assert program.stop() == 0
    assert not Sighting.objects.exists()
    assert program.text.count("CORE_CRYPTO_DB_URL leads to the core database") == 1


def test_a_row_whose_agent_gave_a_digest_is_recorded_all_the_same():
    with connection.cursor() as cursor:
        insert(cursor, "a")
        cursor.execute("UPDATE trading_signals SET digest = %s", [b"x" * 32])
    consume()
    row = TradingSignal.objects.get()
    assert row.position is not None
    assert bytes(row.digest) != b"x" * 32

"""Positions stay true whatever the sequences say: after a restore of data alone, or a failover."""

import subprocess
import sys
from functools import partial
from io import StringIO
from uuid import UUID

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection

from aggregator import ledger
from aggregator.background import run_in_thread
from aggregator.health.checks import Status
from aggregator.health.database_checks import MigrationsCheck
from aggregator.health.ledger_checks import LedgerCheck
from aggregator.ingest.databases import DatabaseConsumer
from aggregator.ledger import functions, generations, inserted_rows, positions
from aggregator.models import DeadLetter, LedgerGeneration
from tests.aggregator.ledger.samples import entry, insert, rows, value
from tests.servers import PROJECT, eventually

pytestmark = pytest.mark.django_db(transaction=True)

HEAD = "SELECT max(position) FROM trading_signals"


def fates(*entries):
    return [str(result.fate) for result in ledger.record(entries, "webhook")]


def set_sequence(name, to):
    rows(f"SELECT setval('trading_signals_{name}_seq', {to})")


def test_positions_are_above_the_greatest_on_record_whatever_the_sequence_says():
    assert set(fates(*(entry(f"s{number}") for number in range(700)))) == {"accepted"}
    for number in range(3):
        before = value(HEAD)
        set_sequence("position", 11)
        if number == 1:
            with connection.cursor() as cursor:
                insert(cursor, "inserted")
            assert len(inserted_rows.record_inserted_rows(10)) == 1
        else:
            assert set(fates(*(entry(f"t{number}-{each}") for each in range(1 + 350 * number)))) == {
                "accepted"
            }
        assert value(f"SELECT count(*) FROM trading_signals WHERE position > {before}") == [1, 1, 701][number]
        assert value("SELECT last_value FROM trading_signals_position_seq") == value(HEAD)
    assert not DeadLetter.objects.exists()


def test_an_id_that_is_drawn_twice_is_not_the_signals_fault():
    fates(*(entry(f"s{number}") for number in range(20)))
    set_sequence("id", "(SELECT min(id) FROM trading_signals)")
    assert fates(entry("a"), entry("b"), entry("a", action="HODL")) == ["accepted", "accepted", "refused"]
    assert {letter.code for letter in DeadLetter.objects.all()} == {"invalid_value"}
    assert positions.sequences_behind() == {}


def test_a_sequence_that_fell_behind_is_seen_and_repaired():
    fates(*(entry(f"s{number}") for number in range(20)))
    assert positions.sequences_behind() == {}
    set_sequence("position", 11)
    set_sequence("id", "(SELECT max(id) - 1 FROM trading_signals)")
    result = LedgerCheck().result(wait=True)
    assert (str(result.status), result.summary) == ("failed", "a sequence is behind")
    assert "trading_signals_position_seq, trading_signals_id_seq" in result.detail
    DatabaseConsumer("default").run_once()
    assert LedgerCheck().result(wait=True).status is Status.OK
    set_sequence("position", 11)
    assert LedgerCheck().result(wait=True).status is Status.DEGRADED
    assert fates(entry("after")) == ["accepted"]
    assert LedgerCheck().result(wait=True).status is Status.OK


@pytest.mark.django_db(transaction=True, databases=["default", "forex"])
def test_the_databases_functions_are_the_programs():
    assert MigrationsCheck().result(wait=True).status is Status.OK
    with connection.cursor() as cursor:
        cursor.execute("DROP FUNCTION record_staged_signals")
        cursor.execute(
            "CREATE OR REPLACE FUNCTION record_inserted_signals(batch json) RETURNS void LANGUAGE sql AS ''"
        )
    found = MigrationsCheck().result(wait=True)
    assert (str(found.status), found.summary) == ("failed", "not all applied")
    assert "run manage.py migrate" in found.detail
    call_command("migrate", verbosity=0)
    assert functions.outdated_functions() == []
    public = "SELECT count(*) FROM pg_proc WHERE proname ~ '^record_.*signals' AND proacl::text ~ '[{,]='"
    assert value(public) == 0


def test_a_generation_that_two_begin_at_once_begins_once():
    fates(entry("a"))
    generations.current_generation()
    here = "(SELECT oid FROM pg_database WHERE datname = current_database())"
    waiting = f"SELECT count(*) FROM pg_locks WHERE NOT granted AND database = {here}"
    with psycopg.connect(**connection.get_connection_params()) as writer:
        writer.execute("LOCK TABLE ledger_lock IN EXCLUSIVE MODE")
        commands = [run_in_thread(partial(call_command, "new_generation", stdout=StringIO())) for _ in "ab"]
        eventually(lambda: value(waiting) == 2)
    for command in commands:
        command.result(30)
    assert LedgerGeneration.objects.count() == 2


REMEMBER = """
import uuid
import django
django.setup()
from aggregator.ledger.generations import RememberedHead, remember_head
input("ready\\n")
for position in range(1, 1000):
    remember_head(uuid.UUID(int=1), RememberedHead(1, position, "d"))
"""


def test_processes_that_share_a_log_directory_remember_the_head_side_by_side(program_environment, tmp_path):
    environment = program_environment | {
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "CORE_LOG_DIR": str(tmp_path),
        "CORE_REDIS_URL": "",
    }
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", REMEMBER],
            cwd=PROJECT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    assert [program.stdout.readline() for program in programs] == ["ready\n", "ready\n"]
    for program in programs:
        program.stdin.write("\n")
        program.stdin.flush()
    assert [program.communicate(timeout=60)[1] for program in programs] == ["", ""]
    assert [path.name for path in tmp_path.glob("head-*")] == [f"head-{UUID(int=1)}.json"]

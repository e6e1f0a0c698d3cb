"""A ledger that is restored to an earlier state: it is noticed, and no reader skips what comes after."""

import json
import sys
from contextlib import closing
from dataclasses import replace

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection, connections

from aggregator.head_keeper import HeadKeeper
from aggregator.health.checks import Status
from aggregator.health.ledger_check import LedgerCheck
from tests.commerce.feed.reading import Reader, grant, record
from tests.commerce.streaming.stream_client import EventSource, stream_process
from tests.servers import PROJECT, renamed

__all__ = ["stream_process"]
pytestmark = pytest.mark.django_db(transaction=True)

BACKUP = "ledger_backup"
DISCONNECT = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s"


@pytest.fixture
def server(program_environment):
    """What backs up the database of the test, and restores it."""
    name = connection.settings_dict["NAME"]
    with psycopg.connect(renamed(program_environment["CORE_DB_URL"], "postgres"), autocommit=True) as server:

        def copy(source, target):
            connections.close_all()
            server.execute(f"DROP DATABASE IF EXISTS {target} WITH (FORCE)")
            server.execute(DISCONNECT, [source])
            server.execute(f"CREATE DATABASE {target} TEMPLATE {source}")

        yield lambda: copy(name, BACKUP), lambda: copy(BACKUP, name)
        server.execute(f"DROP DATABASE IF EXISTS {BACKUP} WITH (FORCE)")


def sql_reader(after):
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT signal_id, position FROM trading_signals WHERE position > %s ORDER BY position", [after]
        )
        return cursor.fetchall()


def check():
    result = LedgerCheck().result(wait=True)
    return result.status, result.summary


def test_readers_are_stopped_and_go_on_without_skipping(
    server,
    stream_process,
    run_program,
    shared_hub,
    tmp_path,
    capsys,
    settings,
    redis_client,
):
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, log_dir=tmp_path)
    backup, restore = server
    issued = grant(streams=5).value
    reader, (stream, _) = Reader(issued), stream_process()
    file = tmp_path / "followed.jsonl"
    follow = [sys.executable, str(PROJECT / "examples" / "follow_feed.py"), "--once", shared_hub(), str(file)]

    record("s1", "s2")
    HeadKeeper().run_once()
    backup()
    record(*(f"lost{number}" for number in range(5)))
    HeadKeeper().run_once()
    assert check() == (Status.OK, "")
    cursor, position = reader.page()["next"], sql_reader(0)[-1][1]
    assert run_program(follow, SIGNAL_HUB_KEY=issued).wait() == 0
    live = EventSource(stream, issued, cursor)
    assert live.wait_for_id() == cursor

    restore()
    assert check() == (Status.FAILED, "went back")
    for answer in (reader.get("signals", after=cursor), reader.get("signals", after=cursor, limit=1)):
        assert (answer.status_code, answer.json()["code"]) == (410, "cursor_ahead")
        assert "Read again from the start" in answer.json()["detail"]
    [ended] = live
    assert (ended.kind, ended.data["status"]) == ("end", 410)
    with closing(EventSource(stream, issued, cursor)) as late:
        assert (late.status, late.problem()["code"]) == (410, "cursor_ahead")
    record("between")
    HeadKeeper().run_once()
    assert check() == (Status.FAILED, "went back"), "until a generation is begun"

    call_command("new_generation")
    assert "Generation 2 begins" in capsys.readouterr().out
    assert check() == (Status.OK, "")
    call_command("new_generation")
    assert "Generation 2 has begun before" in capsys.readouterr().out
    assert reader.page(after=cursor)["signals"] == []
    with closing(EventSource(stream, issued, cursor)) as live:
        live.wait_for_id()
        new = [f"new{number}" for number in range(3)]
        record(*new)
        assert [event.data["signal_id"] for event in live.take(3)] == new
    assert reader.ids(after=cursor) == new
    assert [signal_id for signal_id, _ in sql_reader(position)] == new
    assert run_program(follow, SIGNAL_HUB_KEY=issued).wait() == 0
    followed = [json.loads(line)["signal_id"] for line in file.read_text().splitlines()]
    assert followed == ["s1", "s2", *(f"lost{number}" for number in range(5)), *new]
    HeadKeeper().run_once()
    assert check() == (Status.OK, "")
    call_command("new_generation")
    assert "Generation 3 begins" in capsys.readouterr().out


def test_a_client_starts_again_and_adds_only_what_it_lacks(server, run_program, shared_hub, tmp_path):
    backup, restore = server
    issued = grant().value
    file = tmp_path / "followed.jsonl"
    follow = [sys.executable, str(PROJECT / "examples" / "follow_feed.py"), "--once", shared_hub(), str(file)]
    record("s1", "s2")
    backup()
    record("lost1", "lost2", "lost3")
    assert run_program(follow, SIGNAL_HUB_KEY=issued).wait() == 0
    restore()
    record("after", "lost2")
    assert run_program(follow, SIGNAL_HUB_KEY=issued).wait() == 0
    followed = [json.loads(line)["signal_id"] for line in file.read_text().splitlines()]
    assert followed == ["s1", "s2", "lost1", "lost2", "lost3", "after"]

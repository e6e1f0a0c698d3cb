"""A ledger that is restored to an earlier state: it is noticed, and no reader skips what comes after."""

import json
import os
import subprocess
import sys
from contextlib import closing
from dataclasses import replace

import pytest
from django.core.management import call_command
from django.db import connection, connections

from aggregator.head_keeper import HeadKeeper
from aggregator.health.checks import Status
from aggregator.health.ledger_checks import LedgerCheck
from tests.commerce.feed.reading import Reader, grant, record
from tests.commerce.streaming.stream_client import EventSource, stream_process
from tests.commerce.webhooks.pushing import customer, dispatch, endpoint, ids
from tests.servers import PROJECT
from tests.test_deployment_guide import packaged

__all__ = ["stream_process"]
pytestmark = pytest.mark.django_db(transaction=True)

BACKUP = 'pg_dump --format=custom --file=hub.dump "$URL"'
LOST = tuple(f"lost{number}" for number in range(5))
RESTORE = 'pg_restore --clean --if-exists --no-owner --exit-on-error --dbname="$URL" hub.dump'


@pytest.fixture
def server(program_environment, tmp_path):
    """What backs up the database of the test, and restores it."""
    variables = {
        "PATH": os.pathsep.join([*map(str, packaged()), os.environ["PATH"]]),
        "URL": program_environment["CORE_DB_URL"],
    }

    def run(command):
        connections.close_all()
        subprocess.run(["/bin/sh", "-c", command], cwd=tmp_path, env=variables, check=True)

    return lambda: run(BACKUP), lambda: run(RESTORE)


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
    inbox,
    receivers_here,
):
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, log_dir=tmp_path)
    backup, restore = server
    issued = grant(streams=5).value
    reader, (stream, _) = Reader(issued), stream_process()
    file = tmp_path / "followed.jsonl"
    follow = [sys.executable, str(PROJECT / "examples" / "follow_feed.py"), "--once", shared_hub(), str(file)]

    endpoint(customer(slug="pushed", email="pushed@example.com"), inbox.url())
    record("s1", "s2")
    dispatch()
    HeadKeeper().run_once()
    backup()
    record(*LOST)
    dispatch()
    assert ids(inbox) == ["s1", "s2", *LOST]
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
    assert ended.kind == "end"
    assert ended.data["status"] in {410, 503}, "503 where it read while a table was away"
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
    dispatch()
    assert ids(inbox) == ["s1", "s2", *LOST, "between", *new]
    assert [signal_id for signal_id, _ in sql_reader(position)] == new
    assert run_program(follow, SIGNAL_HUB_KEY=issued).wait() == 0
    followed = [json.loads(line)["signal_id"] for line in file.read_text().splitlines()]
    assert followed == ["s1", "s2", *LOST, *new]
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

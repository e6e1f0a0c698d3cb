"""`kill -9` of the sealer at each moment that matters, two sealers at once, Postgres away: never a fork."""

import os
import random
import threading
import time

import psycopg
import pytest
from django.db import connection

from aggregator.models import LogLeaf, TradingSignal, TransparencyLog
from aggregator.transparency import log_tables, merkle, verification
from aggregator.transparency.log_directory import log_directory
from aggregator.transparency.notes import Checkpoint, Note
from tests.servers import eventually

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def sealer(run_manage, log, log_dir):
    """Start a worker that seals and does nothing else."""

    def start(*options):
        return run_manage("run_worker", "--only", "transparency", *options, CORE_LOG_DIR=str(log_dir))

    return start


@pytest.fixture
def other():
    """A second connection, to hold locks with."""
    with psycopg.connect(**connection.get_connection_params() | {"cursor_factory": None}) as other:
        yield other


def copied():
    """The checkpoint of the copy in the folder."""
    return Checkpoint.parse(Note.parse(log_directory().copy()).text)


def whole(seal, signals):
    """Let another sealer take over: all is sealed, dense, and nothing contradicts the copy."""
    before = copied()
    head = seal()
    assert (head.size, head.checkpoint_size, head.problem) == (signals, signals, "")
    assert verification.verify(log_directory()) == signals
    with connection.cursor() as cursor:
        assert log_tables.read_hashes(cursor, [(0, before.size)]) == [before.root]
    assert copied().size == signals


def test_killed_while_it_appends(sealer, record, seal, other):
    record(*[{}] * 300)
    other.execute("LOCK TABLE log_leaves IN SHARE MODE")
    program = sealer()
    waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'log_leaves'::regclass AND NOT granted"
    program.until(lambda: other.execute(waiting).fetchone()[0])
    record({})  # no writer waits for the sealer
    program.kill()
    other.rollback()
    assert not LogLeaf.objects.exists()
    whole(seal, 301)


def test_killed_after_the_append_and_before_the_copy(sealer, record, seal, log_dir):
    record(*[{}] * 300)
    os.mkfifo(log_dir / "checkpoint.new")  # who opens it to write waits for a reader
    program = sealer()
    program.until(lambda: TransparencyLog.objects.get().size == 300)
    record({})
    program.kill()
    (log_dir / "checkpoint.new").unlink()
    assert (copied().size, TransparencyLog.objects.get().checkpoint_size) == (0, 0)
    whole(seal, 301)


def test_killed_after_the_copy_and_before_the_publication(sealer, record, seal, other):
    record(*[{}] * 300)
    other.execute(
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$"
    )
    other.execute(
        "CREATE TRIGGER dawdle BEFORE UPDATE OF checkpoint ON transparency_log "
        "FOR EACH ROW EXECUTE FUNCTION dawdle()"
    )
    other.commit()
    try:
        program = sealer()
        program.until(lambda: copied().size == 300)
        record({})
        program.kill()
    finally:
        other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
        other.execute("DROP FUNCTION dawdle CASCADE")
        other.commit()
    assert TransparencyLog.objects.get().checkpoint_size == 0
    published = log_directory().copy()
    whole(seal, 301)
    assert published != log_directory().copy()


def test_sealers_that_race_and_are_killed_publish_one_log(sealer, record, seal):
    """Two sealers at a time, each killed at a moment that chance chooses, while signals come in."""
    seen, stop = {}, threading.Event()

    def watch():
        while not stop.wait(0.01):
            note = TransparencyLog.objects.get().checkpoint
            seen[Checkpoint.parse(Note.parse(note).text)] = True
        connection.close()

    watcher = threading.Thread(target=watch)
    watcher.start()
    recorded = 0
    try:
        for round_number in range(2):
            programs = [sealer(), sealer()]
            reached = len(seen) + 3
            while len(seen) < reached:
                record(*[{}] * 20)
                recorded += 20
            for program in programs:
                time.sleep(random.random() / 10)
                record(*[{}] * 20)
                recorded += 20
                program.kill()
            assert recorded == TradingSignal.objects.count(), round_number
    finally:
        stop.set()
        watcher.join()
    whole(seal, recorded)
    assert list(seen) == sorted(seen, key=lambda each: each.size)
    with connection.cursor() as cursor:
        for checkpoint in seen:
            spans = [(0, checkpoint.size), *merkle.consistency_ranges(checkpoint.size, recorded)]
            assert log_tables.read_hashes(cursor, spans)[0] == checkpoint.root


def test_it_goes_on_after_postgres_was_away(sealer, record, seal, postgres_server):
    record({})
    program = sealer()
    program.until(lambda: TransparencyLog.objects.get().checkpoint_size == 1)
    connection.close()
    postgres_server.stop()
    postgres_server.start()
    eventually(lambda: record({}))
    program.until(lambda: TransparencyLog.objects.get().checkpoint_size == 2)
    assert program.stop() == 0
    whole(seal, 2)

"""Readers that follow `position` while others write."""

import itertools
import random
import threading
from contextlib import ExitStack

import psycopg
import pytest
from django.db import close_old_connections, connection

from aggregator import ledger
from aggregator.ingest.databases import DatabaseConsumer
from tests.aggregator.ledger.samples import entry, insert, value
from tests.servers import eventually

WRITERS, BATCHES, SIZE = 4, 25, 20
AGENTS, AGENT_ROWS = 3, 40
PAGE = "SELECT position, signal_id FROM trading_signals WHERE position > %s ORDER BY position LIMIT 50"


def write(name):
    for batch in range(BATCHES):
        ledger.record([entry(f"{name}-{batch}-{number}") for number in range(SIZE)], "redis")
    connection.close()


def insert_slowly(parameters, name, seen, done):
    """Insert rows in transactions that stay open until the follower has seen later positions."""
    with psycopg.connect(**parameters) as agent:
        for number in range(0, AGENT_ROWS, 4):
            for offset in range(4):
                insert(agent.cursor(), f"{name}-{number + offset}")
            before = len(seen)
            # Commits late: only after others' rows went by, or the other writers are done.
            eventually(lambda before=before: len(seen) > before + 30 or done.is_set())
            if random.Random(number).random() < 0.2:
                agent.rollback()
                for offset in range(4):
                    insert(agent.cursor(), f"{name}-{number + offset}")
            agent.commit()


def follow(seen, finished):
    """Read pages after the last position seen, until all is written and the last page was empty."""
    position = 0
    while True:
        last = finished.is_set()
        with connection.cursor() as cursor:
            cursor.execute(PAGE, [position])
            page = cursor.fetchall()
        seen.extend(name for _, name in page)
        if page:
            position = page[-1][0]
        elif last:
            connection.close()
            return


def adopt_until(finished):
    consumer = DatabaseConsumer("default")
    while not (finished.is_set() and consumer.run_once() == 0):
        consumer.run_once()
    close_old_connections()
    connection.close()


@pytest.mark.django_db(transaction=True)
def test_a_follower_sees_every_row_once_while_writers_and_slow_agents_commit():
    parameters = connection.get_connection_params() | {"cursor_factory": None}
    seen, written, adopted = [], threading.Event(), threading.Event()
    with ExitStack() as stack:
        follower = threading.Thread(target=follow, args=(seen, adopted))
        adopter = threading.Thread(target=adopt_until, args=(written,))
        writers = [threading.Thread(target=write, args=(f"w{number}",)) for number in range(WRITERS)]
        agents = [
            threading.Thread(target=insert_slowly, args=(parameters, f"a{number}", seen, written))
            for number in range(AGENTS)
        ]
        stack.callback(adopted.set)
        stack.callback(written.set)
        for thread in (follower, adopter, *writers, *agents):
            thread.start()
        for thread in writers:
            thread.join(60)
        written.set()
        for thread in agents:
            thread.join(60)
        # The adopter must see the agents' last commits: it stops only after an empty turn.
        adopter.join(60)
        DatabaseConsumer("default").run_once()
        adopted.set()
        follower.join(60)
    expected = {f"w{w}-{b}-{n}" for w, b, n in itertools.product(range(WRITERS), range(BATCHES), range(SIZE))}
    expected |= {f"a{a}-{n}" for a, n in itertools.product(range(AGENTS), range(AGENT_ROWS))}
    assert sorted(seen) == sorted(expected)
    assert value("SELECT count(*) FROM trading_signals WHERE position IS NULL") == 0

"""Never a signal skipped, never one twice: real followers, killed and started again, while writers commit.

Writers commit in many processes' manner: batches through the ledger, and agents' rows in transactions that
stay open while later ones are recorded. Followers and the servers they read from are killed at random. In the
end each follower holds, in order, what the database holds.
"""

import json
import random
import sys
import threading
import time
from contextlib import ExitStack
from datetime import timedelta

import psycopg
import pytest
from django.db import connection

from aggregator import ledger
from commerce import checkpoints
from config.embedded import free_port
from tests.commerce.reading import customer, record
from tests.commerce.streaming import answers, granian
from tests.servers import PROJECT, eventually, web

pytestmark = pytest.mark.django_db(transaction=True)

DELAY = timedelta(seconds=3)
LASTS_S = 20
AGENT = (
    'INSERT INTO trading_signals (signal_id, ecosystem, "timestamp", symbol, action) '
    "VALUES (%s, 'crypto', now(), 'BTCUSDT', 'BUY')"
)


class Follower:
    """The example, as a process that writes a file; killed and started again at will."""

    def __init__(self, run_program, folder, name, key, *options):
        self.run_program = run_program
        self.file = folder / f"{name}.jsonl"
        self.command = [sys.executable, str(PROJECT / "examples" / "follow_feed.py"), *options]
        self.key = key
        self.program = None
        self.kills = 0

    def start(self, urls):
        web_url, stream_url = urls
        options = ["--stream", stream_url] if "--poll" not in self.command else []
        self.program = self.run_program(
            [*self.command, *options, web_url, str(self.file)], SIGNAL_HUB_KEY=self.key
        )

    def kill(self):
        self.program.kill()
        self.kills += 1

    def lines(self):
        return [json.loads(line) for line in self.file.read_text().splitlines()] if self.file.exists() else []

    def count(self):
        return self.file.read_bytes().count(b"\n") if self.file.exists() else 0


def write(name, done):
    """Record batches through the ledger until told to stop."""
    batch = 0
    while not done.is_set():
        batch += 1
        record(*(f"{name}-{batch}-{number}" for number in range(random.randint(1, 40))))
        done.wait(0.05)
    connection.close()


def write_slowly(parameters, name, done):
    """Insert rows as an agent: in transactions that stay open a while; some roll back or break off."""
    batch = 0
    while not done.is_set():
        batch += 1
        agent = psycopg.connect(**parameters)
        with agent.cursor() as cursor:
            for number in range(random.randint(1, 10)):
                cursor.execute(AGENT, [f"{name}-{batch}-{number}"])
        done.wait(random.uniform(0, 1.5))
        match random.random():
            case chance if chance < 0.15:
                agent.rollback()
            case chance if chance < 0.3:
                agent.close()  # a process that died
                continue
            case _:
                agent.commit()
        agent.close()


def adopt(done):
    """Record what agents inserted, and take checkpoints, as the workers do."""
    while not done.is_set():
        ledger.adopt(500)
        checkpoints.take()
        done.wait(0.2)
    connection.close()


def in_the_ledger():
    with connection.cursor() as cursor:
        cursor.execute("SELECT signal_id FROM trading_signals WHERE position IS NOT NULL ORDER BY position")
        return [row[0] for row in cursor.fetchall()]


@pytest.fixture
def cast(run_program, tmp_path):
    now, late = customer(), customer(delay=DELAY)
    return [
        Follower(run_program, tmp_path, f"{name}-{kind}", someone.issue_key(kind).value, *options)
        for name, someone in (("now", now), ("late", late))
        for kind, options in (("rest", ["--poll", "0.2"]), ("stream", []))
    ]


def test_killed_followers_end_with_the_same_as_the_database(cast, run_program):
    ports = free_port(), free_port()
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    commands = [web(ports[0]), granian(ports[1])]
    servers = [run_program(command) for command in commands]
    for server, url in zip(servers, urls, strict=True):
        server.until(lambda url=url: answers(f"{url}/livez"), seconds=40)
    for follower in cast:
        follower.start(urls)
    done = threading.Event()
    parameters = connection.get_connection_params() | {"cursor_factory": None}
    writers = [
        *(threading.Thread(target=write, args=(f"w{n}", done)) for n in range(3)),
        *(
            threading.Thread(target=write_slowly, args=(parameters, f"a{number}", done))
            for number in range(3)
        ),
    ]
    workers_done = threading.Event()
    worker = threading.Thread(target=adopt, args=(workers_done,))
    with ExitStack() as stack:
        stack.callback(workers_done.set)
        stack.callback(done.set)
        for thread in (*writers, worker):
            thread.start()
        until = time.monotonic() + LASTS_S
        while time.monotonic() < until:
            done.wait(random.uniform(0.5, 1.5))
            if random.random() < 0.2:
                number = random.randrange(2)
                servers[number].kill()
                servers[number] = run_program(commands[number])
            else:
                follower = random.choice(cast)
                follower.kill()
                follower.start(urls)
        done.set()
        for thread in writers:
            thread.join(30)
        # The worker ends first: rows that it holds are passed over by another `adopt`.
        workers_done.set()
        worker.join(30)
        eventually(lambda: not ledger.adopt(500))
        expected = in_the_ledger()
        eventually(lambda: all(follower.count() >= len(expected) for follower in cast), seconds=90)
    assert len(expected) > 500
    for follower in cast:
        follower.program.kill()
        found = follower.lines()
        assert [signal["signal_id"] for signal in found] == expected
    assert sum(follower.kills for follower in cast) > 5


def test_no_delayed_follower_is_early(cast, live_hub):
    """What a delayed plan shows was recorded at least its delay ago, by the reader's own clock."""
    url = live_hub()
    rest = cast[2]
    rest.start((url, url))
    recorded = {}
    for number in range(6):
        recorded[f"s{number}"] = time.time()
        record(f"s{number}")
        checkpoints.take()
        assert all(
            time.time() - recorded[signal["signal_id"]] >= DELAY.total_seconds() for signal in rest.lines()
        )
        eventually(lambda start=recorded[f"s{number}"]: time.time() - start > 0.7)
    seen = {}

    def all_seen():
        for signal in rest.lines():
            seen.setdefault(signal["signal_id"], time.time())
        return len(seen) == len(recorded)

    eventually(all_seen, seconds=30)
    for signal_id, moment in seen.items():
        assert moment - recorded[signal_id] >= DELAY.total_seconds()

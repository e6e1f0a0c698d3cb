"""What "never skips, never repeats" runs: writers, clients of each kind, and programs that are killed."""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import redis
import requests
from django.db import connection
from standardwebhooks import Webhook

from aggregator.ingest.streams import GROUP
from ecosystems import signing
from tests.commerce.feed.reading import raw
from tests.commerce.webhooks.receiver import Answering, Received
from tests.servers import PROJECT, WEBHOOK_SECRET, Program

STREAM = "core_signals:signals"

# Between the drawing of a position and its commit lies a moment that is too short to be met by chance. Half a
# second is longer than any client waits between two requests.
SLOW_COMMITS = """
    CREATE FUNCTION commit_slowly() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END $$;
    CREATE TRIGGER commit_slowly AFTER INSERT OR UPDATE ON trading_signals FOR EACH ROW
        WHEN (NEW.position % 25 = 0) EXECUTE FUNCTION commit_slowly()"""
USUAL_COMMITS = "DROP FUNCTION IF EXISTS commit_slowly CASCADE"

AGENT = (
    'INSERT INTO trading_signals (signal_id, ecosystem, "timestamp", symbol, action) '
    "VALUES (%s, 'crypto', now(), 'BTCUSDT', 'BUY')"
)


@contextmanager
def slow_commits() -> Iterator[None]:
    """Let one in a few transactions that give positions take a while for its commit."""
    with connection.cursor() as cursor:
        cursor.execute(SLOW_COMMITS)
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(USUAL_COMMITS)


class Killable:
    """A program of the hub; `kill` ends it as a power cut would, and starts it anew."""

    def __init__(self, start: Callable[[], Program], pass_time: Callable[[], object] = lambda: None) -> None:
        self._start = start
        self._pass_time = pass_time
        self.program = start()
        self.kills = 0

    def kill(self) -> None:
        self.program.kill()
        self._pass_time()
        self.kills += 1
        self.program = self._start()


class FeedClient(Killable):
    """The example as a process that writes a file."""

    def __init__(
        self, run_program: Callable[..., Program], file: Path, key: str, url: str, *options: str
    ) -> None:
        self.file = file
        command = [sys.executable, str(PROJECT / "examples" / "follow_feed.py"), *options, url, str(file)]
        super().__init__(lambda: run_program(command, SIGNAL_HUB_KEY=key))

    def count(self) -> int:
        return self.file.read_bytes().count(b"\n") if self.file.exists() else 0

    def found(self) -> list[str]:
        """The ids of what was read, in that order."""
        whole = self.file.read_bytes().split(b"\n")[:-1] if self.file.exists() else []
        return [json.loads(line)["signal_id"] for line in whole]


class Inbox:
    """What a webhook receiver keeps: the signal of each `webhook-id`, and how often it came.

    Now and then it fails, with an answer or without, after it has taken what was sent.
    """

    def __init__(self, verifier: Webhook, randomly: random.Random, delay: timedelta) -> None:
        self.signals: dict[str, str] = {}
        self.times: dict[str, int] = {}
        self.wrong: list[str] = []
        self.reliable = False
        self._verifier = verifier
        self._randomly = randomly
        self._delay = delay
        self._lock = threading.Lock()

    def answer(self, received: Received) -> Answering:
        signal = self._verifier.verify(received.body, received.headers)["data"]
        message = received.headers["webhook-id"]
        early = datetime.now(UTC) - datetime.fromisoformat(signal["received_at"]) < self._delay
        with self._lock:
            if early or self.signals.setdefault(message, signal["signal_id"]) != signal["signal_id"]:
                self.wrong.append(f"{message} {signal['signal_id']} early={early}")
            self.times[message] = self.times.get(message, 0) + 1
            chance = 1.0 if self.reliable else self._randomly.random()
        if chance < 0.005:
            return Answering(before=_hang_up)
        return Answering(503 if chance < 0.01 else 200)


def _hang_up() -> None:
    raise ConnectionAbortedError


class Writer(threading.Thread):
    """Brings signals in until `done`; `confirmed` has the ids that the hub or the database confirmed."""

    def __init__(self, name: str, seed: int, done: threading.Event) -> None:
        super().__init__(name=name, daemon=True)
        self.randomly = random.Random(f"{seed} {name}")
        self.done = done
        self.confirmed: list[str] = []
        self.batches = 0

    def run(self) -> None:
        while not self.done.is_set():
            self.batches += 1
            self.write()

    def ids(self, most: int) -> list[str]:
        count = self.randomly.randint(1, most)
        return [f"{self.name}-{self.batches}-{number}" for number in range(count)]

    def rest(self, most: float) -> None:
        self.done.wait(self.randomly.uniform(0, most))

    def write(self) -> None:
        raise NotImplementedError


class Poster(Writer):
    """Posts to the webhook, and sends again what was not answered with a 2xx."""

    def __init__(self, name: str, seed: int, done: threading.Event, url: str) -> None:
        super().__init__(name, seed, done)
        self.url = url

    def write(self) -> None:
        ids = self.ids(4)
        body = b"[" + b",".join(raw(signal_id, agent_source=self.name) for signal_id in ids) + b"]"
        until = time.monotonic() + 120
        while not self._taken(body):
            assert time.monotonic() < until, "the webhook takes nothing"
            time.sleep(0.1)
        self.confirmed += ids
        self.rest(0.6)

    def _taken(self, body: bytes) -> bool:
        now = int(time.time())
        message = f"msg_{self.randomly.getrandbits(64):x}"
        headers = {
            "Content-Type": "application/json",
            "webhook-id": message,
            "webhook-timestamp": str(now),
            "webhook-signature": signing.sign(WEBHOOK_SECRET, message, now, body),
        }
        with suppress(requests.RequestException):
            return requests.post(f"{self.url}/api/signals", body, headers=headers, timeout=10).ok
        return False


class Appender(Writer):
    """Appends to the stream, in bursts."""

    def __init__(self, name: str, seed: int, done: threading.Event, client: redis.Redis) -> None:
        super().__init__(name, seed, done)
        self.client = client

    def write(self) -> None:
        ids = self.ids(6)
        with self.client.pipeline() as pipe:
            for signal_id in ids:
                pipe.xadd(STREAM, {"payload": raw(signal_id, agent_source=self.name)})
            pipe.execute()
        self.confirmed += ids
        self.rest(1.0)


class Agent(Writer):
    """Inserts rows itself, in transactions that stay open a while; some roll back or break off."""

    def __init__(self, name: str, seed: int, done: threading.Event, parameters: dict[str, Any]) -> None:
        super().__init__(name, seed, done)
        self.parameters = parameters

    def write(self) -> None:
        ids = self.ids(6)
        with suppress(psycopg.OperationalError), psycopg.connect(**self.parameters) as agent:
            for signal_id in ids:
                agent.execute(AGENT, [signal_id])
            self.rest(1.5)
            chance = self.randomly.random()
            if chance < 0.15:
                agent.rollback()
            elif chance < 0.3:
                agent.close()  # a process that died
            else:
                agent.commit()
                self.confirmed += ids


def idle_in_redis(client: redis.Redis) -> None:
    """Let so much time pass for what a dead consumer held that another one claims it."""
    with suppress(redis.ResponseError):  # there is no group yet
        held = [entry["message_id"] for entry in client.xpending_range(STREAM, GROUP, "-", "+", 10_000)]
        if held:
            client.xclaim(STREAM, GROUP, "gone", 0, held, idle=61_000, justid=True)


def work_is_due() -> None:
    """Let so much time pass that what a dead worker held is free, and what failed is due again."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE endpoints SET free_at = now()")
        cursor.execute("UPDATE webhook_messages SET due_at = now() WHERE state = 'waiting'")

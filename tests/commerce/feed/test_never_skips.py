"""Never a signal skipped, never one twice: real clients of each kind at once, killed while writers commit.

Signals come in over all three transports, agents' rows in transactions that stay open while later ones are
recorded. Followers over REST and the stream, a webhook receiver for each plan, and the programs that they
and the writers depend on are killed at random and started again. In the end REST and stream clients hold
exactly what the database holds, in its order; a webhook receiver holds exactly that by `webhook-id`, some of
them more than once.
"""

import random
import threading
import time
from contextlib import ExitStack
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from standardwebhooks import Webhook

from commerce import entitlements
from commerce.models import Subscription
from commerce.webhooks import endpoints
from tests.commerce.feed.feed_clients import (
    Agent,
    Appender,
    FeedClient,
    Inbox,
    Killable,
    Poster,
    idle_in_redis,
    slow_commits,
    work_is_due,
)
from tests.commerce.feed.reading import customer, record
from tests.commerce.streaming.stream_client import granian
from tests.commerce.webhooks.pushing import local
from tests.commerce.webhooks.receiver import receiver
from tests.servers import answers, eventually, free_port, manage, until_still, web

pytestmark = pytest.mark.django_db(transaction=True)

DELAY = timedelta(seconds=3)
LASTS_S = 16
LOCAL = {"DJANGO_DEBUG": "1", "CORE_DELIVERY_NETWORKS": "127.0.0.0/8"}
SEED = 20_261_128


def in_the_ledger():
    with connection.cursor() as cursor:
        cursor.execute("SELECT signal_id FROM trading_signals WHERE position IS NOT NULL ORDER BY position")
        return [row[0] for row in cursor.fetchall()]


def recorded_after_newer_ones():
    """How many rows an agent began to insert before others, and has on record after them."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FILTER (WHERE received_at < newest) FROM (SELECT received_at, "
            "max(received_at) OVER (ORDER BY position) AS newest FROM trading_signals) AS ledger"
        )
        return cursor.fetchone()[0]


class World:
    """The hub's programs, who follows them, and who writes."""

    def __init__(self, run_program, redis_client, folder, stack):
        self.run_program = run_program
        self.folder = folder
        self.stack = stack
        ports = free_port(), free_port()
        self.web, self.stream = (f"http://127.0.0.1:{port}" for port in ports)
        self.servers = [
            Killable(lambda: run_program(web(ports[0]))),
            Killable(lambda: run_program(granian(ports[1]))),
            Killable(lambda: run_program(manage("consume_databases"))),
        ]
        self.holders = [
            Killable(lambda: run_program(manage("consume_streams")), lambda: idle_in_redis(redis_client)),
            *(
                Killable(
                    lambda: run_program(manage("run_worker", "--only", "webhooks"), **LOCAL), work_is_due
                )
                for _ in range(2)
            ),
        ]
        self.clients = []
        self.inboxes = []
        self.done = threading.Event()
        stack.callback(self.done.set)
        parameters = connection.get_connection_params() | {"cursor_factory": None}
        self.writers = [
            *(Poster(f"p{number}", SEED, self.done, self.web) for number in range(2)),
            *(Agent(f"a{number}", SEED, self.done, parameters) for number in range(3)),
            Appender("s", SEED, self.done, redis_client),
        ]

    def answers(self):
        for url in (self.web, self.stream):
            eventually(lambda url=url: answers(f"{url}/livez"))

    def follow(self, name, delay):
        """Follow by a plan of that delay, in each of the three ways."""
        owner = customer(delay=delay, streams=100, webhooks=1)
        key = owner.issue_key(name).value
        for kind, options in (("rest", ["--poll", "0.2"]), ("stream", ["--stream", self.stream])):
            file = self.folder / f"{name}-{kind}.jsonl"
            self.clients.append(FeedClient(self.run_program, file, key, self.web, *options))
        rights = entitlements.entitlement(Subscription.objects.entitling(timezone.now()).get(customer=owner))
        server = self.stack.enter_context(receiver())
        _, secret = endpoints.create(rights, "webhook", server.url(), after=0)
        inbox = Inbox(Webhook(secret), random.Random(f"{SEED} {name}"), delay)
        server.answer = inbox.answer
        self.inboxes.append(inbox)

    def go_through_it(self):
        """Let all writers write and kill random programs; return what was confirmed to the writers."""
        randomly = random.Random(SEED)
        for writer in self.writers:
            writer.start()
        until = time.monotonic() + LASTS_S
        at_the_latest = until + 120  # where a killed program takes long to come up again
        while time.monotonic() < until or (time.monotonic() < at_the_latest and not self.much_happened()):
            self.done.wait(randomly.uniform(0.4, 1.4))
            randomly.choice([*self.servers, *self.holders, *self.clients]).kill()
        self.done.set()
        for writer in self.writers:
            writer.join(180)
        return {signal_id for writer in self.writers for signal_id in writer.confirmed}

    def kills(self):
        return [one.kills for one in (*self.servers, *self.holders, *self.clients)]

    def much_happened(self):
        return len(in_the_ledger()) > 200 and recorded_after_newer_ones() > 20 and sum(self.kills()) > 10

    def finish(self, count):
        """Wait until `count` signals are on record and have reached all who follow."""
        for inbox in self.inboxes:
            inbox.reliable = True
        for holder in self.holders:
            holder.kill()  # what the dead ones held, and what failed, is due at once
        assert until_still(lambda: len(in_the_ledger()), count) >= count, "not everything is recorded"
        until_still(self.reached, count)  # a comparison says better who lacks what

    def reached(self):
        """How much of the ledger they all have at least."""
        return min(
            *(follower.count() for follower in self.clients),
            *(len(inbox.signals) for inbox in self.inboxes),
        )


def test_clients_of_each_kind_end_with_the_same_as_the_database(
    run_program, redis_client, tmp_path, settings
):
    print(f"NEVER_SKIPS_SEED={SEED}")  # noqa: T201 - shown when it fails
    local(settings)
    with ExitStack() as stack:
        stack.enter_context(slow_commits())
        world = World(run_program, redis_client, tmp_path, stack)
        world.answers()
        world.follow("now", timedelta(0))
        world.follow("late", DELAY)
        said = world.go_through_it()
        world.finish(len(said))
        expected = in_the_ledger()
    assert world.much_happened()
    assert all(writer.confirmed for writer in world.writers)
    assert set(expected) == said
    for follower in world.clients:
        follower.program.kill()
        assert follower.found() == expected, follower.file.name
    for inbox in world.inboxes:
        assert inbox.wrong == []
        assert sorted(inbox.signals.values()) == sorted(expected)
    again = [sum(inbox.times.values()) - len(expected) for inbox in world.inboxes]
    print(f"{len(expected)} signals, kills {world.kills()}, pushed again {again}")  # noqa: T201


def test_no_delayed_follower_is_early(run_program, live_hub, tmp_path):
    """What a delayed plan shows was recorded at least its delay ago, by the reader's own clock."""
    key = customer(delay=DELAY).issue_key("late").value
    late = FeedClient(run_program, tmp_path / "late.jsonl", key, live_hub(), "--poll", "0.2")
    recorded = {}
    for number in range(6):
        recorded[f"s{number}"] = time.time()
        record(f"s{number}")
        assert all(time.time() - recorded[name] >= DELAY.total_seconds() for name in late.found())
        eventually(lambda start=recorded[f"s{number}"]: time.time() - start > 0.7)
    seen = {}

    def all_seen():
        for signal_id in late.found():
            seen.setdefault(signal_id, time.time())
        return len(seen) == len(recorded)

    eventually(all_seen)
    for signal_id, moment in seen.items():
        assert moment - recorded[signal_id] >= DELAY.total_seconds()

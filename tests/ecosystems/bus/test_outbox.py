import itertools
import random
import signal as signals_of_os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ecosystems.bus import EventBus, Outbox, OutboxError, OutboxFull
from ecosystems.bus.database import DatabaseTransport
from ecosystems.bus.memory import MemoryTransport
from ecosystems.bus.outbox_sender import MAX_RETRY_WAIT_S, POLL_INTERVAL_S, OutboxSender
from ecosystems.bus.transport import CONFIRMED, Entry, Postponed, Transport
from ecosystems.bus.webhook import WebhookTransport
from tests.ecosystems.bus.receiver import Receiver, accepted, problem
from tests.ecosystems.examples import a_signal, signals
from tests.servers import PROJECT, eventually

SECRET = "secret"


class Clock:
    """Seconds that pass when a test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent.outbox"


@pytest.fixture
def hub() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def bus(hub: Receiver, path: Path, clock: Clock) -> Iterator[EventBus]:
    """A bus that delivers by `flush` alone."""
    with webhook_bus(hub.url, path, clock) as bus:
        yield bus


def webhook_bus(url: str, path: Path, clock: Clock | None = None) -> EventBus:
    transports = [WebhookTransport(url, SECRET)]
    return EventBus(transports, outbox=Outbox(path), background=False, clock=clock or Clock())


def inside(path: Path) -> list[tuple[str, str, str]]:
    """Return what another process sees in the outbox."""
    looking = Outbox(path, owner=False)
    try:
        return [(item.entry.signal_id, item.transport, item.state) for item in looking.entries()]
    finally:
        looking.close()


def test_a_signal_is_on_the_disk_before_publish_returns_and_gone_once_confirmed(hub, bus, path):
    receipt = bus.publish(a_signal())
    assert [signal.signal_id for signal in receipt.pending] == ["s-1"]
    assert inside(path) == [("s-1", "webhook", "pending")]
    assert not hub.requests

    assert bus.flush().confirmed == 1
    assert hub.ids == ["s-1"]
    assert inside(path) == []
    assert bus.flush().confirmed == 0


def test_what_a_stopped_agent_left_is_delivered_by_the_next_one_in_order_and_in_batches(hub, path):
    with webhook_bus("http://127.0.0.1:1/", path) as bus:
        bus.publish_many(signals(1500))
        bus.publish(a_signal("last"))

    with webhook_bus(hub.url, path) as bus:
        assert bus.flush().confirmed == 1501
    assert hub.ids == [*(f"s-{number}" for number in range(1500)), "last"]
    assert [len(request.signals) for request in hub.requests] == [1000, 501]


def test_a_refused_signal_is_kept_with_the_reason_and_does_not_block_those_behind(hub, bus, path):
    hub.script.append(accepted(3, {"index": 1, "signal_id": "s-1", "code": "conflict", "detail": "why"}))
    bus.publish_many(signals(3))
    receipt = bus.flush()
    bus.publish(a_signal("next"))
    bus.flush()

    assert [str(refused) for refused in receipt.refused] == ["webhook refused crypto/s-1: conflict: why"]
    assert hub.ids == ["s-0", "s-1", "s-2", "next"]
    assert inside(path) == [("s-1", "webhook", "refused")]


@pytest.mark.parametrize("status", [401, 403, 409, 422])
def test_refusals_of_a_whole_request_are_kept(hub, bus, path, status):
    hub.script.append(problem(status, "a_code", "The hub's reason."))
    bus.publish_many(signals(2))
    bus.flush()

    (first, _second) = bus.outbox.entries("refused")
    assert (first.code, first.detail) == ("a_code", "The hub's reason.")
    bus.publish(a_signal("next"))
    assert bus.flush().confirmed == 1


def test_refused_signals_are_sent_again_or_deleted(hub, bus, path):
    hub.script.append(problem(401, "unauthenticated", "Who are you?"))
    bus.publish_many(signals(3))
    bus.flush()

    operator = Outbox(path, owner=False)
    kept = list(operator.entries("refused"))
    assert operator.retry([kept[0].id]) == 1
    operator.drop(kept[1].id)
    assert bus.flush().confirmed == 1
    assert operator.retry() == 1
    assert bus.flush().confirmed == 1
    assert operator.refused() == []
    operator.close()
    assert hub.ids == ["s-0", "s-1", "s-2", "s-0", "s-2"]
    assert inside(path) == []


def test_a_hub_that_is_down_for_ten_minutes(hub, path, clock, free_port):
    """One signal each five seconds; the hub's port answers nothing at first."""
    bus = webhook_bus(f"http://127.0.0.1:{free_port}/api/signals", path, clock)
    tries = 0
    for number in range(120):
        clock.now += 5
        bus.publish(a_signal(f"s-{number}"))
        tries += bool(bus.flush().pending)
    assert tries < 25

    with Receiver(free_port) as revived:
        while not (receipt := bus.flush()).confirmed:
            clock.now += 5
            assert clock.now < 1000 + 600 + 1.5 * MAX_RETRY_WAIT_S
        assert receipt.confirmed == 120
        assert revived.ids == [f"s-{number}" for number in range(120)]
        assert len(revived.requests) == 1
    bus.close()


def test_waits_double_up_to_a_minute_and_are_spread(path, clock):
    class Silent(Transport):
        name = "silent"

        def send(self, entries):
            return [Postponed("no answer")] * len(entries)

    outbox = Outbox(path)
    outbox.put([Entry("crypto", "s-1", "signals", a_signal().to_json())], {"crypto": ["silent"]})
    for chance, expected in ((0.0, [1, 2, 4, 8, 16, 32, 60, 60]), (1.0, [1.5, 3, 6, 12, 24, 48, 90, 90])):
        sender = OutboxSender(outbox, Silent(), clock=clock, chance=itertools.repeat(chance).__next__)
        waits = []
        for _ in expected:
            assert sender.run_once() is not None
            assert sender.run_once() is None
            waits.append(sender.wait_s())
            clock.now += waits[-1]
        assert waits == expected
    outbox.close()


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured(hub, bus, clock, status):
    hub.script.append(problem(status, "a_code", "Later.", Retry_After="90"))
    bus.publish(a_signal())
    assert bus.flush().pending
    clock.now += 89.9
    assert bus.flush() == bus.flush()
    assert len(hub.requests) == 1
    clock.now += 46  # up to half as long again
    assert bus.flush().confirmed == 1


def test_two_transports_progress_apart_and_a_restart_does_not_repeat_the_confirmed_one(
    program_environment, hub, path, clock
):
    url = program_environment["CORE_DB_URL"]

    def mixed_bus() -> EventBus:
        transports = [WebhookTransport(hub.url, SECRET), DatabaseTransport(url)]
        return EventBus(transports, outbox=Outbox(path), background=False, clock=clock)

    hub.script.append(problem(503, "unavailable", "Later."))
    with mixed_bus() as bus:
        bus.publish_many(signals(2))
        receipt = bus.flush()
    assert receipt.confirmed == 2
    assert inside(path) == [("s-0", "webhook", "pending"), ("s-1", "webhook", "pending")]

    with mixed_bus() as bus:
        assert bus.flush().confirmed == 2
    assert hub.ids == ["s-0", "s-1"] * 2
    assert inside(path) == []
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM trading_signals").fetchone() == (2,)


def test_a_backlog_follows_its_agent_to_another_transport(program_environment, path, hub):
    with webhook_bus("http://127.0.0.1:1/", path) as bus:
        bus.publish_many([a_signal("c"), a_signal("f", ecosystem="forex")])

    crypto_only = DatabaseTransport(program_environment["CORE_DB_URL"], ecosystems=["crypto"])
    with EventBus([crypto_only], outbox=Outbox(path), background=False) as bus:
        assert bus.flush().confirmed == 1
    assert inside(path) == [("f", "webhook", "pending")]


def test_transports_of_one_name_cannot_share_an_outbox(path):
    twins = [DatabaseTransport("postgres://one/x"), DatabaseTransport("postgres://two/x")]
    outbox = Outbox(path)
    with pytest.raises(ValueError, match="names of their own"):
        EventBus(twins, outbox=outbox)
    outbox.close()


def test_local_subscribers_do_not_wait_for_the_outbox(hub, path):
    seen: list[str] = []
    transports = [MemoryTransport(), WebhookTransport(hub.url, SECRET)]
    with EventBus(transports, outbox=Outbox(path), background=False) as bus:
        bus.subscribe(lambda signal: seen.append(signal.signal_id))
        receipt = bus.publish(a_signal())
    assert seen == ["s-1"]
    assert receipt.confirmed == 1
    assert inside(path) == [("s-1", "webhook", "pending")]


def test_threads_deliver_by_themselves_also_what_is_published_later(hub, path):
    with EventBus([WebhookTransport(hub.url, SECRET)], outbox=Outbox(path)) as bus:
        threads = [
            threading.Thread(target=lambda n=n: [bus.publish(s) for s in signals(20, f"t{n}")])
            for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        eventually(lambda: len(hub.ids) == 80)
    assert inside(path) == []
    for n in range(4):
        assert [name for name in hub.ids if name.startswith(f"t{n}-")] == [f"t{n}-{i}" for i in range(20)]


def test_closing_delivers_what_is_due(hub, path):
    with EventBus([WebhookTransport(hub.url, SECRET)], outbox=Outbox(path)) as bus:
        bus.publish_many(signals(1500))
    assert len(hub.ids) == 1500
    assert inside(path) == []


def test_a_full_outbox_refuses_the_new_and_keeps_the_old(hub, path):
    outbox = Outbox(path, max_bytes=200_000)
    with EventBus([WebhookTransport(hub.url, SECRET)], outbox=outbox, background=False) as bus:
        with pytest.raises(OutboxFull, match=r"is full \(200,000 bytes\): new signals are refused"):
            publish_for_ever(bus)
        published = len(inside(path))
        assert published > 100
        with pytest.raises(OutboxFull):
            bus.publish_many(signals(500, "all-or-none"))

        assert bus.flush().confirmed == published
        bus.publish(a_signal("again"))
        assert bus.flush().confirmed == 1
    assert hub.ids == [*(f"s-{number}" for number in range(published)), "again"]
    assert path.stat().st_size < 400_000


def publish_for_ever(bus: EventBus) -> None:
    for number in itertools.count():
        bus.publish(a_signal(f"s-{number}"))


FILL = """
import resource, signal, sys
from ecosystems.bus import EventBus, Outbox, OutboxError
from ecosystems.bus.webhook import WebhookTransport
from tests.ecosystems.examples import a_signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
outbox = Outbox(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
bus = EventBus([WebhookTransport("http://127.0.0.1:1/", "s")], outbox=outbox, background=False)
number = 0
try:
    while True:
        bus.publish(a_signal(f"s-{number}"))
        number += 1
except OutboxError as error:
    print(number, error)
"""


def test_a_full_disk_is_a_clear_error_and_loses_nothing(hub, path):
    """A limit on the size of files stands for the full disk; the program ends without closing anything."""
    done = subprocess.run(
        [sys.executable, "-c", FILL, str(path)], cwd=PROJECT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    published, _, message = done.stdout.partition(" ")
    assert int(published) > 50
    assert message.startswith(f"the outbox {path} could not be")

    with webhook_bus(hub.url, path) as bus:
        assert bus.flush().confirmed == int(published)
    assert hub.ids == [f"s-{number}" for number in range(int(published))]


def test_a_full_database_is_named(path, hub, bus):
    bus.publish(a_signal())
    bus.outbox.connection.execute("PRAGMA max_page_count = 1")
    with pytest.raises(OutboxError, match="could not be written: the disk is full"):
        bus.publish_many(signals(1000))
    assert bus.flush().confirmed == 1


def test_what_was_sent_while_the_disk_was_full_is_not_sent_again(path, hub, bus, clock, monkeypatch):
    bus.publish_many(signals(3))
    with monkeypatch.context() as full:
        full.setattr(bus.outbox, "record", failing)
        for _ in range(3):
            with pytest.raises(OutboxError, match="full"):
                bus.flush()
            clock.now += 100
    assert hub.ids == ["s-0", "s-1", "s-2"]

    bus.publish(a_signal("next"))
    assert bus.flush().confirmed == 1
    assert hub.ids == ["s-0", "s-1", "s-2", "next"]
    assert inside(path) == []


def failing(*_: object) -> None:
    raise OutboxError("the disk is full")


def filled(path: Path, count: int = 200) -> None:
    with webhook_bus("http://127.0.0.1:1/", path) as bus:
        bus.publish_many(signals(count))


def test_a_damaged_file_is_a_clear_error_and_stays(path):
    filled(path)
    content = bytearray(path.read_bytes())
    content[8192:20480] = b"\xff" * 12288
    path.write_bytes(content)

    with pytest.raises(OutboxError, match=r"is damaged .* was left unchanged: move it away"):
        Outbox(path)
    assert path.read_bytes() == content


def test_a_file_of_something_else_is_not_touched(path):
    path.write_text("my shopping list\n" * 100)
    with pytest.raises(OutboxError, match="is damaged"):
        Outbox(path)
    assert path.read_text().startswith("my shopping list")

    path.unlink()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE customers (name TEXT)")
    other.close()
    with pytest.raises(OutboxError, match="is a database, but not an outbox"):
        Outbox(path)


def test_a_signal_that_changed_on_the_disk_is_refused_and_its_neighbours_are_sent(hub, bus, path):
    bus.publish_many(signals(3))
    with sqlite3.connect(path) as other:
        other.execute("UPDATE signals SET payload = replace(payload, '64000', '94000') WHERE id = 2")
    other.close()

    assert bus.flush().confirmed == 2
    assert hub.ids == ["s-0", "s-2"]
    assert inside(path) == [("s-1", "webhook", "refused")]


def test_one_process_at_a_time(path, bus):
    with pytest.raises(OutboxError, match="used by another process: each agent needs its own"):
        Outbox(path)
    code = "import sys; from ecosystems.bus import Outbox; Outbox(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=PROJECT, capture_output=True, text=True, timeout=120
    )
    assert "used by another process" in done.stderr
    bus.close()
    Outbox(path).close()


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutboxError, match="cannot be opened"):
        Outbox(tmp_path / "file" / "agent.outbox")
    with pytest.raises(OutboxError, match="cannot be opened"):
        Outbox(tmp_path)


def test_reading_creates_no_file(path):
    with pytest.raises(OutboxError, match="there is no outbox at"):
        Outbox(path, owner=False)
    assert not path.exists()


def test_the_file_is_private(path, bus):
    bus.publish(a_signal())
    for file in path.parent.glob("agent.outbox*"):
        if not file.name.endswith(".lock"):
            assert file.stat().st_mode & 0o077 == 0, file


def test_each_commit_reaches_the_disk(bus):
    """2 is FULL: the log is synchronised at every commit, so that a power failure loses nothing."""
    assert bus.outbox.connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert bus.outbox.connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_sender_survives_a_transports_mistake(path, clock):
    class Broken(Transport):
        name = "broken"
        working = False

        def send(self, entries):
            if not self.working:
                raise ZeroDivisionError("a mistake")
            return [CONFIRMED] * len(entries)

    broken = Broken()
    with EventBus([broken], outbox=Outbox(path), clock=clock) as bus:
        bus.publish(a_signal())
        eventually(lambda: bus.senders[0].wait_s() > 0)
        broken.working = True
        clock.now += 60
        eventually(lambda: inside(path) == [])


def test_a_bus_that_is_closed_while_its_sender_looks_for_signals_ends_at_once(hub, path, monkeypatch):
    class Slow(threading.Event):
        def clear(self):
            time.sleep(0.3)
            super().clear()

    monkeypatch.setattr(threading, "Event", Slow)
    begin = time.monotonic()
    EventBus([WebhookTransport(hub.url, SECRET)], outbox=Outbox(path)).close()
    assert time.monotonic() - begin < POLL_INTERVAL_S / 2


def test_an_agent_that_is_killed_again_and_again_loses_nothing(hub, path):
    """kill -9 after a random number of signals, with a hub that is unavailable now and then."""
    dice = random.Random(7)
    usual = hub.answer
    hub.answer = lambda received: (
        problem(503, "unavailable", "Later.") if dice.random() < 0.05 else usual(received)
    )
    last = -1
    for _ in range(8):
        last = publish_until_killed(hub.url, path, last + 1, after=dice.randrange(1, 60))
    hub.answer = usual
    with webhook_bus(hub.url, path) as bus:
        bus.flush()

    assert inside(path) == []
    arrived = list(dict.fromkeys(hub.ids))
    assert arrived[: last + 1] == [f"s-{number}" for number in range(last + 1)]
    assert len(arrived) <= last + 2  # what was on the disk when the kill came before the word of it
    assert last > 8


def publish_until_killed(url: str, path: Path, start: int, after: int) -> int:
    """Run the publisher and kill it once it has published `after` signals; return its last number."""
    command = [sys.executable, "-m", "tests.ecosystems.bus.publisher", url, str(path), str(start)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(after)]
        process.send_signal(signals_of_os.SIGKILL)
        lines += process.stdout.readlines()
    return int([line for line in lines if line.endswith("\n")][-1])

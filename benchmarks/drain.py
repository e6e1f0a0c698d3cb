"""Draining a backlog of stream entries into the ledger."""

import time
from statistics import median

import psutil
import psycopg

from benchmarks import data
from benchmarks.race import Goal, Race
from benchmarks.stage import STREAM, Stage, end, until

BACKLOG = 100_000
SINGLES = 3_000
"""What the peer that inserts message by message gets: the whole backlog would take it two minutes a round."""

ROW = """signal_id, ecosystem, "timestamp", symbol, action, signal_type, entry_price, stop_loss, take_profit,
    volume, confidence, agent_source, tags, raw_payload, transport, instrument, digest, position"""

US, TWO, COPY, BATCHES, ONE_BY_ONE = (
    "consume_streams",
    "two consumers",
    "COPY into the same table",
    "FastStream + asyncpg, batches of 1000",
    "FastStream + asyncpg, one by one",
)


def race(stage: Stage) -> Race:
    backlog = Backlog(stage)
    return Race(
        "Drain a backlog",
        "signals/s",
        {
            US: lambda: backlog.consume(1),
            COPY: backlog.copy,
            BATCHES: lambda: backlog.peer(1000, BACKLOG),
            ONE_BY_ONE: lambda: backlog.peer(1, SINGLES),
            TWO: lambda: backlog.consume(2),
        },
        [
            Goal(US, COPY, 0.5, 0.65),
            Goal(US, BATCHES, 2.0),
            Goal(US, ONE_BY_ONE, 40.0),
            Goal(TWO, US, 1.0, 1.4),
        ],
    )


class Backlog:
    """Fills the stream and lets contestants drain it.

    A program's start-up does not count for any: the clock runs from the first transaction to the last.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.payloads = data.payloads(BACKLOG, "drain")
        self.rows = b""

    def fill(self, count: int, group: str) -> None:
        self.stage.empty()
        fill(self.stage, self.payloads[:count])
        self.stage.redis().xgroup_create(STREAM, group, id="0")

    def consume(self, consumers: int) -> float:
        self.fill(BACKLOG, "aggregator")
        self._run(consumers, "manage.py", "consume_streams", "--once")
        rate = self._rate("trading_signals", BACKLOG)
        if not self.rows:
            self.rows = self._rows()
        return rate

    def peer(self, size: int, count: int) -> float:
        self.fill(count, "peer")
        self._run(1, "-m", "benchmarks.peers.consumer", str(size), str(count))
        return self._rate("peer_signals", count)

    def copy(self) -> float:
        """Load the rows of our own run straight into the emptied table: what the server can do at most."""
        self.stage.empty()
        with psycopg.connect(self.stage.database_url) as connection, connection.cursor() as cursor:
            started = time.perf_counter()
            with cursor.copy(f"COPY trading_signals ({ROW}) FROM STDIN") as copy:
                copy.write(self.rows)
            connection.commit()
            return BACKLOG / (time.perf_counter() - started)

    def _rows(self) -> bytes:
        query = f"COPY (SELECT {ROW} FROM trading_signals ORDER BY position) TO STDOUT"
        with (
            psycopg.connect(self.stage.database_url) as connection,
            connection.cursor() as cursor,
            cursor.copy(query) as copy,
        ):
            return b"".join(bytes(part) for part in copy)

    def _run(self, programs: int, *command: str) -> None:
        statuses = [each.wait() for each in [self.stage.start(*command) for _ in range(programs)]]
        if any(statuses):
            raise RuntimeError(f"{command} ended with {statuses}")

    def _rate(self, table: str, count: int) -> float:
        """Return the signals a second from the first transaction's begin to the last one's."""
        [(found, before, seconds)] = self.stage.sql(
            f"""
            SELECT count(*), count(*) FILTER (WHERE received_at < last),
                extract(epoch FROM last - first)::float
            FROM {table}, (SELECT min(received_at) AS first, max(received_at) AS last FROM {table}) AS range
            GROUP BY first, last"""
        )
        if found != count:
            raise RuntimeError(f"{found} of {count} rows in {table}")
        return float(str(before)) / float(str(seconds))


def fill(stage: Stage, payloads: list[bytes]) -> None:
    """Append the payloads to the stream."""
    with stage.redis() as client:
        for start in range(0, len(payloads), 1000):
            pipeline = client.pipeline(transaction=False)
            for payload in payloads[start : start + 1000]:
                pipeline.xadd(STREAM, {"payload": payload})
            pipeline.execute()


LONG = 1_000_000
PART = 20_000


def memory(stage: Stage) -> Race:
    """Return a race of one: how the consumer's memory changes over a million entries."""

    def run() -> float:
        stage.empty()
        program = stage.start("manage.py", "consume_streams")
        process = psutil.Process(program.pid)
        quarters: list[list[int]] = [[], [], [], []]
        try:
            for start in range(0, LONG, PART):
                fill(stage, data.payloads(PART, f"long-{start}"))
                until(lambda start=start: _recorded(stage) >= start + PART, "the consumer")
                quarters[start * 4 // LONG].append(process.memory_info().rss)
        finally:
            end(program)
        return median(quarters[3]) / median(quarters[1])

    title = f"Consumer's memory over {LONG:,} entries, last quarter against second"
    return Race(
        title, "ratio", {"resident memory": run}, [Goal("resident memory", None, 1.05, at_most=True)], 1
    )


def _recorded(stage: Stage) -> int:
    [(count,)] = stage.sql("SELECT coalesce(max(position) - min(position) + 1, 0) FROM trading_signals")
    return int(str(count))

"""The webhook on a real server, against the receiver that one would write."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from benchmarks import data
from benchmarks.race import Goal, Race
from benchmarks.stage import Stage

CONNECTIONS = 32
SINGLES, BATCHES, SIZE = 4_000, 200, 100

OURS = (
    *("-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", "{port}"),
    *("--workers", "2", "--blocking-threads", "16", "--log-level", "warning", "config.wsgi:application"),
)
PEER = (
    *("-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--workers", "2"),
    *("--no-access-log", "--log-level", "warning", "benchmarks.peers.receiver:app"),
)

US, FASTAPI, US_BATCHED = "ours", "FastAPI + asyncpg", f"ours, {SIZE} signals a request"


def race(stage: Stage) -> Race:
    counter = iter(range(1_000_000))

    def run(server: tuple[str, ...], count: int, size: int) -> float:
        stage.empty()
        prepared = data.requests(count, size, f"web{next(counter)}")
        with stage.serving(*server) as port, TemporaryDirectory() as folder:
            path = Path(folder) / "requests"
            # A first few open the server's connections and caches; they do not count.
            drive(stage, port, data.requests(64, 1, f"warm{next(counter)}"), path)
            return count * size / drive(stage, port, prepared, path)

    return Race(
        f"Webhook, {CONNECTIONS} connections, committed before the answer",
        "signals/s",
        {
            US: lambda: run(OURS, SINGLES, 1),
            FASTAPI: lambda: run(PEER, SINGLES, 1),
            US_BATCHED: lambda: run(OURS, BATCHES, SIZE),
        },
        [Goal(US, FASTAPI, 1.0, 1.5), Goal(US_BATCHED, FASTAPI, 10.0, 15.0)],
    )


def drive(stage: Stage, port: int, prepared: list[bytes], path: Path) -> float:
    """Send the prepared requests from a process of its own; return the seconds it took."""
    path.write_bytes(msgspec.msgpack.encode(prepared))
    printed = stage.run("-m", "benchmarks.load", "127.0.0.1", str(port), str(CONNECTIONS), str(path))
    answer = json.loads(printed)
    if answer["statuses"] != {"202": len(prepared)}:
        raise RuntimeError(f"not all were accepted: {answer['statuses']}")
    return float(answer["seconds"])

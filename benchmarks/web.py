"""The webhook on real servers, against the receiver that one would write."""

import json
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from benchmarks import data
from benchmarks.race import Goal, Race
from benchmarks.stage import ROOT, Stage

SECONDS = 4
SINGLES, BATCHES, SIZE, LONE = 64_000, 3_000, 100, 16_000
"""More requests than a contestant answers in that time."""
GRANIAN = ("-m", "granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", "{port}", "--no-ws")
QUIET = ("--log-level", "warning")
RECEIVER = (*GRANIAN, "--workers", "1", *QUIET, "aggregator.receiver:app")
WEB = (*GRANIAN, "--workers", "2", *QUIET, "config.web:application")
PEER = (
    *("-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--loop", "uvloop", "--http", "httptools"),
    *("--no-access-log", *QUIET, "benchmarks.peers.receiver:app"),
)

FEW, MANY = 32, 256
US, US_MANY, BATCHED = f"receiver, {FEW}", f"receiver, {MANY}", f"receiver, 8, {SIZE} signals a request"
DRF, PEER_FEW, PEER_MANY = (
    f"web server (DRF), {FEW}",
    f"FastAPI + asyncpg, {FEW}",
    f"FastAPI + asyncpg, {MANY}",
)
LONE_US, LONE_PEER = "receiver", "FastAPI + asyncpg"


@dataclass
class Driven:
    """What a load generator saw."""

    requests_s: float
    p50_ms: float


def race(stage: Stage) -> Race:
    runner = _Runner(stage)
    return Race(
        "Webhook by connections, committed before the answer",
        "signals/s",
        {
            US: lambda: runner.rate(RECEIVER, FEW),
            PEER_FEW: lambda: runner.rate(PEER, FEW),
            DRF: lambda: runner.rate(WEB, FEW),
            US_MANY: lambda: runner.rate(RECEIVER, MANY),
            PEER_MANY: lambda: runner.rate(PEER, MANY),
            BATCHED: lambda: runner.rate(RECEIVER, 8, BATCHES, SIZE),
        },
        [
            Goal(US, PEER_FEW, 1.5, 2.0),
            Goal(US_MANY, PEER_MANY, 2.5, 4.0),
            Goal(BATCHED, PEER_FEW, 8.0, 12.0),
            Goal(DRF, PEER_FEW, 0.7, 1.0),
        ],
    )


def lone(stage: Stage) -> Race:
    runner = _Runner(stage)
    return Race(
        "A lone signal, from request to answer, median",
        "ms",
        {LONE_US: lambda: runner.lone(RECEIVER), LONE_PEER: lambda: runner.lone(PEER)},
        [Goal(LONE_US, LONE_PEER, 1.5, 1.0, at_most=True)],
    )


class _Runner:
    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.runs = 0

    def rate(self, server: tuple[str, ...], connections: int, count: int = SINGLES, size: int = 1) -> float:
        """Return signals a second."""
        return self._run(server, connections, count, size).requests_s * size

    def lone(self, server: tuple[str, ...]) -> float:
        """Return milliseconds."""
        return self._run(server, 1, LONE, 1).p50_ms

    def _run(self, server: tuple[str, ...], connections: int, count: int, size: int) -> Driven:
        self.runs += 1
        self.stage.empty()
        prepared = data.requests(count, size, f"web{id(self)}_{self.runs}")
        with self.stage.serving(*server) as port, TemporaryDirectory() as folder:
            path = Path(folder) / "requests"
            # The first ones open connections and fill caches; they do not count.
            drive(
                self.stage, port, data.requests(SINGLES, 1, f"warm{id(self)}_{self.runs}"), path, connections
            )
            self.stage.sql("CHECKPOINT")
            return drive(self.stage, port, prepared, path, connections)


def drive(stage: Stage, port: int, prepared: list[bytes], path: Path, connections: int) -> Driven:
    """Send prepared requests for some seconds from a process of its own, wrk where it is installed."""
    if shutil.which("wrk"):
        path.write_bytes(b"".join(struct.pack(">I", len(each)) + each for each in prepared))
        command = ["wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "-s", "benchmarks/requests.lua"]
        finished = subprocess.run(
            [*command, f"http://127.0.0.1:{port}/api/signals"],
            cwd=ROOT,
            env=stage.environ | {"REQUESTS": str(path)},
            check=True,
            capture_output=True,
        )
        answer = json.loads(finished.stdout.splitlines()[-1])
    else:
        path.write_bytes(msgspec.msgpack.encode(prepared))
        command = ["-m", "benchmarks.load", "127.0.0.1", str(port), str(connections), str(path)]
        answer = json.loads(stage.run(*command, str(SECONDS)))
    if answer["failed"] or answer["requests"] > len(prepared):
        raise RuntimeError(f"refused requests, or too few: {answer}")
    return Driven(answer["requests"] / answer["seconds"], answer["p50_ms"])

"""The hook of a source on a real server, against the receiver that one would write."""

import json
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from benchmarks import data
from benchmarks.race import Goal, Race
from benchmarks.stage import Stage
from benchmarks.web import FEW, LONE_PEER, PEER, RECEIVER, SINGLES, drive

US = "ours, the receiver"


def race(stage: Stage) -> Race:
    counter = iter(range(1_000_000))
    added = stage.run("manage.py", "source", "add", "bench", "--preset", "tradingview").decode()
    path = urlsplit(added.split()[-1]).path

    def run(server: tuple[str, ...], count: int, *, hook: bool) -> float:
        stage.empty()

        def prepared(number: int) -> list[bytes]:
            prefix = f"hook{next(counter)}"
            return alerts(number, path, prefix) if hook else data.requests(number, 1, prefix)

        with stage.serving(*server) as port, TemporaryDirectory() as folder:
            file = Path(folder) / "requests"
            # The first ones open connections and fill caches; they do not count.
            drive(stage, port, prepared(SINGLES), file, FEW)
            return drive(stage, port, prepared(count), file, FEW).requests_s

    return Race(
        f"Hook, TradingView's JSON, {FEW} connections, committed before the answer",
        "signals/s",
        {
            US: lambda: run(RECEIVER, SINGLES, hook=True),
            LONE_PEER: lambda: run(PEER, SINGLES, hook=False),
        },
        [Goal(US, LONE_PEER, 0.6, 1.0)],
    )


def alerts(count: int, path: str, prefix: str) -> list[bytes]:
    """Return HTTP requests as TradingView sends them, each with another comment."""
    return [_alert(path, f"{prefix}-{number}") for number in range(count)]


def _alert(path: str, comment: str) -> bytes:
    alert = {
        "ticker": "BTCUSDT",
        "exchange": "BINANCE",
        "close": "64250.10",
        "timenow": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "interval": "60",
        "action": "buy",
        "id": "Long",
        "market_position": "long",
        "prev_market_position": "flat",
        "contracts": "0.5",
        "comment": comment,
    }
    body = json.dumps(alert).encode()
    head = f"Host: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body

"""A stranger's walk through docs/verify.md: its commands as they are written, apart from the project."""

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.db import connection

from aggregator.models import Agent, TradingSignal
from tests.aggregator.track_record.recording import call, insert, query, score
from tests.aggregator.transparency.log_files import VERIFIER
from tests.aggregator.transparency.test_rescoring import prices
from tests.commerce.feed.reading import grant
from tests.guides import blocks

pytestmark = pytest.mark.django_db(transaction=True)

MINUTE = timedelta(minutes=1)


def losing_and_winning(prices_folder):
    """Two calls with their prices: the first was stopped out, the second reached its target."""
    start = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=2)
    common = {"agent_source": "momentum", "entry_price": 100, "stop_loss": 98, "take_profit": 104}
    for number, (symbol, low, high) in enumerate([("BTC/USDT", 97, 101), ("ETH/USDT", 100, 105)]):
        name = f"momentum-{17 + number}"
        call(signal_id=name, symbol=symbol, timestamp=start - MINUTE / 2, **common)
        candles = [(100, 100, 100, 100), (100, high, low, 100), (100, 100, 100, 100)]
        rows = [(start + minute * MINUTE, *candle) for minute, candle in enumerate(candles)]
        insert(rows, instrument=symbol)
        prices(prices_folder, symbol, rows)
    score()


def test_the_pages_commands_verify_a_record_until_a_losing_call_is_deleted(log, seal, live_hub, tmp_path):
    losing_and_winning(tmp_path / "prices")
    now = datetime.now(UTC)
    seen = {"first_seen": now, "last_seen": now, "published_at": now}
    Agent.objects.create(ecosystem="crypto", agent_source="momentum", last_transport="webhook", **seen)
    seal()
    url = live_hub()
    shutil.copy(VERIFIER, tmp_path)
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "KEY": log,
        "API_KEY": grant(payload=True, simulated=True).value,
    }

    def run(*headings):
        """Run the blocks under these headings; return what the last command printed."""
        script = "\n".join(
            block.text.replace("https://hub.example.com", url)
            for block in blocks("verify.md", "sh")
            if block.heading in headings
        )
        assert script
        command = ["bash", "-euo", "pipefail", "-c", script]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        return done.returncode, (done.stdout + done.stderr).strip().splitlines()[-1]

    assert run("Keep a checkpoint") == (
        0,
        "ok: 2026-11-28.checkpoint is a checkpoint of hub.example.com/log: "
        f"{len(query('SELECT 1 FROM log_leaves'))} leaves",
    )
    status, line = run("Verify a signal")
    assert (status, "crypto/momentum-17 (BUY BTC/USDT 100) was recorded at" in line) == (0, True), line
    call(agent_source="momentum", action="HOLD")
    seal()
    status, line = run("Verify that nothing was rewritten")
    assert (status, "extend the" in line) == (0, True), line
    status, line = run("Verify a whole record")
    assert (status, "0 calls: none; 2 simulated" in line) == (0, True), line
    assert run("Verify the outcomes themselves") == (
        0,
        "ok: crypto/momentum: the outcomes follow from the prices: 2 closed",
    )

    lost = TradingSignal.objects.get(signal_id="momentum-17").position
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        for table in ("outcome_events", "outcomes", "trading_signals"):
            cursor.execute(f"DELETE FROM {table} WHERE position = {lost}")
        cursor.execute("RESET session_replication_role")
    status, line = run("Verify a whole record")
    assert status == 1
    assert line.startswith(f"wrong: the record leaves out a signal at position {lost}, recorded at 20")

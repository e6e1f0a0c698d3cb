"""docs/verify.md: a stranger's walk and an operator's, by the commands as they are written."""

import io
import os
import shlex
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection

from aggregator.models import Agent, TradingSignal
from aggregator.transparency.anchors import anchor_checkpoint
from tests.aggregator.track_record.recording import call, insert, query, score
from tests.aggregator.transparency.log_files import VERIFIER, verify, write
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


@pytest.fixture
def run(log, shared_hub, tmp_path):
    """Run the blocks under some headings, apart from the project; return status and last line."""
    url, folder = shared_hub(), tmp_path / "reader"
    folder.mkdir()
    shutil.copy(VERIFIER, folder)
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "KEY": log,
        "API_KEY": grant(payload=True, simulated=True).value,
    }

    def do(*headings):
        script = "\n".join(
            block.text.replace("https://hub.example.com", url)
            for block in blocks("verify.md", "sh")
            if block.heading in headings
        )
        assert script
        command = ["bash", "-euo", "pipefail", "-c", script]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        return done.returncode, (done.stderr if done.returncode else done.stdout).strip().splitlines()[-1]

    return do


def test_the_pages_commands_verify_a_record_until_a_losing_call_is_deleted(run, seal, tmp_path):
    losing_and_winning(tmp_path / "reader" / "prices")
    now = datetime.now(UTC)
    seen = {"first_seen": now, "last_seen": now, "published_at": now}
    Agent.objects.create(ecosystem="crypto", agent_source="momentum", last_transport="webhook", **seen)
    seal()
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
    assert status == 0, line
    assert "2 simulated calls: 2 closed; " in line
    assert line.endswith("momentum.json says the same")
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


def commands(heading):
    """Return the commands under a heading that are those of `manage.py`."""
    found = [
        line
        for block in blocks("verify.md", "sh")
        if block.heading == heading
        for line in block.text.splitlines()
    ]
    assert all(line.startswith("python manage.py transparency ") for line in found)
    return found


def said(command):
    """Run a command of the guide in this process; return what it prints."""
    out = io.StringIO()
    arguments = shlex.split(command.partition(">")[0], comments=True)[2:]
    call_command(*arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue().strip()


def test_the_operators_commands_do_what_they_say(run, log, seal, tmp_path, authority):
    losing_and_winning(tmp_path / "reader" / "prices")
    seal()
    [init] = commands("Begin")
    assert said(init) == log
    status, verify_all = commands("Look after it")
    assert "hub.example.com/log" in said(status)
    assert said(verify_all).startswith("verified: ")
    [export] = commands("Publish an agent's record")
    (tmp_path / "reader" / "momentum.csv").write_text(said(export))
    assert run("Verify the outcomes themselves")[0] == 0

    assert anchor_checkpoint() == 1
    shutil.copy(authority.folder / "ca.pem", tmp_path / "reader" / "authority.pem")
    assert run("Have checkpoints stamped") == (0, "Verification: OK")

    rotate, finish = commands("Change the key")
    _, second = said(rotate).splitlines()
    both = write(tmp_path / "both", seal().checkpoint)
    for keys in ([log], [second], [log, second]):
        assert verify("checkpoint", both, *(part for key in keys for part in ("--key", key)))[0] == 0
    assert said(finish) == second
    call(agent_source="momentum", action="HOLD")
    alone = write(tmp_path / "alone", seal().checkpoint)
    assert verify("checkpoint", alone, "--key", second)[0] == 0
    assert verify("checkpoint", alone, "--key", log)[0] == 1

"""Every example of `docs/agents.md`, taken from the page and run against a live hub."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from django.db import connection

from tests.ecosystems.agent.test_run_agent import NOWHERE
from tests.ecosystems.market.sample_market import write
from tests.guides import blocks, checkout

GUIDE = "agents.md"
KEY = "CORE_API_KEYS"


@pytest.fixture
def place(tmp_path) -> Path:
    """A folder with the project, the candles and the strategy that the guide speaks of."""
    root = tmp_path / "root"
    root.mkdir()
    checkout(root)
    rows = write(root / "candles.csv", 10_000).read_text().splitlines()
    # The guide's file is one of five-minute candles.
    (root / "candles.csv").write_text("\n".join([rows[0], *rows[1::5]]) + "\n")
    for block in blocks(GUIDE, "python"):
        if block.file:
            (root / block.file).write_text(block.text)
    return root


@pytest.fixture
def hub(shared_hub) -> dict[str, str]:
    """A live hub; returns the variables of an agent that posts to it."""
    url = shared_hub(CORE_API_KEYS="guide:key-1") + "/api/signals"
    secret = os.environ["CORE_EVENT_WEBHOOK_SECRET"]
    bus = {"CORE_EVENT_BUS_BACKEND": "webhook", "AGG_SIGNAL_ENDPOINT": url}
    return NOWHERE | bus | {"CORE_EVENT_WEBHOOK_SECRET": secret, KEY: "guide:key-1"}


@pytest.fixture
def run(run_program, place):
    """Run a command in that folder to its end, which must be a good one; return what it wrote."""

    def start(*command: str, **variables: str) -> str:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        inside = ["sh", "-c", 'cd "$0" && exec "$@"', str(place), *command]
        program = run_program(inside, **variables | {"PATH": path, "PYTHONPATH": str(place)})
        assert program.wait() == 0, program.text
        return program.text

    return start


def agents() -> dict[str, tuple[str, int]]:
    """What the ledger holds: agent to its ecosystem and number of signals."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT agent_source, ecosystem, count(*) FROM trading_signals GROUP BY 1, 2")
        return {agent: (ecosystem, count) for agent, ecosystem, count in cursor.fetchall()}


def under(heading: str, language: str) -> str:
    found = [block.text for block in blocks(GUIDE, language) if block.heading == heading]
    assert found, f"no {language} under {heading}"
    return "\n".join(found)


@pytest.mark.django_db(transaction=True)
def test_the_agent_runs_as_the_guide_says(run, hub):
    text = run("bash", "-euc", under("Run an agent", "sh"), **hub)
    assert text.count("candles gave") == 3
    assert "hit rate" in text
    assert "The outbox is empty." in text
    assert agents()["my-bot"][0] == "crypto"
    assert f"candles gave {agents()['my-bot'][1]} signals" in text


def test_a_strategy_of_ones_own_runs(run):
    text = run("bash", "-euc", under("A strategy of your own", "sh"), **NOWHERE)
    assert '{"signal_id":"three_up:ETH/BTC:' in text


@pytest.mark.django_db(transaction=True)
def test_ten_lines_of_python(run, hub):
    code = under("Ten lines of Python", "python")
    assert len([line for line in code.splitlines() if line]) <= 10
    run("python", "-c", code, **hub)
    assert agents() == {"ten-lines": ("crypto", 1)}


@pytest.mark.django_db(transaction=True)
def test_curl(run, hub):
    assert '"accepted":1' in run("sh", "-euc", under("curl", "sh"), **hub)
    assert agents() == {"curl": ("forex", 1)}


@pytest.mark.django_db(transaction=True)
def test_typescript(run, hub, place):
    if not shutil.which("node"):
        pytest.skip("node is absent")
    # The example has no type annotations, so that it is JavaScript as it stands.
    (place / "agent.mjs").write_text(under("TypeScript", "typescript"))
    assert '202 {"status":"accepted"' in run("node", "agent.mjs", **hub)
    assert agents() == {"typescript": ("stock", 1)}

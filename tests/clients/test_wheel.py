"""The wheel `signal-agent`, built, installed into an environment of its own, and used there."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from aggregator.models import TradingSignal
from tests.ecosystems.agent.test_run_agent import MARKET, NOWHERE
from tests.ecosystems.market.sample_market import replay_ids, write
from tests.ecosystems.test_requirements_agent import closure, distribution, pins
from tests.guides import blocks
from tests.servers import PROJECT, WEBHOOK_SECRET

README = "../clients/python/README.md"
METADATA = tomllib.loads((PROJECT / "clients" / "python" / "pyproject.toml").read_text())["project"]
VERSION = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]


def build(folder):
    command = [sys.executable, "clients/python/build_wheel.py", str(folder)]
    done = subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.PIPE, text=True)
    return Path(done.stdout.strip())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The programs' folder of an environment with the wheel and what it requires, and nothing else."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False, symlinks=True)
    [packages] = folder.glob("lib/python*/site-packages")
    for name in closure({distribution(line) for line in METADATA["dependencies"]} | {"psycopg-binary"}):
        found = importlib.metadata.distribution(name)
        for top in {path.parts[0] for path in found.files or [] if path.parts[0] != ".."} - {"__pycache__"}:
            (packages / top).symlink_to(found.locate_file(top))
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install"]
    subprocess.run([*pip, "--quiet", "--no-deps", "--no-index", "--no-compile", str(wheel)], check=True)
    return folder / "bin"


@pytest.fixture
def run(installed, tmp_path):
    """Run a command of that environment, in an empty folder, to its end, by default a good one."""

    def start(*command, status=0, **variables):
        environment = {"PATH": f"{installed}:{os.environ['PATH']}", "HOME": str(tmp_path)} | NOWHERE
        done = subprocess.run(
            command, cwd=tmp_path, env=environment | variables, capture_output=True, text=True
        )
        assert done.returncode == status, done.stderr
        return done.stdout if status == 0 else done.stderr

    return start


def test_it_holds_one_package_with_types_and_says_what_it_is(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(f"signal_agent-{VERSION}.dist-info/METADATA").decode()
        code = "\n".join(archive.read(name).decode() for name in names if name.endswith(".py"))
    assert {name.partition("/")[0] for name in names} == {
        "signal_agent",
        f"signal_agent-{VERSION}.dist-info",
    }
    assert "signal_agent/py.typed" in names
    assert not re.search(
        r"ecosystems(\.[a-z]| import )|^\s*(from|import) django", code.replace("self.", ""), re.M
    )
    for line in ("Name: signal-agent", f"Version: {VERSION}", "License-Expression: LicenseRef-Proprietary"):
        assert f"\n{line}\n" in metadata
    assert metadata.endswith((PROJECT / "clients" / "python" / "README.md").read_text())


def test_the_same_commit_gives_the_same_bytes(wheel, tmp_path):
    assert build(tmp_path).read_bytes() == wheel.read_bytes()


def test_it_requires_what_agents_were_tested_with():
    extras = [line for lines in METADATA["optional-dependencies"].values() for line in lines]
    locked = pins(PROJECT / "ecosystems" / "requirements-agent.txt")
    for line in METADATA["dependencies"] + extras:
        assert Requirement(line).specifier.contains(locked[distribution(line)]), line


def test_the_command_runs_an_agent_without_a_hub(run, tmp_path):
    assert run("signal-agent", "--help").startswith("usage: signal-agent [-h]")
    (script,) = blocks(README, "sh")
    [agent] = [line for line in script.text.splitlines() if line.startswith("signal-agent")]
    run("sh", "-euc", agent)
    candles = write(tmp_path / "candles.csv", 1500)
    out = run("signal-agent", *MARKET, "--feed", f"csv:{candles}", "--dry-run")
    assert [json.loads(line)["signal_id"] for line in out.splitlines()] == replay_ids(candles)


def test_a_strategy_beside_it_is_found(run, tmp_path):
    code = "from signal_agent.strategies.ema_crossover import EmaCrossover as MyStrategy\n"
    (tmp_path / "my_module.py").write_text(code)
    candles = write(tmp_path / "candles.csv", 1500)
    options = ("--strategy", "my_module:MyStrategy", "--feed", f"csv:{candles}", "--dry-run")
    assert len(run("signal-agent", *MARKET, *options).splitlines()) == len(replay_ids(candles))


@pytest.mark.parametrize(("ecosystem", "package"), [("crypto", "ccxt"), ("stock", "alpaca")])
def test_live_prices_without_their_client_are_a_mistake_in_one_line(run, ecosystem, package):
    line = run("signal-agent", ecosystem, "--symbol", "BTC", "--timeframe", "1m", "--dry-run", status=2)
    assert line == (
        f"agent: live prices of {ecosystem} need the package {package}: install signal-agent[{ecosystem}]\n"
    )


@pytest.mark.django_db(transaction=True)
def test_a_program_publishes_to_a_hub_without_django(run, shared_hub):
    (script,) = blocks(README, "python")
    proof = """
import importlib.util, sys
assert signal_agent.__file__.startswith(sys.prefix)
print({name: importlib.util.find_spec(name) for name in ("django", "ecosystems", "celery", "rest_framework")})
"""
    url = shared_hub(CORE_API_KEYS="bot:key-1")
    (variables,) = blocks(README, "ini")
    settings = dict(line.split("=", 1) for line in variables.text.splitlines())
    settings |= {
        "AGG_SIGNAL_ENDPOINT": f"{url}/api/signals",
        "CORE_EVENT_WEBHOOK_SECRET": WEBHOOK_SECRET,
        "CORE_API_KEYS": "bot:key-1",
    }
    out = run("python", "-c", f"import signal_agent\n{script.text}{proof}", **settings)
    assert out == "{'django': None, 'ecosystems': None, 'celery': None, 'rest_framework': None}\n"
    assert run("signal-outbox", "--path", "my-bot.sqlite3", "list") == ""
    row = TradingSignal.objects.get()
    assert (row.agent_source, row.sender, row.instrument) == ("my-bot", "key:bot", "BTC/USDT")

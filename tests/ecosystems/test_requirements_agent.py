"""What an agent must install: proved by taking everything else away."""

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import PROJECT

BUS = {"requests", "redis", "msgspec", "psycopg", "psycopg-binary"}

ONLY = """
import sys

absent = sys.argv[1].split(",")

class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"{name} is not installed", name=name)

sys.meta_path.insert(0, Nothing())
"""


def run_with_only(distributions: set[str], code: str, **environment: str) -> str:
    """Run code in a process where these distributions and theirs alone can be imported; return its output."""
    known = importlib.metadata.packages_distributions()
    needed = closure(distributions)
    absent = [name for name, owners in known.items() if not needed & {normal(owner) for owner in owners}]
    done = subprocess.run(
        [sys.executable, "-c", ONLY + code, ",".join(absent)],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], "SIGNAL_HUB_DOTENV": "off"} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def closure(distributions: set[str]) -> set[str]:
    """The distributions and what they require in turn, extras aside."""
    found = set[str]()
    todo = set(distributions)
    while todo:
        found.add(name := todo.pop())
        required = importlib.metadata.requires(name) or []
        todo |= {distribution(line) for line in required if "extra ==" not in line} & installed() - found
    return found


def installed() -> set[str]:
    names = {found.metadata["Name"] for found in importlib.metadata.distributions()}
    return {normal(name) for name in names if name}


def distribution(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match is not None
    return normal(match[0])


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(path: Path) -> dict[str, str]:
    """Return distributions and their versions; each is pinned with its hashes."""
    text = path.read_text()
    found = dict(re.findall(r"^([a-z0-9-]+)==([^ ]+) .*\\\n +--hash=sha256:[0-9a-f]{64}", text, re.M))
    assert len(found) == len(re.findall(r"^[a-z]", text, re.M)), "a line without a version or a hash"
    return found


def test_the_bus_imports_with_four_packages():
    code = """
import importlib, pkgutil
import ecosystems.bus
for module in pkgutil.iter_modules(ecosystems.bus.__path__):
    importlib.import_module(f"ecosystems.bus.{module.name}")
from ecosystems.bus import EventBus
from ecosystems.bus.memory import MemoryTransport
EventBus([MemoryTransport()])
foreign = {"django", "dotenv", "celery", "rest_framework"} & set(sys.modules)
print("foreign:", foreign or "nothing")
"""
    assert run_with_only(BUS, code) == "foreign: nothing\n"


@pytest.mark.parametrize("backend", ["memory", "redis", "webhook"])
def test_a_bus_of_the_environment_needs_dotenv_too_and_no_hub(backend):
    code = """
from ecosystems import env
from ecosystems.bus import EventBus
print([transport.name for transport in EventBus.from_environment(env.load(), ecosystem="crypto").transports])
"""
    output = run_with_only(
        BUS | {"python-dotenv"},
        code,
        CORE_EVENT_BUS_BACKEND=backend,
        CORE_REDIS_URL="redis://127.0.0.1:1/0",
        CORE_EVENT_WEBHOOK_URL="https://hub.example/api/signals",
        CORE_EVENT_WEBHOOK_SECRET="secret",
    )
    assert output == f"['{backend}']\n"


def test_the_proof_would_notice_django():
    with pytest.raises(AssertionError, match="django is not installed"):
        run_with_only(BUS, "import django")


def test_nothing_of_the_agents_side_imports_django_but_its_commands():
    for path in (PROJECT / "ecosystems").rglob("*.py"):
        if "management" in path.parts or path.name == "apps.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if re.match(r"(django|rest_framework|celery)\b", name)], path


def test_the_list_is_complete_pinned_and_of_the_hubs_versions():
    folder = PROJECT / "ecosystems"
    wanted = [line for line in (folder / "requirements-agent.in").read_text().splitlines() if line[:1] != "#"]
    agent, hub = pins(folder / "requirements-agent.txt"), pins(PROJECT / "requirements.txt")

    assert {distribution(line) for line in wanted if line} <= agent.keys()
    assert agent.keys() >= BUS
    assert {name: agent[name] for name in agent.keys() & hub.keys()} == {
        name: hub[name] for name in agent.keys() & hub.keys()
    }
    assert not agent.keys() & {"celery", "djangorestframework", "granian", "django-unfold", "apprise"}

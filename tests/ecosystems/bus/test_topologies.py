"""The topologies of `docs/deployment.md` on one machine: every program a process, every server a database.

Agents replay real candles; what they sent is what the ledger holds, once and in order.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from django.db import connections

from aggregator.postgres.pool import close_idle_connections
from tests.ecosystems.market.sample_market import DATA, REAL
from tests.servers import Program, eventually, renamed, web

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "forex"])

AGENTS = {
    ecosystem: (file, symbol, timeframe, strategy)
    for (file, (ecosystem, symbol, timeframe)), strategy in zip(
        REAL.items(), ("ema_crossover", "rsi_reversion", "donchian_breakout"), strict=True
    )
}
SECRET = "whsec_dG9wb2xvZ2llcy1vZi10aGUtZGVwbG95bWVudA=="
HUB_ONLY = ("CORE_AUTH_SECRET", "DJANGO_SECRET_KEY", "CORE_REDIS_URL", "CORE_EVENT_WEBHOOK_SECRET")
DATABASES = ("CORE_DB_URL", "CORE_CRYPTO_DB_URL", "CORE_FOREX_DB_URL", "CORE_STOCK_DB_URL")
NOTHING = dict.fromkeys([*HUB_ONLY, *DATABASES], "")
STREAM = {"CORE_EVENT_STREAM_PREFIX": "topologies"}


@dataclass
class Site:
    """A hub's machine: its databases, its variables, and how to start programs on it and elsewhere."""

    start: Callable[..., Program]
    folder: Path
    urls: dict[str, str]
    variables: dict[str, str] = field(default_factory=dict)
    programs: list[Program] = field(default_factory=list)

    def hub(self, *command: str, **variables: str) -> None:
        """Start a program of the hub that goes on until the end."""
        self.programs.append(self.start(*command, **self.variables | variables))

    def manage(self, *command: str) -> str:
        done = self.start(*command, **self.variables)
        assert done.wait() == 0, done.text
        return done.text

    def agents(self, ways: dict[str, dict[str, str]]) -> dict[str, int]:
        """Run an agent of each ecosystem, all at once; return how many signals each sent."""
        running = {
            ecosystem: self.start(*self.replay(ecosystem), **NOTHING | STREAM | way)
            for ecosystem, way in ways.items()
        }
        for agent in running.values():
            assert agent.wait() == 0, agent.text
        return {ecosystem: sent(agent.text) for ecosystem, agent in running.items()}

    def replay(self, ecosystem: str) -> list[str]:
        file, symbol, timeframe, strategy = AGENTS[ecosystem]
        market = [ecosystem, "--symbol", symbol, "--timeframe", timeframe, "--strategy", strategy]
        return [
            "run_agent",
            *market,
            "--feed",
            f"csv:{DATA / file}",
            "--outbox",
            str(self.folder / ecosystem),
        ]

    def recorded(self) -> dict[str, dict[str, int]]:
        """Count what has a position in the ledger, by ecosystem and transport."""
        found: dict[str, dict[str, int]] = {}
        with closing(psycopg.connect(self.urls["hub"])) as connection:
            rows = connection.execute(
                "SELECT ecosystem, transport, count(*) FROM trading_signals "
                "WHERE position IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2"
            )
            for ecosystem, transport, count in rows:
                found.setdefault(ecosystem, {})[transport] = count
        return found

    def finish(self, counts: dict[str, int]) -> dict[str, dict[str, int]]:
        """Wait until the ledger holds what was sent; check that it holds it in order and nothing else."""
        eventually(lambda: totals(self.recorded()) == counts, what=f"{counts} recorded")
        with closing(psycopg.connect(self.urls["hub"])) as connection:
            for ecosystem in counts:
                times = connection.execute(
                    "SELECT timestamp FROM trading_signals WHERE ecosystem = %s ORDER BY position",
                    [ecosystem],
                ).fetchall()
                assert times == sorted(times)
            assert connection.execute("SELECT count(*) FROM dead_letters").fetchone() == (0,)
        for program in self.programs:
            assert program.stop() == 0, program.text
        return self.recorded()


def sent(text: str) -> int:
    found = re.search(r"candles gave (\d+) signals", text)
    assert found, text
    return int(found[1])


def totals(recorded: dict[str, dict[str, int]]) -> dict[str, int]:
    return {ecosystem: sum(counts.values()) for ecosystem, counts in recorded.items()}


def report(name: str, counts: dict[str, int], recorded: dict[str, dict[str, int]]) -> None:
    for ecosystem, count in counts.items():
        print(f"{name:15} {ecosystem:7} sent {count:4} recorded {recorded[ecosystem]}")  # noqa: T201


@pytest.fixture
def empty_site(run_manage, program_environment, tmp_path):
    """A fresh hub database, and one for each ecosystem, as on servers of their own, without a table."""
    with databases(program_environment["CORE_DB_URL"], "template1", "template1") as urls:
        yield site_of(run_manage, tmp_path, urls)


@pytest.fixture
def site(run_manage, program_environment, tmp_path):
    """Such a site with its tables, copied from the tests' databases, which `migrate` made."""
    names = [connections[alias].settings_dict["NAME"] for alias in ("default", "forex")]
    connections.close_all()  # a database that is in use cannot be copied
    close_idle_connections()
    with databases(program_environment["CORE_DB_URL"], *names) as urls:
        yield site_of(run_manage, tmp_path, urls)


@contextmanager
def databases(server: str, hub: str, ecosystem: str) -> Iterator[dict[str, str]]:
    """Copy a database for the hub and for each ecosystem; drop them, and the agents' roles, at the end."""
    if not DATA.exists():
        pytest.skip("real candles are absent: no shared/data beside the project")
    urls = {name: renamed(server, f"topology_{name}") for name in ("hub", *AGENTS)}
    with closing(psycopg.connect(renamed(server, "postgres"), autocommit=True)) as connection:
        for name in urls:
            template = hub if name == "hub" else ecosystem
            connection.execute(f"DROP DATABASE IF EXISTS topology_{name} WITH (FORCE)")
            connection.execute(f"CREATE DATABASE topology_{name} TEMPLATE {template}")
        yield urls
        for name in urls:
            connection.execute(f"DROP DATABASE topology_{name} WITH (FORCE)")
        for name in AGENTS:
            connection.execute(f"DROP ROLE IF EXISTS {name}_bot")


def site_of(run_manage, folder: Path, urls: dict[str, str]) -> Site:
    own = {f"CORE_{name.upper()}_DB_URL": "" for name in AGENTS}
    return Site(run_manage, folder, urls, {"CORE_DB_URL": urls["hub"], **own, **STREAM})


def own_databases(site: Site, *ecosystems: str) -> dict[str, dict[str, str]]:
    """Give ecosystems databases of their own; return the variables of their agents, who only insert."""
    site.variables |= {f"CORE_{name.upper()}_DB_URL": site.urls[name] for name in ecosystems}
    ways = {}
    for name in ecosystems:
        printed = site.manage("agent_role", f"{name}_bot", "--ecosystem", name, "--database", name)
        url = re.search(r"postgres://\S+", printed)
        assert url, printed
        ways[name] = {f"CORE_{name.upper()}_DB_URL": url[0]}
    return ways


def receiver(site: Site, run_program, port: int) -> dict[str, str]:
    """Start the hub's web server; return the variables of the agents that post to it."""
    url = f"http://127.0.0.1:{port}"
    keys = {"CORE_API_KEYS": "forex-bot:key-1|spare:key-2", "CORE_EVENT_WEBHOOK_SECRET": SECRET}
    server = run_program(web(port), **site.variables | keys | {"AGG_SIGNAL_ENDPOINT": f"{url}/api/signals"})
    site.programs.append(server)
    server.until(lambda: "Started worker" in server.text)
    return {
        "CORE_EVENT_BUS_BACKEND": "webhook",
        "AGG_SIGNAL_ENDPOINT": f"{url}/api/signals",
        "CORE_EVENT_WEBHOOK_SECRET": SECRET,
        "CORE_API_KEYS": "forex-bot:key-1",
    }


def streams(site: Site, redis_client) -> dict[str, str]:
    """Start the hub's stream consumer; return the variables of the agents that publish to Redis."""
    redis_client.delete("topologies:signals")
    site.hub("consume_streams")
    return {"CORE_EVENT_BUS_BACKEND": "redis", "CORE_REDIS_URL": os.environ["CORE_REDIS_URL"]}


def test_database_first(empty_site):
    site = empty_site
    site.manage("migrate", "--noinput")
    for name in AGENTS:
        site.variables[f"CORE_{name.upper()}_DB_URL"] = site.urls[name]
        site.manage("migrate", "--noinput", "--database", name)
    ways = own_databases(site, *AGENTS)
    site.hub("consume_databases")
    counts = site.agents(ways)
    recorded = site.finish(counts)
    report("database-first", counts, recorded)
    assert recorded == {name: {"database": count} for name, count in counts.items()}
    assert min(counts.values()) > 10


def test_redis(site, redis_client):
    way = streams(site, redis_client)
    counts = site.agents(dict.fromkeys(AGENTS, way))
    recorded = site.finish(counts)
    report("redis", counts, recorded)
    assert recorded == {name: {"redis": count} for name, count in counts.items()}


def test_webhook(site, run_program, free_port):
    way = receiver(site, run_program, free_port)
    counts = site.agents(dict.fromkeys(AGENTS, way))
    recorded = site.finish(counts)
    report("webhook", counts, recorded)
    assert recorded == {name: {"webhook": count} for name, count in counts.items()}


def test_all_mixed(site, run_program, redis_client, free_port):
    """Crypto inserts, forex posts, and stocks go both ways, which the ledger makes one signal."""
    ways = own_databases(site, "crypto", "stock")
    site.hub("consume_databases")
    ways["forex"] = receiver(site, run_program, free_port)
    ways["stock"] |= streams(site, redis_client)
    counts = site.agents(ways)

    def sighted() -> int:
        with closing(psycopg.connect(site.urls["hub"])) as connection:
            return connection.execute("SELECT count(*) FROM sightings").fetchone()[0]

    eventually(lambda: sighted() == counts["stock"], what="each stock signal seen twice")
    recorded = site.finish(counts)
    report("mixed", counts, recorded)
    assert recorded["crypto"] == {"database": counts["crypto"]}
    assert recorded["forex"] == {"webhook": counts["forex"]}
    assert set(recorded["stock"]) <= {"database", "redis"}
    assert totals(recorded) == counts

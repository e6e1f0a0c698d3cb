"""`manage.py run_agent` and `python -m ecosystems.agent`, as real processes."""

import os
import random
import resource
import signal
import socket
import sys
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import psycopg
import pytest

from ecosystems.bus import Outbox
from tests.aggregator.test_refusing_servers import unsaved
from tests.ecosystems.bus.receiver import Receiver, problem
from tests.ecosystems.bus.services import Reply, Service
from tests.ecosystems.market.sample_market import replay_ids, write
from tests.servers import AUTH_SECRET

NOWHERE = {"CORE_DB_URL": "", "CORE_FOREX_DB_URL": "", "CORE_REDIS_URL": "", "CORE_EVENT_WEBHOOK_SECRET": ""}
HUB_SECRETS = {"CORE_AUTH_SECRET": "", "DJANGO_SECRET_KEY": ""}
MARKET = ("crypto", "--symbol", "MADE/UP", "--timeframe", "1m", "--param", "fast=3", "--param", "slow=6")


def webhook(url: str, secret: str = "secret") -> dict[str, str]:
    """An agent's variables when it posts to `url`; it knows nothing else of the hub."""
    bus = {"CORE_EVENT_BUS_BACKEND": "webhook", "CORE_EVENT_WEBHOOK_URL": url}
    return NOWHERE | HUB_SECRETS | bus | {"CORE_EVENT_WEBHOOK_SECRET": secret}


class Hub(Receiver):
    """A receiver that answers an agent's empty array as the hub does."""

    def answer(self, received):
        if received.body != b"[]":
            return super().answer(received)
        self.requests.remove(received)
        return problem(400, "empty", "Send at least one signal.")


@pytest.fixture
def run_agent(run_manage, tmp_path):
    """Start an agent with its outbox in the test's folder."""

    def start(*arguments, **variables):
        outbox = ("--outbox", str(tmp_path / "outbox.sqlite3"))
        return run_manage("run_agent", *arguments, *outbox, **variables)

    return start


@pytest.fixture
def candles_file(tmp_path):
    return write(tmp_path / "candles.csv", 1500)


def firsts(ids) -> list[str]:
    """Each id once, where it came first: what the ledger keeps."""
    return list(dict.fromkeys(ids))


def test_a_replay_arrives_in_order_and_a_second_run_has_nothing_to_add(run_agent, candles_file):
    with Hub() as hub:
        first = run_agent(*MARKET, "--feed", f"csv:{candles_file}", **webhook(hub.url))
        assert first.wait() == 0, first.text
        assert "EventBus backend=webhook" in first.text
        assert hub.ids == replay_ids(candles_file)
        second = run_agent(*MARKET, "--feed", f"csv:{candles_file}", **webhook(hub.url))
        assert second.wait() == 0, second.text
    assert len(hub.ids) == len(replay_ids(candles_file)) > 50
    assert "1500 candles gave 0 signals" in second.text


def test_an_outbox_below_the_home_has_its_progress_beside_it(run_manage, candles_file, tmp_path):
    with Hub() as hub:
        for _ in range(2):
            agent = run_manage(
                *("run_agent", *MARKET, "--feed", f"csv:{candles_file}", "--outbox", "~/outbox.sqlite3"),
                **webhook(hub.url) | {"HOME": str(tmp_path)},
            )
            assert agent.wait() == 0, agent.text
    assert hub.ids == replay_ids(candles_file)
    assert (tmp_path / "outbox.sqlite3.progress").exists()


def test_killed_again_and_again_it_loses_and_disorders_nothing(run_agent, candles_file):
    source = random.Random(5)
    with Hub() as hub:
        for _ in range(6):
            agent = run_agent(
                *MARKET, "--feed", f"csv:{candles_file}", "--speed", "60000", **webhook(hub.url)
            )
            had = len(hub.requests)
            agent.until(lambda had=had: len(hub.requests) > had + 2)
            time.sleep(source.random() / 5)  # anywhere in its work
            agent.process.send_signal(signal.SIGKILL)
            agent.process.wait()
        last = run_agent(*MARKET, "--feed", f"csv:{candles_file}", **webhook(hub.url))
        assert last.wait() == 0, last.text
    assert firsts(hub.ids) == replay_ids(candles_file)


def test_a_hub_that_comes_late_gets_everything_in_order(run_agent, candles_file, free_port):
    url = f"http://127.0.0.1:{free_port}/api/signals"
    agent = run_agent(*MARKET, "--feed", f"csv:{candles_file}", **webhook(url))
    agent.until(lambda: "1500 candles gave" in agent.text)
    assert "signals wait in the outbox" in agent.text
    agent.process.send_signal(signal.SIGKILL)
    agent.process.wait()
    again = run_agent(*MARKET, "--feed", f"csv:{candles_file}", **webhook(url))
    again.until(lambda: "next try in" in again.text)
    with Hub(free_port) as hub:
        assert again.wait() == 0, again.text
    assert firsts(hub.ids) == replay_ids(candles_file)


def test_a_replay_ends_where_no_transport_is_left_for_an_old_backlog(run_agent, candles_file, free_port):
    url = f"http://127.0.0.1:{free_port}/api/signals"
    agent = run_agent(*MARKET, "--feed", f"csv:{candles_file}", **webhook(url))
    agent.until(lambda: "1500 candles gave" in agent.text)
    assert agent.stop() == 0, agent.text
    again = run_agent(*MARKET, "--feed", f"csv:{candles_file}", **NOWHERE)
    assert again.wait() == 0, again.text
    assert f"agent: {len(replay_ids(candles_file))} signals wait in the outbox" in again.text


def test_sigterm_ends_it_and_the_next_start_continues(run_agent, candles_file):
    with Hub() as hub:
        paced = ("--feed", f"csv:{candles_file}", "--speed", "6000")
        agent = run_agent(*MARKET, *paced, **webhook(hub.url))
        agent.until(lambda: len(hub.ids) > 3)
        assert agent.stop() == 0, agent.text
        assert len(hub.ids) < len(replay_ids(candles_file))
        rest = run_agent(*MARKET, "--feed", f"csv:{candles_file}", **webhook(hub.url))
        assert rest.wait() == 0, rest.text
    assert hub.ids == replay_ids(candles_file)


def test_a_running_agent_sends_heartbeats(run_agent):
    with Hub() as hub:
        agent = run_agent(*MARKET, "--feed", "synthetic", "--heartbeat", "5s", **webhook(hub.url))
        agent.until(lambda: hub.ids)
        assert agent.stop() == 0, agent.text
    beat = next(s for request in hub.requests for s in request.signals if "heartbeat" in s["tags"])
    assert beat["action"] == "HOLD"
    assert beat["signal_type"] == "ANALYTICS"


def test_dry_run_prints_signals_and_touches_nothing(run_agent, candles_file, tmp_path):
    agent = run_agent(*MARKET, "--feed", f"csv:{candles_file}", "--dry-run", **NOWHERE)
    assert agent.wait() == 0
    assert agent.text.count('{"signal_id":"ema_crossover:MADE/UP:') == len(replay_ids(candles_file))
    assert list(tmp_path.glob("outbox*")) == []


def test_it_runs_without_django_and_without_the_hubs_secrets(run_program, candles_file, tmp_path):
    code = (
        "import sys; sys.modules['django'] = None; "
        "from ecosystems.agent.command_line import main; sys.exit(main(sys.argv[1:]))"
    )
    outbox = ("--outbox", str(tmp_path / "outbox.sqlite3"))
    with Hub() as hub:
        command = [sys.executable, "-c", code, *MARKET, "--feed", f"csv:{candles_file}", *outbox]
        agent = run_program(command, **webhook(hub.url))
        assert agent.wait() == 0, agent.text
    assert hub.ids == replay_ids(candles_file)
    module = run_program([sys.executable, "-m", "ecosystems.agent", "crypto", "--symbol", "X"], **NOWHERE)
    assert module.wait() == 2
    assert "the following arguments are required: --timeframe" in module.text


def test_once_on_a_live_feed_handles_what_closed_since_the_last_time(run_agent):
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    sticks = [
        {
            "complete": True,
            "volume": 10,
            "time": (now - timedelta(minutes=2000 - n)).isoformat(),
            "mid": {"o": price, "h": price, "l": price, "c": price},
        }
        for n, price in enumerate(f"{1.1 + (n * 7919 % 101) / 10000:.5f}" for n in range(2000))
    ]
    held_back = sticks[1900:]
    del sticks[1900:]
    oanda = Service(
        lambda asked: Reply({"candles": [s for s in sticks if s["time"] >= asked.query["from"][:19]][:1000]})
    )
    market = ("forex", "--symbol", "EURUSD", "--timeframe", "1m", "--param", "fast=3", "--param", "slow=6")
    with Hub() as hub, oanda:
        live = webhook(hub.url) | {"OANDA_TOKEN": "token", "OANDA_URL": oanda.url}
        first = run_agent(*market, "--once", **live)
        assert first.wait() == 0, first.text
        assert hub.ids == []
        sticks += held_back
        second = run_agent(*market, "--once", **live)
        assert second.wait() == 0, second.text
    assert "0 candles gave 0 signals" in first.text
    assert "100 candles gave" in second.text
    assert len(hub.ids) > 5


MISTAKES = {
    "timeframe": (["--timeframe", "5y"], {}, "invalid timeframe '5y': write a number and s, m, h, d or w"),
    "symbol": (["--symbol", "BTC  USDT"], {}, "a symbol is 1 to 64 printable characters"),
    "strategy": (["--strategy", "macd"], {}, "unknown strategy 'macd': one of ema_crossover"),
    "parameter": (["--param", "fast=9", "--param", "slow=5"], {}, "fast must be below slow"),
    "feed": (["--feed", "tape"], {}, "invalid feed 'tape': it may be live, csv:PATH, synthetic"),
    "file": (["--feed", "csv:/nowhere.csv"], {}, "/nowhere.csv cannot be read: No such file"),
    "exchange": (["--feed", "live:binanc"], {}, "ccxt knows no exchange 'binanc': try binance"),
    "address": (["--feed", "live:kraken"], {"CCXT_URL": "http://127.0.0.1:1"}, "kraken cannot be reached"),
    "speed": (["--feed", "live", "--speed", "2"], {}, "--speed is for replays"),
    "name": (["--agent", "a\nb"], {}, "--agent: a name has 1 to 128 printable characters"),
    "invisible name": (["--agent", "\u3164"], {}, "--agent: a name has 1 to 128 printable characters"),
    "variable": ([], {"CORE_EVENT_BUS_BACKEND": "kafka"}, "CORE_EVENT_BUS_BACKEND holds 'kafka'"),
    "redis": ([], {"CORE_REDIS_URL": "localhost:6379"}, "CORE_REDIS_URL holds"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_at_the_start(run_agent, mistake):
    arguments, variables, words = MISTAKES[mistake]
    agent = run_agent(*MARKET, *arguments, **NOWHERE | {"CCXT_EXCHANGE": "kraken"} | variables)
    assert agent.wait() == 2, agent.text
    assert "Traceback" not in agent.text
    assert words in agent.text.splitlines()[-1]


def test_a_damaged_outbox_is_reported_and_left_unchanged(run_agent, tmp_path):
    file = tmp_path / "outbox.sqlite3"
    file.write_bytes(b"not an outbox " * 1000)
    with Hub() as hub:
        agent = run_agent(*MARKET, "--feed", "synthetic", **webhook(hub.url))
        assert agent.wait() == 2, agent.text
    assert "was left unchanged: move it away" in agent.text.splitlines()[-1]
    assert file.read_bytes() == b"not an outbox " * 1000


def refused(run_agent, **variables) -> str:
    """The last line of an agent that does not start because of the connection to the hub."""
    agent = run_agent(*MARKET, "--feed", "synthetic", **variables)
    assert agent.wait() == 2, agent.text
    assert "Traceback" not in agent.text
    return agent.text.splitlines()[-1]


@pytest.mark.django_db(transaction=True)
def test_a_wrong_secret_or_address_of_the_hub_is_reported(run_agent, live_hub, tmp_path):
    hub = live_hub(CORE_API_KEYS="bot:key-1")
    right = {"CORE_API_KEYS": "bot:key-1"}
    secret = os.environ["CORE_EVENT_WEBHOOK_SECRET"]
    wrong = refused(run_agent, **webhook(f"{hub}/api/signals", "another") | right)
    assert "the hub refuses this agent (401): CORE_EVENT_WEBHOOK_SECRET" in wrong
    assert "(401)" in refused(run_agent, **webhook(f"{hub}/api/signals", secret))
    assert "the URL ends in /api/signals" in refused(run_agent, **webhook(hub, secret) | right)
    unknown = refused(run_agent, **webhook("http://hub.invalid/api/signals", secret))
    assert unknown.endswith(
        "CORE_EVENT_WEBHOOK_URL has a host name that cannot be resolved: check its spelling"
    )
    assert AUTH_SECRET not in wrong
    agent = run_agent(
        *MARKET, "--feed", "synthetic", "--once", **webhook(f"{hub}/api/signals", secret) | right
    )
    assert agent.wait() == 0, agent.text


def test_a_wrong_password_of_redis_is_reported(run_agent):
    parts = urlsplit(os.environ["CORE_REDIS_URL"])
    url = parts._replace(netloc=f":wrong@{parts.hostname}:{parts.port}").geturl()
    line = refused(run_agent, **NOWHERE | {"CORE_EVENT_BUS_BACKEND": "redis", "CORE_REDIS_URL": url})
    assert line.endswith("Redis refuses the user or the password of CORE_REDIS_URL")


@pytest.mark.parametrize(
    ("name", "url", "backend"),
    [
        ("CORE_REDIS_URL", "redis://redis..example/0", "redis"),
        ("CORE_DB_URL", "postgres://agent@db..example/hub", "memory"),
    ],
)
def test_a_host_name_that_cannot_be_one_is_reported(run_agent, name, url, backend):
    line = refused(run_agent, **NOWHERE | {"CORE_EVENT_BUS_BACKEND": backend, name: url})
    assert line.endswith(f"{name} has a host name that cannot be resolved: check its spelling")


TRANSPORTS = {
    "webhook": webhook("http://hub.invalid/api/signals"),
    "redis": NOWHERE | {"CORE_EVENT_BUS_BACKEND": "redis", "CORE_REDIS_URL": "redis://redis.invalid/0"},
    "database": NOWHERE | {"CORE_DB_URL": "postgres://agent@db.invalid/hub"},
}
WITHOUT_NAMES = """
import socket, sys
def getaddrinfo(*_, **__):
    raise socket.gaierror(socket.ERROR, "made up")
socket.getaddrinfo = getaddrinfo
from ecosystems.agent.command_line import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def without_names(run_program, tmp_path):
    """Run an agent to its end where each look-up of a host fails like that; return its status and output."""

    def run(error, transport):
        options = (*MARKET, "--feed", "synthetic", "--once", "--outbox", str(tmp_path / "outbox.sqlite3"))
        code = WITHOUT_NAMES.replace("ERROR", error)
        agent = run_program([sys.executable, "-c", code, *options], **TRANSPORTS[transport])
        return agent.wait(), agent.text

    return run


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_names_that_cannot_be_resolved_now_are_an_outage(without_names, transport):
    status, text = without_names("EAI_AGAIN", transport)
    assert status == 0, text
    assert "cannot be reached now" in text


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_host_that_does_not_exist_is_reported(without_names, transport):
    status, text = without_names("EAI_NONAME", transport)
    assert status == 2, text
    assert "Traceback" not in text
    assert text.rstrip().endswith("has a host name that cannot be resolved: check its spelling")


def test_a_redis_that_refuses_to_write_now_is_an_outage(run_agent, redis_client):
    variables = NOWHERE | {
        "CORE_EVENT_BUS_BACKEND": "redis",
        "CORE_REDIS_URL": os.environ["CORE_REDIS_URL"],
    }
    with unsaved(redis_client):
        agent = run_agent(*MARKET, "--feed", "synthetic", "--once", **variables)
        assert agent.wait() == 0, agent.text
    assert "Redis cannot be reached now (MISCONF" in agent.text


def test_a_database_that_redis_does_not_have_is_reported(run_agent):
    url = f"{os.environ['CORE_REDIS_URL'].rpartition('/')[0]}/9999"
    line = refused(run_agent, **NOWHERE | {"CORE_EVENT_BUS_BACKEND": "redis", "CORE_REDIS_URL": url})
    assert line.endswith("Redis refuses CORE_REDIS_URL: DB index is out of range")


def test_a_certificate_that_is_missing_on_the_agents_server_is_reported(run_agent, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"postgres://agent@127.0.0.1:{server.getsockname()[1]}/hub?sslmode=verify-full"
        agent = run_agent(
            *MARKET, "--feed", "synthetic", **NOWHERE, HOME=str(tmp_path), CORE_CRYPTO_DB_URL=url
        )
        connection, _ = server.accept()
        with connection:
            connection.recv(8)
            connection.sendall(b"S")  # to libpq's question: TLS is spoken here
            assert agent.wait() == 2, agent.text
    assert "cannot be verified without its authority's certificate (sslrootcert)" in agent.text


@pytest.mark.django_db(transaction=True)
def test_an_unusable_database_is_reported(run_agent, program_environment):
    url = program_environment["CORE_DB_URL"]
    missing = refused(run_agent, **NOWHERE | {"CORE_DB_URL": url.rpartition("/")[0] + "/nowhere"})
    assert "the database of CORE_DB_URL has no such database or role" in missing
    empty = refused(run_agent, **NOWHERE | {"CORE_CRYPTO_DB_URL": url.rpartition("/")[0] + "/postgres"})
    assert "CORE_CRYPTO_DB_URL has no table trading_signals: `manage.py migrate` creates it" in empty
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS without_rights")
        connection.execute("CREATE ROLE without_rights LOGIN PASSWORD 'x'")
    try:
        powerless = url.replace("://", "://without_rights:x@").replace("x@hub@", "x@")
        host = url.rpartition("@")[2]
        powerless = f"postgres://without_rights:x@{host}"
        line = refused(run_agent, **NOWHERE | {"CORE_DB_URL": powerless})
        assert "may not insert: `manage.py agent_role`" in line
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("DROP ROLE without_rights")


def test_two_agents_do_not_share_an_outbox(run_agent):
    with Hub() as hub:
        first = run_agent(*MARKET, "--feed", "synthetic", **webhook(hub.url))
        first.until(lambda: "signals after" in first.text)
        assert "used by another process" in refused(run_agent, **webhook(hub.url))
        assert first.stop() == 0


def cpu_of_children() -> float:
    """Seconds that ended child processes took, whatever else the machine had to do."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_a_hundred_thousand_candles_take_less_than_ten_seconds(run_agent, tmp_path):
    path = write(tmp_path / "long.csv", 100_000)
    with Hub() as hub:
        before = cpu_of_children()
        agent = run_agent(*MARKET, "--feed", f"csv:{path}", **webhook(hub.url))
        assert agent.wait() == 0, agent.text
        assert len(hub.ids) == len(set(hub.ids)) > 5000
    assert "100000 candles gave" in agent.text
    assert cpu_of_children() - before < 10
    assert Outbox(tmp_path / "outbox.sqlite3", owner=False).counts() == {}

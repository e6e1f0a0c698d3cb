"""CORE_REDIS_URL as `unix://…`: everything that uses Redis reaches it through a socket file."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import redis

from aggregator.models import TradingSignal
from config.local import Redis
from tests.aggregator.ledger.samples import raw
from tests.servers import eventually

STREAM = "core_signals:signals"
PASSWORD = "sesame/open"
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def socket_file(tmp_path):
    """The socket of a Redis that listens on nothing else."""
    with tempfile.TemporaryDirectory() as short:  # a socket's path has 107 characters at most
        path = Path(short) / "redis.sock"
        program = str(Redis(tmp_path).program.path)
        options = {"port": "0", "unixsocket": str(path), "requirepass": PASSWORD, "save": "", "dir": short}
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        with subprocess.Popen([program, *words], stdout=subprocess.DEVNULL) as server:
            eventually(path.exists, what="a socket")
            yield path
            server.terminate()


@pytest.fixture(params=["unix://:{password}@{path}?db=2", "unix://{path}?db=2&password={password}"])
def url(request, socket_file):
    """The URL in either spelling of redis-py."""
    return request.param.format(password=PASSWORD.replace("/", "%2F"), path=socket_file)


@pytest.fixture
def client(socket_file):
    """A client of the same database, which the URL is not needed for."""
    with redis.Redis(unix_socket_path=str(socket_file), password=PASSWORD, db=2) as client:
        yield client


def test_what_an_agent_publishes_is_consumed(run_manage, url):
    signal = ["--ecosystem", "crypto", "--symbol", "BTC/USDT", "--action", "HOLD"]
    agent = run_manage("publish_signal", *signal, "--backend", "redis", CORE_REDIS_URL=url)
    assert agent.wait(40) == 0, agent.text
    consumer = run_manage("consume_streams", "--once", CORE_REDIS_URL=url)
    assert consumer.wait(40) == 0, consumer.text
    assert "1 entries processed" in consumer.text
    assert TradingSignal.objects.get().transport == "redis"


def test_a_celery_worker_consumes_too_and_its_broker_is_the_same_database(run_program, url, client):
    client.xadd(STREAM, {"payload": raw("streamed")})
    worker = run_program(
        [sys.executable, "-m", "celery", "-A", "config", "worker", "--pool", "solo"], CORE_REDIS_URL=url
    )
    worker.until(TradingSignal.objects.filter(signal_id="streamed").exists, 40)
    worker.until(lambda: client.keys("signal_hub:celery:*"), 40, "the worker's queue")
    assert worker.stop(40) == 0
    assert "Traceback" not in worker.text

"""CORE_REDIS_URL names Sentinels: streams, bus, Celery, limits and cache follow a real failover."""

import subprocess

import pytest
import redis
from django.conf import settings

from aggregator.health.redis_checks import RedisCheck
from aggregator.http.rate_limits import RateLimiter
from aggregator.models import DeadLetter, TradingSignal
from config.cache import ConnectionFactory
from config.local.redis import find_program
from tests.aggregator.ledger.samples import raw
from tests.aggregator.test_worker import CELERY, LOCAL, STREAM
from tests.servers import eventually, free_port

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "forex"])
SERVICE = "Hub"
PASSWORD = "sesame"


class Cluster:
    """A master, its replica, and two Sentinels that watch them."""

    def __init__(self, folder):
        self.folder = folder
        self.program = str(find_program().path)
        self.processes = {}
        self.master, self.replica, *self.sentinels = [free_port() for _ in range(4)]
        login = ["--requirepass", PASSWORD, "--masterauth", PASSWORD, "--save", ""]
        self.start(self.master, *login)
        self.start(self.replica, *login, "--replicaof", f"127.0.0.1 {self.master}")
        for port in self.sentinels:
            lines = (
                f"port {port}",
                f"sentinel monitor {SERVICE} 127.0.0.1 {self.master} 1",
                f"sentinel auth-pass {SERVICE} {PASSWORD}",
                f"sentinel down-after-milliseconds {SERVICE} 500",
                f"sentinel failover-timeout {SERVICE} 3000",
            )
            file = folder / f"sentinel-{port}.conf"
            file.write_text("\n".join(lines) + "\n")
            self.start(port, str(file), "--sentinel", named=False)
        eventually(lambda: self.client(self.replica).info("replication")["master_link_status"] == "up")
        eventually(lambda: self.known_replicas() == [1, 1])
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.sentinels)
        self.url = f"redis+sentinel://:{PASSWORD}@{hosts}/{SERVICE}/0"

    def start(self, port, *options, named=True):
        command = [self.program, *(["--port", str(port)] if named else []), *options]
        if not named:
            command = [self.program, *options]
        self.processes[port] = subprocess.Popen(
            command, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    @staticmethod
    def client(port, password=PASSWORD):
        return redis.Redis(port=port, password=password, socket_timeout=10)

    def known_replicas(self):
        try:
            return [self.client(port, None).sentinel_master(SERVICE)["num-slaves"] for port in self.sentinels]
        except redis.RedisError:
            return []

    def fail_over(self):
        """Kill the master; return when the replica is one, and the Sentinels say so."""
        self.processes[self.master].kill()
        eventually(lambda: self.client(self.replica).info("replication")["role"] == "master")
        eventually(lambda: self.known_masters() == [self.replica, self.replica])

    def known_masters(self):
        found = [self.client(port, None).sentinel_master(SERVICE) for port in self.sentinels]
        return [None if each["is_sdown"] else each["port"] for each in found]

    def stop(self):
        for process in self.processes.values():
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path):
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.stop()


def test_a_failover_is_followed_by_everything(cluster, run_program, run_manage):
    worker = run_program(CELERY, **LOCAL, CORE_REDIS_URL=cluster.url)
    cluster.client(cluster.master).xadd(STREAM, {"payload": raw("before")})
    worker.until(TradingSignal.objects.exists)
    worker.until(lambda: cluster.client(cluster.master).keys("signal_hub:celery:*"))
    limiter, check = RateLimiter(cluster.url), RedisCheck(cluster.url, [STREAM])
    limiter.hit("9/minute", "try", "somebody")
    assert check.result(wait=True).status == "ok", check.result().text

    cluster.fail_over()
    options = ["--ecosystem", "forex", "--symbol", "EUR_USD", "--action", "SELL", "--backend", "redis"]
    published = run_manage("publish_signal", *options, CORE_REDIS_URL=cluster.url)
    assert published.wait() == 0, published.text
    worker.until(lambda: TradingSignal.objects.filter(ecosystem="forex").exists())
    eventually(lambda: RedisCheck(cluster.url, [STREAM]).result(wait=True).status == "ok")
    limiter._shared_again_at = 0.0
    limiter.hit("9/minute", "try", "somebody")
    cache = ConnectionFactory({}).connect(cluster.url)
    assert cache.set("signal_hub:tried", "1", ex=5)
    worker.until(lambda: cluster.client(cluster.replica).keys("signal_hub:celery:_kombu.binding.celery"))
    assert worker.stop() == 0, worker.text
    assert "Unrecoverable" not in worker.text
    assert PASSWORD not in worker.text
    assert not DeadLetter.objects.exists()
    assert settings.ENVIRONMENT.redis_url != cluster.url

"""The Redis users of the documents, on every Redis that there is: they may do what is needed, and no more."""

import dataclasses
import sys
from contextlib import closing
from urllib.parse import urlsplit

import pytest
import redis
from django.conf import settings

from aggregator.health.redis_checks import RedisCheck, StreamCheck
from aggregator.ingest.streams import StreamConsumer
from aggregator.models import TradingSignal
from tests.aggregator.ingest.redis_versions import any_redis, any_server  # noqa: F401 - fixtures
from tests.aggregator.ledger.samples import raw
from tests.guides import blocks
from tests.servers import PROJECT

STREAM = "core_signals:alpha"
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def users(any_server, any_redis):  # noqa: F811
    """The URLs of the documents' users."""
    made = {}
    for block in blocks(PROJECT / "docs" / "streams.md", "redis"):
        words = block.text.split()
        any_redis.execute_command(*words)
        parts = urlsplit(any_server.url)
        netloc = f"{words[2]}:password@{parts.hostname}:{parts.port}"
        made[words[2]] = parts._replace(netloc=netloc).geturl()
    yield made
    for name in made:
        any_redis.acl_deluser(name)


def check(url, topic="alpha"):
    result = RedisCheck(url, [f"core_signals:{topic}"]).result(wait=True)
    return result.status.value, result.summary, result.detail


def test_an_agent_may_publish_to_its_own_stream_alone(users, any_redis, run_manage):  # noqa: F811
    options = ["--ecosystem", "forex", "--symbol", "EUR_USD", "--action", "SELL", "--backend", "redis"]
    variables = {"CORE_REDIS_URL": users["alpha"], "CORE_EVENT_STREAM_TOPICS": "alpha"}
    published = run_manage("publish_signal", *options, **variables)
    assert published.wait() == 0, published.text
    assert any_redis.xlen(STREAM) == 1
    with redis.Redis.from_url(users["alpha"], protocol=2) as agent:
        for command in (
            ("XADD", "core_signals:beta", "MAXLEN", "0", "*", "payload", "{}"),
            ("XTRIM", STREAM, "MAXLEN", "0"),
            ("DEL", STREAM),
            ("XREAD", "STREAMS", STREAM, "0"),
            ("PUBLISH", "signal_hub:celery:/0.celery.pidbox", "{}"),
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                agent.execute_command(*command)


def test_the_hub_may_consume_check_and_run_celery(users, any_redis, run_program):  # noqa: F811
    any_redis.xadd(STREAM, {"payload": raw("s1")})
    with closing(StreamConsumer(users["hub"], [STREAM])) as consumer:
        while consumer.run_once(wait=False):
            pass
    assert TradingSignal.objects.get().signal_id == "s1"
    assert check(users["hub"]) == ("ok", "", "")
    worker = run_program(
        [sys.executable, "-m", "celery", "-A", "config", "worker", "--pool", "solo"],
        CORE_REDIS_URL=users["hub"],
        CORE_EVENT_STREAM_TOPICS="alpha",
    )
    any_redis.xadd(STREAM, {"payload": raw("s2")})
    worker.until(TradingSignal.objects.filter(signal_id="s2").exists)
    worker.until(lambda: any_redis.keys("signal_hub:celery:_kombu.binding.celery.pidbox"))
    assert worker.stop() == 0
    assert not any(
        text in worker.text for text in ("NoPermission", "permissions", "Unrecoverable", "Traceback")
    )


def test_the_check_names_the_rights_that_are_missing(users, any_redis):  # noqa: F811
    assert check(users["hub"], "elsewhere")[0] == "ok"
    any_redis.execute_command("ACL", "SETUSER", "hub", "-xack", "-xread")
    missing = f"XREAD on {STREAM}, XACK on {STREAM}"
    assert check(users["hub"]) == ("failed", "rights are missing", missing)
    any_redis.execute_command("ACL", "SETUSER", "hub", "+xack", "+xread", "resetkeys", "~core_signals:*")
    assert "SET on signal_hub:health" in check(users["hub"])[2]
    any_redis.execute_command("ACL", "SETUSER", "hub", "~signal_hub*", "resetchannels", "&signal_hub*")
    assert check(users["hub"])[:2] == ("degraded", "a right is missing")
    assert check(users["alpha"])[:2] == ("failed", "rights are missing")


def test_the_check_sees_a_redis_that_refuses_to_write(any_server, any_redis):  # noqa: F811
    any_redis.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        assert check(any_server.url)[:2] == ("failed", "refuses to write")
    finally:
        any_redis.execute_command("REPLICAOF", "NO", "ONE")
    any_redis.config_set("maxmemory", "1")
    try:
        assert check(any_server.url)[:2] == ("failed", "refuses to write")
    finally:
        any_redis.config_set("maxmemory", "0")
    assert check(any_server.url)[0] == "ok"


def test_a_stream_that_takes_no_more_is_seen_and_made_anew(any_server, any_redis):  # noqa: F811
    environment = dataclasses.replace(settings.ENVIRONMENT, redis_url=any_server.url)
    any_redis.xadd(STREAM, {"payload": raw("vandal")}, id="18446744073709551615-18446744073709551615")
    with pytest.raises(redis.ResponseError):
        any_redis.xadd(STREAM, {"payload": raw("s1")})
    with closing(StreamConsumer(any_server.url, [STREAM])) as consumer:
        while consumer.run_once(wait=False):
            pass
        result = StreamCheck(environment, "alpha").result(wait=True)
        assert (result.status.value, result.summary) == ("failed", "nothing can be added any more")
        assert f"DEL {STREAM}" in result.detail
        any_redis.delete(STREAM)
        any_redis.xadd(STREAM, {"payload": raw("s1")})
        consumer.run_once(wait=False)
    assert TradingSignal.objects.filter(signal_id="s1").exists()
    assert StreamCheck(environment, "alpha").result(wait=True).summary != "nothing can be added any more"

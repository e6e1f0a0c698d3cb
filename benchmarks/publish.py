"""Publishing from an agent: `EventBus.publish_many` against a raw pipeline and a loop of requests."""

import time

import requests

from benchmarks import data
from benchmarks.race import Goal, Race
from benchmarks.stage import SECRET, STREAM, Stage
from benchmarks.web import RECEIVER
from ecosystems import signing
from ecosystems.bus import EventBus
from ecosystems.bus.redis import RedisTransport
from ecosystems.bus.webhook import WebhookTransport

MANY = 10_000
LOOP = 500
"""Requests of the loop; a whole MANY would take it half a minute a round."""


def race(stage: Stage) -> Race:
    counter = iter(range(1_000_000))

    def redis_bus() -> float:
        stage.empty()
        many = data.signals(MANY, f"publish{next(counter)}")
        with EventBus([RedisTransport(stage.redis_url)]) as bus:
            started = time.perf_counter()
            bus.publish_many(many)
            return MANY / (time.perf_counter() - started)

    def raw_xadd() -> float:
        stage.empty()
        entries = [{"payload": payload} for payload in data.payloads(MANY, f"publish{next(counter)}")]
        with stage.redis() as client:
            started = time.perf_counter()
            pipeline = client.pipeline(transaction=False)
            for entry in entries:
                pipeline.xadd(STREAM, entry, maxlen=1_000_000, approximate=True)
            pipeline.execute()
            return MANY / (time.perf_counter() - started)

    def webhook_bus() -> float:
        stage.empty()
        many = data.signals(MANY, f"publish{next(counter)}")
        with stage.serving(*RECEIVER) as port, EventBus([WebhookTransport(_url(port), SECRET)]) as bus:
            started = time.perf_counter()
            bus.publish_many(many)
            return MANY / (time.perf_counter() - started)

    def requests_loop() -> float:
        stage.empty()
        bodies = data.payloads(LOOP, f"publish{next(counter)}")
        with stage.serving(*RECEIVER) as port:
            started = time.perf_counter()
            for number, body in enumerate(bodies):
                headers = signing.headers(SECRET, f"msg_{number}", int(time.time()), body)
                answer = requests.post(
                    _url(port), data=body, headers=headers | {"Content-Type": "application/json"}, timeout=30
                )
                answer.raise_for_status()
            return LOOP / (time.perf_counter() - started)

    return Race(
        f"Publish {MANY:,} signals",
        "signals/s",
        {
            "publish_many, Redis": redis_bus,
            "raw pipelined XADD": raw_xadd,
            "publish_many, webhook": webhook_bus,
            "a loop of requests.post": requests_loop,
        },
        [
            Goal("publish_many, Redis", "raw pipelined XADD", 0.5),
            Goal("publish_many, webhook", "a loop of requests.post", 10.0),
        ],
    )


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}/api/signals"

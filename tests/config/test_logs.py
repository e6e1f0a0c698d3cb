"""What the hub's programs write to their logs, and what they never do."""

import json
import os
import re
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
import requests
from django.conf import settings

from aggregator.models import TradingSignal
from config import logs
from tests.aggregator.ledger.samples import raw, signed
from tests.servers import AUTH_SECRET, WEBHOOK_SECRET, eventually, renamed, web

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "forex"])

STREAM = "core_signals:signals"
BODY_MARK = "a-body-that-nobody-logs"


@pytest.fixture
def hub(run_program, free_port):
    """The real web server: its program, and its URL."""

    def start(**variables):
        program = run_program(web(free_port), **variables)
        url = f"http://127.0.0.1:{free_port}"
        program.until(lambda: requests.get(f"{url}/livez", timeout=60).ok)
        return program, url

    return start


def post(url, body, **headers):
    return requests.post(f"{url}/api/signals", data=body, headers=signed(body) | headers, timeout=60)


def events(program, event):
    """The lines of an event, each as a dict."""
    lines = [line for line in program.text.splitlines() if f"event={event}" in line]
    return [dict(re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S*)', line)) for line in lines]


def test_the_hubs_own_probe_leaves_no_line(hub):
    program, url = hub()
    assert requests.get(f"{url}/api/signals", timeout=5).status_code == 405
    assert requests.post(f"{url}/api/signals", timeout=5).status_code == 415
    program.until(lambda: events(program, "problem"))
    assert [event["status"] for event in events(program, "problem")] == ["415"]


def test_one_event_a_batch_with_counts_ids_and_the_request(hub):
    program, url = hub()
    signals = [json.loads(raw("one")), json.loads(raw("two")), json.loads(raw("bad", volume=-1))]
    answer = post(url, json.dumps(signals).encode())
    assert answer.status_code == 202
    program.until(lambda: events(program, '"batch recorded"'))
    (event,) = events(program, '"batch recorded"')
    assert (event["entries"], event["accepted"], event["refused"]) == ("3", "2", "1")
    assert event["ids"] == "crypto/one,crypto/two,crypto/bad"
    assert event["transport"] == "webhook"
    assert event["request_id"] == answer.headers["X-Request-ID"]
    assert len(program.text.splitlines()) == len(set(program.text.splitlines()))


def test_a_refusal_is_one_line_with_the_id_of_the_answer(hub):
    program, url = hub()
    answer = requests.post(
        f"{url}/api/signals", data=raw(), headers={"Content-Type": "application/json"}, timeout=60
    )
    assert (answer.status_code, answer.json()["request_id"]) == (401, answer.headers["X-Request-ID"])
    program.until(lambda: events(program, "problem"))
    (event,) = events(program, "problem")
    assert (event["status"], event["request_id"]) == ("401", answer.headers["X-Request-ID"])


def test_an_id_from_outside_is_not_used(hub):
    program, url = hub()
    hostile = "forged level=critical"
    for body in (raw("one"), b"no json"):
        answer = post(url, body, **{"X-Request-ID": hostile})
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-ID"])
        assert "forged" not in answer.text
    program.until(lambda: events(program, "problem"))
    assert "forged" not in program.text


def test_no_secret_and_no_body_in_any_log(hub, run_manage, redis_client):
    value, secret_path = "a-key-value-nobody-logs", "a-query-nobody-logs"
    variables = {"CORE_API_KEYS": f"agent:{value}", "CORE_WEBHOOK_REQUIRE_KEY": "on"}
    program, url = hub(**variables)
    key = {"Authorization": f"Bearer {value}"}
    payload = {"note": BODY_MARK}
    for body in (
        raw("ok", raw_payload=payload),
        raw("bad", volume=-1, raw_payload=payload),
        raw("ok", symbol="OTHER", raw_payload=payload),
        f'{{"{BODY_MARK}'.encode(),
        BODY_MARK.encode() * 100_000,
    ):
        assert post(url, body, **key).status_code < 500
        post(url, body)
        post(url, body, **key, **{"webhook-signature": f"v1,{BODY_MARK}"})
    for path in (f"/nowhere?secret={secret_path}", f"/admin/?secret={secret_path}", "/health", "/metrics"):
        requests.get(url + path, headers=key, timeout=60)
    redis_client.xadd(STREAM, {"payload": raw("bad-stream", volume=-1, raw_payload=payload)})
    consumer = run_manage("consume_streams", "--once", **variables)
    assert consumer.wait() == 0
    assert events(consumer, '"batch recorded"')[0]["refused"] == "1"

    assert program.stop() == 0
    written = program.text + consumer.text
    for secret in (value, BODY_MARK, secret_path, AUTH_SECRET, WEBHOOK_SECRET):
        assert secret not in written


def test_the_bus_is_told_in_plain_words(hub):
    program, _ = hub()
    assert 'event="EventBus backend=memory"' in program.text


def test_a_crash_is_logged_once_without_the_query(hub):
    """A database without the hub's tables makes the admin crash."""
    database = renamed(os.environ["CORE_DB_URL"], "postgres")
    program, url = hub(CORE_DB_URL=database)
    secret = {"secret": "a-query-nobody-logs"}
    answer = requests.get(f"{url}/admin/", params=secret, cookies={"sessionid": "x" * 32}, timeout=60)
    assert answer.status_code == 500
    program.until(lambda: events(program, "request_failed"))
    (event,) = events(program, "request_failed")
    assert event["request_id"] == answer.headers["X-Request-ID"]
    assert "ProgrammingError" in event["exception"]
    assert "a-query-nobody-logs" not in program.text
    assert (urlsplit(database).password or database) not in program.text


def test_a_stream_batch_is_logged_once(run_manage, redis_client):
    for number in range(30):
        redis_client.xadd(STREAM, {"payload": raw(f"s{number}")})
    program = run_manage("consume_streams", "--once")
    assert program.wait() == 0
    (event,) = events(program, '"batch recorded"')
    assert (event["accepted"], event["transport"], event["ids"].count(",")) == ("30", "redis", 4)
    assert eventually(lambda: TradingSignal.objects.count() == 30)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", "a\\nb"),
        ("a\rb\x1b[31m", "a\\u000db\\u001b[31m"),
        ("\u202eabc", "\\u202eabc"),
        ("postgres://u:a-long-password@h", "postgres://u:****@h"),
        ('u:one"with-a-quote', '"u:****"'),
        ("postgres://hub:hub@hub/hub", "postgres://hub:****@hub/hub"),
        ("redis://hub/0?password=hub", '"redis://hub/0?password=****"'),
        ("password=hubs", '"password=hubs"'),
    ],
)
def test_a_line_is_one_line_without_secrets(text, shown):
    rendered = logs.structlog.processors.LogfmtRenderer()(None, "", {"event": text})
    assert (
        logs.OneLine(["a-long-password", 'one"with-a-quote', "hub"])(None, "", rendered) == f"event={shown}"
    )


def test_secrets_are_found_wherever_the_environment_holds_them():
    environment = replace(
        settings.ENVIRONMENT,
        core_db_url="postgres://hub:in%20place@db/hub?sslmode=require&passfile=/run/pass",
        redis_url="redis://cache/0?password=of%2Fredis",
        event_webhook_url="https://hub/in?token=of-the-url&topic=not-secret",
        signal_endpoint="https://user:of-the-endpoint@hub/in",
        email_url="smtp://user:of-the-mail@mail",
        stripe_api_key="sk_test_of_stripe",
        stripe_webhook_secret="whsec_of_stripe",
    )
    found = set(logs.secrets_of(environment))
    assert {
        "in place", "in%20place", "of/redis", "of%2Fredis", "of-the-url", "of-the-endpoint", "of-the-mail",
        "sk_test_of_stripe", "whsec_of_stripe", AUTH_SECRET,
    } <= found  # fmt: skip
    assert not {"not-secret", "require"} & found


def test_secrets_are_found_beside_an_ipv6_address_behind_another_host(monkeypatch):
    def refuse(url):
        raise ValueError("Invalid IPv6 URL")

    monkeypatch.setattr(logs, "urlsplit", refuse, raising=False)  # as that of a newer Python does
    environment = replace(
        settings.ENVIRONMENT,
        core_db_url="postgres://hub:p%40ss@db1:5432,[fd00::2]:5432/hub?sslpassword=of-the-key",
        redis_url="redis+sentinel://:of-redis@redis1,[fd00::2]/mymaster/0?sentinel_password=of-them",
    )
    found = set(logs.secrets_of(environment))
    assert {"p%40ss", "p@ss", "of-the-key", "of-redis", "of-them"} <= found


def test_rows_that_postgres_quotes_are_cut():
    event = {
        "exception": 'psycopg.Error: bad\nCONTEXT:  COPY staged, line 1: "secret"\nDETAIL:  Key (x)=(y).'
    }
    assert logs.without_values(None, "", event)["exception"] == "psycopg.Error: bad\nCONTEXT: …\nDETAIL: …"

"""`GET /metrics`, as Prometheus reads it."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings
from django.db import connection
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from aggregator.arrivals import counters
from aggregator.health.runner import check_runner
from aggregator.http import api_keys
from aggregator.models import ApiKey, ArrivalMinute
from tests.aggregator.ledger.samples import entry, record_and_count, rows
from tests.servers import frozen

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "forex"])


@pytest.fixture(autouse=True)
def own_runner():
    """Results that another test has not left behind."""
    check_runner.cache_clear()
    yield
    check_runner.cache_clear()


def key(scopes=("metrics",), **fields):
    """Headers of a new key."""
    row = ApiKey(key_id=api_keys.new_key_id("test"), scopes=list(scopes), **fields)
    return key_value(api_keys.auth_manager(settings.ENVIRONMENT).issue(row).value)


def key_value(value):
    return {"Authorization": f"Bearer {value}"}


@contextmanager
def stopped(server):
    server.stop()
    connection.close()
    yield
    server.start()


class Scrape:
    """One scrape: `scrape("name", label="value")` is a sample's value, None for no sample."""

    def __init__(self, client, **headers):
        response = client.get("/metrics", headers=key() | headers)
        assert response.status_code == 200
        parse = openmetrics if "openmetrics" in response["Content-Type"] else plain
        families = list(parse(response.content.decode()))
        self.samples = [sample for family in families for sample in family.samples]

    def __call__(self, name, **labels):
        found = [each.value for each in self.samples if each.name == name and each.labels == labels]
        return found[0] if found else None

    def labels(self, name, *labels):
        return {tuple(each.labels[label] for label in labels) for each in self.samples if each.name == name}


ACCEPTED = {"ecosystem": "crypto", "transport": "webhook", "verdict": "accepted"}


def hour_passes():
    """Move all that is known of the past an hour back."""
    # In two leaps, so that no row passes through the place of another on its way.
    for leap in ("- interval '1000 hours'", "+ interval '999 hours'"):
        rows(f"UPDATE arrival_minutes SET minute = minute {leap} RETURNING 1")
    rows("UPDATE arrival_totals SET through = through - interval '1 hour' RETURNING 1")


@pytest.mark.parametrize("accept", ["*/*", "application/openmetrics-text; version=1.0.0"])
def test_arrivals_by_verdict_and_lag(client, redis_client, accept):
    late = (datetime.now(UTC) - timedelta(seconds=7)).isoformat()
    record_and_count([entry("a", timestamp=late), entry("b"), entry("c", ecosystem="nowhere")], "webhook")
    record_and_count([entry("b"), entry("b", symbol="OTHER")], "redis")
    found = Scrape(client, Accept=accept)
    counted = {
        (each.labels["ecosystem"], each.labels["transport"], each.labels["verdict"]): each.value
        for each in found.samples
        if each.name == "signal_hub_arrivals_total" and each.value
    }
    assert counted == {
        ("crypto", "webhook", "accepted"): 2,
        ("unknown", "webhook", "refused"): 1,
        ("crypto", "redis", "duplicate"): 1,
        ("crypto", "redis", "conflict"): 1,
    }
    source = {"ecosystem": "crypto", "transport": "webhook"}
    lag = [found("signal_hub_lag_seconds_bucket", **source, le=le) for le in ("5.0", "10.0", "+Inf")]
    assert lag == [0, 1, 2]
    assert found("signal_hub_dead_letters", code="unknown_ecosystem") == 1
    assert found("signal_hub_dead_letters", code="conflict") == 1


def test_streams_agents_and_checks(client, redis_client):
    redis_client.xadd("core_signals:signals", {"payload": b"{}"})
    record_and_count([entry("a", agent_source='say "hi"')], "webhook")
    found = Scrape(client)
    assert found("signal_hub_stream_lag", stream="core_signals:signals") == 1
    assert found("signal_hub_stream_trimmed_unread", stream="core_signals:signals") == 0
    seen = found("signal_hub_agent_last_seen_timestamp_seconds", ecosystem="crypto", agent='say "hi"')
    assert abs(seen - datetime.now(UTC).timestamp()) < 60
    assert found("signal_hub_check", check="database", status="ok") == 1
    assert found("signal_hub_check", check="stream:signals", status="degraded") == 1
    assert found("signal_hub_check", check="stream:signals", status="ok") == 0
    assert found("signal_hub_scrape_failed", part="arrivals") == 0


def test_the_files_for_grafana_and_prometheus_know_these_names(client, redis_client):
    redis_client.xadd("core_signals:signals", {"payload": b"{}"})
    record_and_count([entry("a"), entry("c", ecosystem="nowhere")], "webhook")
    known = {each.name for each in Scrape(client).samples}
    for name in ("grafana-dashboard.json", "prometheus-rules.yml"):
        text = (settings.BASE_DIR / "deploy" / name).read_text()
        used = set(re.findall(r"signal_hub_\w+", text))
        assert used, name
        assert used <= known, name
    json.loads((settings.BASE_DIR / "deploy" / "grafana-dashboard.json").read_text())


def test_their_expressions_use_labels_that_exist(client, redis_client):
    redis_client.xadd("core_signals:signals", {"payload": b"{}"})
    record_and_count([entry("a"), entry("c", ecosystem="nowhere")], "webhook")
    labels = {}
    for each in Scrape(client).samples:
        labels.setdefault(each.name, set()).update(each.labels)
    grafana = json.loads((settings.BASE_DIR / "deploy" / "grafana-dashboard.json").read_text())
    used = [target["expr"] for panel in grafana["panels"] for target in panel.get("targets", [])]
    rules = (settings.BASE_DIR / "deploy" / "prometheus-rules.yml").read_text()
    used += re.findall(r"expr: (?:\|\n)?((?:.|\n)*?)\n +(?:for|labels):", rules)
    assert len(used) > 20
    for expression in used:
        has = set().union(*(labels[name] for name in re.findall(r"signal_hub_\w+", expression)))
        for selected in re.findall(r"by \(([^)]*)\)", expression):
            assert set(re.split(r",\s*", selected)) <= has, expression
        for name, matched in re.findall(r"(signal_hub_\w+)\{(\w+)", expression):
            assert matched in labels[name], expression


def test_counters_never_fall(client, redis_client):
    record_and_count([entry("a"), entry("b")], "webhook")
    hour_passes()
    record_and_count([entry("c")], "webhook")

    def accepted():
        return Scrape(client)("signal_hub_arrivals_total", **ACCEPTED)

    assert accepted() == 3
    counters.fold()
    assert accepted() == 3
    ArrivalMinute.objects.filter(minute__lt=datetime.now(UTC) - timedelta(minutes=31)).delete()
    assert accepted() == 3
    hour_passes()
    counters.fold()
    ArrivalMinute.objects.all().delete()
    found = Scrape(client)
    assert found("signal_hub_arrivals_total", **ACCEPTED) == 3
    assert found("signal_hub_lag_seconds_bucket", ecosystem="crypto", transport="webhook", le="+Inf") == 3


def test_many_processes_folding_count_once(client, redis_client):
    for number in range(20):
        record_and_count([entry(str(number))], "webhook")
        hour_passes()

    def fold(_number):
        try:
            counters.fold()
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(fold, range(40)))
    assert counters.read()["crypto", "webhook"]["accepted"] == 20


def test_the_agents_known_longest_have_series(client, redis_client, monkeypatch):
    monkeypatch.setattr("aggregator.health.metrics.MAX_AGENTS", 2)
    for number in range(3):
        record_and_count([entry(str(number), agent_source=f"bot-{number}")], "webhook")
    found = Scrape(client)
    shown = found.labels("signal_hub_agent_last_seen_timestamp_seconds", "agent")
    assert shown == {("bot-0",), ("bot-1",), ("(other)",)}
    assert found("signal_hub_agents") == 3


def test_redis_down_leaves_the_rest(client, free_port, monkeypatch):
    url = f"redis://127.0.0.1:{free_port}/0"
    monkeypatch.setattr(settings, "ENVIRONMENT", replace(settings.ENVIRONMENT, redis_url=url))
    record_and_count([entry("a")], "webhook")
    found = Scrape(client)
    assert found("signal_hub_check", check="redis", status="failed") == 1
    assert found("signal_hub_arrivals_total", **ACCEPTED) == 1
    assert not found.labels("signal_hub_stream_lag", "stream")


def test_requests_without_a_key_are_refused(client):
    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", headers={"Authorization": "Bearer shk_wrong"}).status_code == 401
    for way in ("X-Forwarded-For", "X-Real-IP"):
        assert client.get("/metrics", headers={way: "127.0.0.1"}).status_code == 401


@pytest.mark.parametrize("fields", [{"scopes": ["publish", "read"]}, {"ecosystems": ["crypto"]}])
def test_keys_without_the_scope_for_all_ecosystems_are_refused(client, fields):
    response = client.get("/metrics", headers=key(**fields))
    assert (response.status_code, response.json()["code"]) == (403, "scope_missing")


@pytest.mark.parametrize("accept", ["application/openmetrics-text;version=x", "text/plain;version=1.x"])
def test_an_unknown_version_of_the_format_is_no_error(client, redis_client, accept):
    response = client.get("/metrics", headers=key() | {"Accept": accept})
    assert response.status_code == 200
    assert "signal_hub_check" in response.content.decode()


def test_staff_may_scrape(client, admin_client, django_user_model, redis_client):
    assert admin_client.get("/metrics").status_code == 200
    client.force_login(django_user_model.objects.create_user("customer"))
    assert client.get("/metrics").status_code == 401


def test_database_down_is_503_for_a_key_that_is_not_known(client, redis_client, postgres_server):
    headers = key()
    postgres_server.stop()
    connection.close()
    response = client.get("/metrics", headers=headers)
    assert (response.status_code, response["Content-Type"]) == (503, "application/problem+json")


def test_a_key_that_has_scraped_before_scrapes_in_an_outage(
    client, admin_client, redis_client, postgres_server
):
    headers = key()
    assert client.get("/metrics", headers=headers).status_code == 200
    for outage in (frozen, stopped):
        with outage(postgres_server):
            check_runner.cache_clear()
            response = client.get("/metrics", headers=headers)
            assert client.get("/metrics", headers=key_value("shk_wrong")).status_code == 503
            assert admin_client.get("/metrics").status_code == 503
        assert response.status_code == 200
        text = response.content.decode()
        assert 'signal_hub_check{check="database",status="failed"} 1.0' in text
        assert 'signal_hub_scrape_failed{part="arrivals"} 1.0' in text
        assert 'signal_hub_stream_lag{stream="core_signals:signals"} 0.0' in text


def test_a_key_that_was_revoked_is_refused_also_in_an_outage(client, redis_client, postgres_server):
    headers = key()
    assert client.get("/metrics", headers=headers).status_code == 200
    ApiKey.objects.update(revoked_at=datetime.now(UTC))
    assert client.get("/metrics", headers=headers).status_code == 401
    with stopped(postgres_server):
        check_runner.cache_clear()
        assert client.get("/metrics", headers=headers).status_code == 503

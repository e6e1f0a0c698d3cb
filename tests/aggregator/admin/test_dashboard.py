"""The index page: its figures, its cost in queries, and the outages that it survives."""

from __future__ import annotations

import dataclasses
import re
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
import requests
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from aggregator.admin import dashboard
from aggregator.arrivals import liveness, queries
from aggregator.arrivals.silence import Liveness
from aggregator.health.checks import Status
from aggregator.health.runner import check_runner
from aggregator.models import Agent, ArrivalHour, FollowerCursor
from aggregator.templatetags.hub import label
from tests.servers import eventually
from tests.servers import free_port as find_free_port

LIVE = "/admin/live"

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "forex"])


@pytest.fixture(autouse=True)
def calendars():
    """The trading calendars are loaded in the background; figures that need them come after that."""
    eventually(liveness.calendars_loaded.latest, what="trading calendars")


@pytest.fixture(autouse=True)
def nothing_known():
    """The results and figures of other servers that another test has seen are no longer known."""
    check_runner.cache_clear()
    dashboard.background_streams.cache_clear()
    dashboard.background_agents.cache_clear()
    yield
    check_runner.cache_clear()
    dashboard.background_streams.cache_clear()
    dashboard.background_agents.cache_clear()


def text(response):
    assert response.status_code == 200
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def test_first_use_shows_a_command_for_each_transport(page):
    seen = text(page.get("/admin/"))
    assert "Send your first signal" in seen
    assert "psql" in seen
    assert "redis-cli" in seen
    assert "curl -sS &quot;http://localhost/api/signals&quot;" in page.get("/admin/").content.decode()
    assert "no signals yet" in seen


@pytest.mark.parametrize("word", [*Liveness, *Status])
def test_every_state_has_a_label(word):
    assert word in label(word)


def test_arrivals_replace_the_first_use_page(page, record):
    record({}, {}, {"ecosystem": "stock", "symbol": "AAPL"}, transport="redis")
    seen = text(page.get(LIVE))
    assert re.search(r"Over Redis redis \w+ received .* Over HTTPS webhook \w+ waiting", seen)
    assert re.search(r"Crypto .*? live Last arrival [\d.]+ (ms|s|min) ago", seen)
    assert re.search(r"Last hour 2 Last day 2", seen)
    assert "momentum" in seen
    assert 'aria-label="Arrivals in the last 24 hours: 0 by database, 2 by redis, 0 by webhook"' in (
        page.get(LIVE).content.decode()
    )


def test_the_first_use_page_goes_when_all_is_tried_or_the_hub_is_no_longer_new(page, record, monkeypatch):
    monkeypatch.setattr(dashboard, "rollup_cache", queries.RollupCache())
    record(transport="redis")
    hour = ArrivalHour.objects.get().hour
    ArrivalHour.objects.update(hour=hour - timedelta(hours=3))
    assert "Send your first signal" not in text(page.get(LIVE))
    ArrivalHour.objects.update(hour=hour)
    monkeypatch.setattr(dashboard, "rollup_cache", queries.RollupCache())  # what is past changes nowhere else
    record(transport="database")
    assert "Send your first signal" in text(page.get(LIVE))
    record(transport="webhook")
    assert "Send your first signal" not in text(page.get(LIVE))


def test_the_cost_does_not_grow(page, record):
    def count_queries():
        with CaptureQueriesContext(connection) as captured:
            page.get("/admin/")
        return len(captured)

    record({}, {"action": "HODL"})
    few = count_queries()
    record(*({"agent_source": f"a{n}", "ecosystem": "forex", "symbol": "EURUSD"} for n in range(60)))
    assert count_queries() == few
    assert few < 20


def test_it_opens_while_redis_is_down(page, record, free_port, settings):
    record({})
    url = f"redis://:hush@127.0.0.1:{free_port}/0"
    with override_settings(ENVIRONMENT=dataclasses.replace(settings.ENVIRONMENT, redis_url=url)):
        seen = eventually(
            lambda: "2 failed" in (seen := text(page.get(LIVE))) and "not readable" in seen and seen
        )
    assert "ConnectionError" in seen
    assert re.search(
        r"2 failed(, \d degraded)?: redis, stream:signals", seen
    )  # banners have one line together
    assert "hush" not in seen


def test_the_first_visit_after_a_pause_shows_no_old_figures(
    page, redis_client, free_port, settings, monkeypatch
):
    dashboard.background_streams.cache_clear()
    # Not the clock of later on: what is read by it would count as new in other tests.
    minute_ago = SimpleNamespace(monotonic=lambda: time.monotonic() - 60)
    with monkeypatch.context() as then:
        then.setattr("aggregator.background.time", minute_ago)
        eventually(lambda: "core_signals:signals" in text(page.get(LIVE)))
    url = f"redis://127.0.0.1:{free_port}/0"
    with override_settings(ENVIRONMENT=dataclasses.replace(settings.ENVIRONMENT, redis_url=url)):
        seen = text(page.get(LIVE))
    assert "not readable" in seen or "core_signals:signals" not in seen


def test_it_shows_that_its_figures_are_behind(page, record):
    record({})
    assert "Figures are" not in text(page.get(LIVE))
    FollowerCursor.objects.update(position=0)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE trading_signals SET recorded_at = now() - interval '12 seconds'")
    assert "Figures are 12 s behind." in text(page.get(LIVE))


def test_a_stream_that_is_behind_has_the_status_of_its_check(page, redis_client):
    redis_client.xadd("core_signals:signals", {"payload": "{}"}, id="1700000000000-0")
    redis_client.xgroup_create("core_signals:signals", "aggregator", id="0")
    redis_client.xreadgroup("aggregator", "one", {"core_signals:signals": ">"})
    seen = eventually(lambda: "core_signals:signals" in (seen := text(page.get(LIVE))) and seen)
    assert "core_signals:signals warning behind 1 0 1" in seen


def test_it_opens_while_an_ecosystems_database_is_down(page, record, live_hub):
    record({})
    url = live_hub(CORE_STOCK_DB_URL=f"postgres://stock:hush@127.0.0.1:{find_free_port()}/stock")
    cookies = {"sessionid": page.cookies["sessionid"].value}

    def failing():
        response = requests.get(f"{url}/admin/live", cookies=cookies, timeout=60)
        assert response.status_code == 200
        return "database:stock: failed." in response.text and response.text

    seen = eventually(failing, what="the check of the database that is down")
    assert "hush" not in seen
    assert "momentum" in eventually(lambda: "momentum" in (text := failing() or "") and text, what="agents")


def test_only_the_staff_sees_it(client):
    for path in ("/admin/", LIVE):
        assert client.get(path, headers={"host": "localhost"}).status_code == 302


def test_open_dead_letters_and_unmapped_symbols_are_pointed_at(page, record):
    record({"action": "HODL"}, {"symbol": "tBTCUSD"})
    seen = text(page.get(LIVE))
    assert "1 unresolved dead letter " in seen
    assert "1 unmapped symbol " in seen


def test_what_is_not_counted_to_its_end_has_a_plus(page, record, monkeypatch):
    monkeypatch.setattr(dashboard, "MAX_TASKS_COUNTED", 2)
    record(*({"action": "HODL", "signal_id": str(number)} for number in range(3)))
    record(*({"symbol": f"tBTC{number}USD"} for number in range(3)))
    seen = text(page.get(LIVE))
    assert "2+ unresolved dead letters " in seen
    assert "2+ unmapped symbols " in seen


NOW = datetime(2026, 11, 25, 15, 0, tzinfo=UTC)  # a Wednesday: all three markets are open
SUNDAY = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def ecosystems_at(now):
    return liveness.current_liveness(now, queries.RollupCache(), liveness.read_agents(now))


@pytest.mark.parametrize(
    ("ecosystem", "now", "silent_for", "allowed", "expected"),
    [
        ("crypto", NOW, timedelta(minutes=1), timedelta(minutes=10), Liveness.LIVE),
        ("crypto", NOW, timedelta(minutes=7), timedelta(minutes=10), Liveness.LATE),
        ("crypto", NOW, timedelta(minutes=11), timedelta(minutes=10), Liveness.SILENT),
        ("crypto", SUNDAY, timedelta(minutes=11), timedelta(minutes=10), Liveness.SILENT),
        ("stock", SUNDAY, timedelta(minutes=11), timedelta(minutes=10), Liveness.CLOSED),
        ("stock", SUNDAY, timedelta(minutes=1), timedelta(minutes=10), Liveness.LIVE),
        ("forex", NOW, timedelta(hours=13), None, Liveness.LATE),
        ("forex", NOW, timedelta(hours=25), None, Liveness.SILENT),
    ],
)
def test_an_agents_state(db, ecosystem, now, silent_for, allowed, expected):
    seen = now - silent_for
    Agent.objects.create(
        ecosystem=ecosystem, agent_source="a", first_seen=seen, last_seen=seen, signals=1,
        last_transport="redis", expected_cadence=allowed,
    )  # fmt: skip
    [(silence, _)] = liveness.read_agents(now).urgent
    assert silence.state is expected


def test_one_live_agent_makes_its_ecosystem_live(db):
    for name, minutes in (("dead", 600), ("alive", 1)):
        seen = NOW - timedelta(minutes=minutes)
        Agent.objects.create(
            ecosystem="crypto", agent_source=name, first_seen=seen, last_seen=seen, signals=5,
            last_transport="redis", expected_cadence=timedelta(minutes=10),
        )  # fmt: skip
    crypto, forex, _ = ecosystems_at(NOW)
    assert (crypto.state, forex.state) == (Liveness.LIVE, Liveness.NEVER)
    Agent.objects.filter(agent_source="alive").delete()
    assert ecosystems_at(NOW)[0].state is Liveness.SILENT


def test_a_silent_agent_comes_first_beside_a_newcomer(db):
    for name, minutes, cadence in (("newcomer", 40, None), ("late", 30, timedelta(minutes=10))):
        seen = NOW - timedelta(minutes=minutes)
        Agent.objects.create(
            ecosystem="crypto", agent_source=name, first_seen=seen, last_seen=seen, signals=5,
            last_transport="redis", expected_cadence=cadence,
        )  # fmt: skip
    crypto, *_ = ecosystems_at(NOW)
    assert (crypto.state, crypto.agents_in_words) == (Liveness.LIVE, "1 silent, 1 live")
    assert [silence.agent_source for silence, _ in liveness.read_agents(NOW).urgent] == ["late", "newcomer"]


def test_the_page_shows_its_own_figures_in_the_check_of_freshness(page, record):
    """The runner's result is some seconds old: a card would be live above a check that says silent."""
    record({})
    Agent.objects.update(last_seen=timezone.now() - timedelta(days=2))
    check_runner().run_all()
    eventually(lambda: check_runner().latest_results(60))
    assert "1 of 1 agent silent" in text(page.get("/admin/"))
    record({})
    shown = text(page.get("/admin/"))
    assert "0 of 1 agent silent" in shown
    assert "1 of 1 agent silent" not in shown


def test_the_usual_rate_counts_open_hours_only(db):
    # The evening before, from 17:00 to 19:00 UTC, market open until 21:00; the hub began in the first.
    for hours in (20, 21, 22):
        hour = NOW - timedelta(hours=hours)
        ArrivalHour.objects.create(
            hour=hour, ecosystem="stock", agent_source="a", transport="redis", accepted=30, last_at=hour
        )
    stock = ecosystems_at(NOW)[2]
    # Open from 18:00 to 21:00, and from 14:30 to 15:00 on the day: three hours and a half.
    assert stock.typical_hour == pytest.approx(60 / 3.5)

"""The dashboard as an operator sees it."""

from __future__ import annotations

import json
import re
from contextlib import closing
from datetime import UTC, datetime

import requests
from django.db import connection
from standardwebhooks import Webhook

from aggregator.arrivals.rollups import RollupFollower
from aggregator.ingest.streams import configured_consumer
from aggregator.ledger import inserted_rows
from tests.aggregator.ledger.samples import record_and_count
from tests.servers import WEBHOOK_SECRET

STREAM = "core_signals:signals"


def signal(name, ecosystem="crypto", symbol="BTCUSDT", **fields):
    given = {
        "signal_id": name, "ecosystem": ecosystem, "symbol": symbol, "action": "BUY",
        "timestamp": datetime.now(UTC).isoformat(), "agent_source": f"agent-{ecosystem}",
    }  # fmt: skip
    return json.dumps(given | fields)


def over_database(_hub, _redis):
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO trading_signals (signal_id, ecosystem, timestamp, symbol, action, agent_source) "
            "VALUES ('d', 'crypto', now(), 'BTCUSDT', 'BUY', 'agent-crypto')"
        )
    assert len(inserted_rows.record_inserted_rows(10)) == 1


def over_redis(_hub, redis):
    redis.xadd(STREAM, {"payload": signal("r", "forex", "EURUSD")})
    with closing(configured_consumer()) as consumer:
        while not consumer.run_once(wait=False):
            pass


def over_webhook(hub, _redis):
    body, now = signal("w", "stock", "AAPL"), datetime.now(UTC)
    headers = {
        "Content-Type": "application/json",
        "webhook-id": "msg_w",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(WEBHOOK_SECRET).sign("msg_w", now, body),
    }
    assert requests.post(f"{hub}/api/signals", body, headers=headers, timeout=60).status_code == 202


def test_first_use_then_arrivals_over_each_transport_without_a_reload(sign_in, hub, redis_client):
    page = sign_in()
    assert "psql" in page.inner_text("[data-part=first-use]")
    assert f"{hub}/api/signals" in page.inner_text("[data-part=first-use]")
    page.evaluate("window.sameDocument = true")
    for publish, ecosystem in ((over_database, "crypto"), (over_redis, "forex"), (over_webhook, "stock")):
        publish(hub, redis_client)
        RollupFollower().catch_up()
        card = page.locator(".hub-card", has=page.locator(f"#hub-{ecosystem}"))
        card.locator("dd", has_text=re.compile("^1$")).first.wait_for()
        card.locator("header").get_by_text("live").wait_for()
    page.get_by_role("link", name="agent-forex").wait_for()
    assert page.locator("[data-part=first-use]").count() == 0
    assert page.evaluate("window.sameDocument")
    totals = page.evaluate(
        "[...document.querySelectorAll('canvas')].map((each) => Chart.getChart(each).data.datasets"
        ".flatMap((set) => set.data).reduce((sum, value) => sum + value, 0))"
    )
    assert totals == [1, 1, 1]


def test_it_says_when_it_cannot_refresh(sign_in, complaints):
    page = sign_in()
    page.route("**/admin/live", lambda route: route.abort())
    page.get_by_text(re.compile("Cannot refresh: the hub does not answer. Data is \\d+ s old")).wait_for()
    page.unroute("**/admin/live")
    page.get_by_text(re.compile("Refreshed \\d+ s ago")).wait_for()
    page.context.clear_cookies()
    page.get_by_text("you are signed out").wait_for()
    assert all("ERR_FAILED" in each for each in complaints)
    complaints.clear()


def test_it_is_dark_where_the_system_is(sign_in):
    for dark in (False, True):
        page = sign_in(dark=dark)
        assert ("dark" in page.evaluate("document.documentElement.className")) == dark


def test_the_keyboard_reaches_everything(sign_in, transactional_db):
    from aggregator.ledger.entries import Entry

    record_and_count([Entry(signal("one").encode()), Entry(signal("bad", action="HODL").encode())], "redis")
    page = sign_in()
    page.get_by_role("link", name="agent-crypto").wait_for()
    page.evaluate("document.querySelector('#hub-refreshed').scrollIntoView()")
    wanted = page.evaluate("document.querySelectorAll('#hub-live a, #hub-live button').length")
    assert wanted >= 5
    reached = set()
    for _ in range(120):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            "(() => { const e = document.activeElement; return document.querySelector('#hub-live')"
            ".contains(e) ? [e.href || e.textContent, getComputedStyle(e).outlineStyle] : null })()"
        )
        if focused:
            assert focused[1] != "none", focused
            reached.add(focused[0])
    links = page.evaluate("[...document.querySelectorAll('#hub-live a')].map((each) => each.href)")
    assert set(links) <= reached


def test_a_state_is_a_word_and_a_sign_not_only_a_colour(sign_in):
    page = sign_in()
    for label in page.locator(".hub-card header span.uppercase").all():
        assert re.fullmatch(r"\s*\w+\s*no signals yet\s*", label.text_content())


def test_on_a_phone_no_word_runs_into_the_next(sign_in, redis_client):
    page = sign_in(width=390)
    page.wait_for_selector("[data-part=streams] >> text=no consumers")
    wider = "all => all.filter(each => each.scrollWidth > each.clientWidth).map(each => each.innerText)"
    assert page.eval_on_selector_all(".hub-table td", wider) == []

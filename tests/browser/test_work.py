"""An operator at work: a dead letter replayed, a key created and used, a symbol mapped."""

from __future__ import annotations

import re
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from aggregator.ledger.entries import Entry
from aggregator.models import AlertChannel, DeadLetter, SymbolAlias, TradingSignal, WorkerLoop
from tests.aggregator.ledger.samples import record_and_count
from tests.browser.test_dashboard import signal


def test_a_dead_letter_is_replayed(sign_in, transactional_db):
    record_and_count([Entry(signal("late", action="HODL").encode())], "redis")
    DeadLetter.objects.update(raw=signal("late").encode())  # as if the hub had learned the action since
    page = sign_in()
    page.get_by_role("link", name="1 unresolved dead letter").click()
    page.get_by_role("link", name="Replay invalid_value of agent-crypto").click()
    page.get_by_role("button", name="Replay").click()
    page.get_by_text("Done: 1 recorded, 0 already recorded").wait_for()
    assert TradingSignal.objects.get().signal_id == "late"
    page.get_by_role("link", name="Back to the list").click()
    assert DeadLetter.objects.filter(resolved_at=None).count() == 0


def test_a_key_is_created_and_used(sign_in, hub):
    page = sign_in()
    page.goto("/admin/aggregator/apikey/add/")
    page.fill("[name=name]", "Desk one")
    page.get_by_role("button", name="Create key").click()
    page.get_by_text("Copy both now.").wait_for()
    snippet = page.get_by_label("curl", exact=True).inner_text()
    page.get_by_role("button", name="Copy: curl").click()
    page.get_by_role("button", name="Copy: curl").get_by_text("Copied").or_(
        page.get_by_role("button", name="Copy: curl").get_by_text("Ctrl+C")
    ).wait_for()
    sent = subprocess.run(["/bin/sh"], input=snippet, capture_output=True, text=True, timeout=120, check=True)
    assert '"accepted":1' in sent.stdout
    page.get_by_role("link", name="I have copied them").click()
    page.get_by_text("Active").first.wait_for()
    page.get_by_role("link", name="Revoke").first.click()
    page.get_by_role("button", name="Revoke").click()
    page.get_by_text(re.compile("^revoked$", re.IGNORECASE)).first.wait_for()


@pytest.mark.parametrize("width", [1360, 390])
def test_a_symbol_is_mapped_in_one_click(sign_in, transactional_db, redis_client, width):
    record_and_count([Entry(signal(name, symbol="tBTCUSD").encode()) for name in "ab"], "redis")
    # Two checks have something to report: their banners leave room for the cards.
    at = datetime.now(UTC) - timedelta(hours=1)
    WorkerLoop.objects.create(worker="w-1", loop="streams", seen_at=at, ok_at=at, crashes=0, problem="")
    AlertChannel.objects.create(name="desk", encrypted_url=b"unreadable", last_error="rejected")
    page = sign_in(width)
    page.locator(".hub-many").wait_for()
    assert page.locator(".hub-card").first.bounding_box()["y"] < 450
    page.get_by_role("link", name="1 unmapped symbol").click()
    page.get_by_role("button", name="Map to BTC/USD").click()
    page.get_by_text("2 signals updated to BTC/USD").wait_for()
    assert SymbolAlias.objects.get().instrument == "BTC/USD"
    assert set(TradingSignal.objects.values_list("instrument", flat=True)) == {"BTC/USD"}

"""Track records in a browser: the operator's pages and the public ones; WCAG, widths, and the keyboard."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from aggregator.models import Agent
from tests.aggregator.track_record.recording import T0, call, candle_rows, insert, score
from tests.browser.test_accessibility import DESKTOP, PHONE, checker  # noqa: F401 - a fixture


def test_calls_are_shown_to_operators_and_to_everybody(checker):  # noqa: F811
    page, both = checker.page, (DESKTOP, PHONE)
    bracket = {"entry_price": 100, "stop_loss": 98, "take_profit": 104}
    call(**bracket)
    call(symbol="ETH/USDT", **bracket)
    insert(candle_rows("100.5/101/100/101 · 101/104.5/101/104"))
    insert(candle_rows("100.5/101/100/101"), instrument="ETH/USDT")
    insert(candle_rows("101/101/99/99.5", T0 + timedelta(days=3)), instrument="ETH/USDT")
    score()
    now = timezone.now()
    agent = Agent.objects.create(
        ecosystem="crypto", agent_source="bot", first_seen=now, last_seen=now, last_transport="redis",
        published_at=now,
    )  # fmt: skip
    checker.open(f"/admin/aggregator/agent/{agent.pk}/change/", both)
    page.get_by_role("link", name="BUY market BTC/USDT").click()
    page.wait_for_selector("#hub-candles canvas")
    checker.here("the outcome of a call")
    page.focus("#hub-candles")
    page.keyboard.press("ArrowLeft")
    said = page.locator("#hub-candle")
    said.get_by_text("2026-01-05 12:01: open 100.5, high 101.0, low 100.0, close 101.0, entry").wait_for()
    page.keyboard.press("End")
    said.get_by_text("close 104.0, exit: target").wait_for()
    for key in ("+", "-", "0", "Tab"):
        page.keyboard.press(key)
    assert page.evaluate("document.activeElement.textContent") == "TradingView"
    for path in ("/record/", "/record/crypto/bot", "/record/crypto/bot?embed=1"):
        checker.open(path, both)
    assert checker.found == {}

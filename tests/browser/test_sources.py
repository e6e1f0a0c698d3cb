"""Sources in a browser: from the URL to a mapping edited with its preview; WCAG, and a phone's width."""

from __future__ import annotations

import json

from aggregator.models import Source, TradingSignal
from tests.aggregator.ingest.senders import as_bytes
from tests.browser.test_accessibility import DESKTOP, PHONE, checker  # noqa: F401 - a fixture
from tests.servers import eventually

ALERT = {
    "ticker": "BTCUSDT",
    "exchange": "BINANCE",
    "action": "buy",
    "close": "64250.10",
    "timenow": "2026-01-02T03:04:05Z",
}


def test_a_source_from_its_creation_to_a_mapping_of_its_own(checker, hub):  # noqa: F811
    page, both = checker.page, (DESKTOP, PHONE)
    checker.open("/admin/aggregator/source/add/", both)
    page.get_by_label("Name").fill("tradingview-btc")
    page.get_by_label("Preset").select_option("tradingview")
    page.get_by_role("button", name="Create source").click()
    page.get_by_text("Copy the URL now.").wait_for()
    checker.here("created")
    url = page.locator("code").first.text_content()
    for content in (as_bytes(ALERT), as_bytes(ALERT | {"action": "hodl"}), b"sell ETHUSDT"):
        eventually(lambda content=content: page.request.post(url, data=content).status != 503)
    assert TradingSignal.objects.count() == 2
    source = Source.objects.get()
    checker.open(f"/admin/aggregator/source/{source.pk}/change/", both)
    page.get_by_role("link", name="Try the mapping").nth(1).click()
    preview = page.locator("#hub-preview")
    preview.get_by_text("unmapped_value").wait_for()
    checker.here("mapping, a dead letter")
    mapping = page.get_by_label("Mapping", exact=True)
    mapping.fill(mapping.input_value().replace('buy = "BUY"', 'hodl = "HOLD", buy = "BUY"'))
    preview.get_by_text("HOLD").wait_for()
    checker.here("mapping, a signal")
    page.get_by_label("Body", exact=True).fill(json.dumps(ALERT | {"ticker": "<b>x</b>"}))
    preview.get_by_text("<b>x</b>").first.wait_for()
    mapping.fill("fields = 1")
    preview.get_by_text("fields: a table").wait_for()
    page.get_by_role("button", name="Back to the preset's").click()
    preview.get_by_text("BUY").wait_for()
    page.get_by_role("button", name="Save mapping").click()
    page.get_by_text("The mapping is saved.").wait_for()
    assert Source.objects.get().mapping == ""
    checker.open("/admin/aggregator/source/", both)
    assert checker.found == {}

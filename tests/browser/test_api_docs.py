"""The documentation of the API in a real browser, which loads nothing from elsewhere."""

from urllib.parse import urlsplit

from tests.servers import WAIT_TIMEOUT_S, WEBHOOK_SECRET


def test_it_shows_the_operations_and_loads_nothing_from_elsewhere(chromium, live_hub):
    url = live_hub()
    asked = []
    page = chromium.new_page()
    page.set_default_timeout(WAIT_TIMEOUT_S * 1000)
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: asked.append(f"error: {error}"))
    page.goto(f"{url}/api/docs/")
    page.get_by_text("Read the feed").first.wait_for()
    page.get_by_text("Read the feed").first.click()
    page.get_by_text("Signals in the order they were recorded").wait_for()
    page.wait_for_load_state("networkidle")
    page.close()
    elsewhere = [
        address
        for address in asked
        if urlsplit(address).netloc != urlsplit(url).netloc and address[:5] != "data:"
    ]
    assert len(asked) > 4
    assert elsewhere == []


def test_a_producer_tries_the_webhook_with_a_signature_made_in_the_page(chromium, live_hub, transactional_db):
    url = live_hub()
    sent = []
    page = chromium.new_page()
    page.set_default_timeout(WAIT_TIMEOUT_S * 1000)
    page.on(
        "request", lambda request: sent.append(request.all_headers()) if request.method == "POST" else None
    )
    page.goto(f"{url}/api/docs/#/producers/send_signals")
    page.get_by_role("button", name="Authorize").first.click()
    page.locator(".auth-container", has_text="webhook-signature").get_by_role("textbox").fill(WEBHOOK_SECRET)
    page.locator(".auth-container", has_text="webhook-signature").get_by_role("button", name="Apply").click()
    page.locator(".modal-ux").get_by_role("button", name="Close").last.click()
    operation = page.locator("#operations-producers-send_signals")
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_role("button", name="Execute").click()
    operation.locator(".live-responses-table .response-col_status", has_text="202").wait_for()
    command = operation.locator(".curl-command").inner_text()
    page.close()
    assert "webhook-signature: v1," in command
    assert WEBHOOK_SECRET not in command
    assert WEBHOOK_SECRET not in str(sent)
    from aggregator.models import TradingSignal

    assert TradingSignal.objects.count() == 1

"""The documentation of the API in a real browser, which loads nothing from elsewhere."""

from urllib.parse import urlsplit

from tests.servers import WAIT_TIMEOUT_S


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

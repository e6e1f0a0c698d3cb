"""The operator's own pages of commerce in a real browser; its lists and forms are checked with all others."""

from __future__ import annotations

import pytest

from tests.browser import accessibility
from tests.browser.test_customer import add_usage_and_endpoints
from tests.commerce.webhooks.pushing import customer


@pytest.mark.parametrize(("width", "dark"), [(1360, False), (390, True)])
def test_pages_fit_their_width_and_can_be_used(sign_in, transactional_db, width, dark):
    person = customer("anna@example.com")
    person.issue_key("bot")
    add_usage_and_endpoints(person)
    base = "/admin/commerce"
    paths = (f"{base}/customer/overview/", f"{base}/customer/{person.pk}/account/")
    page = sign_in(width, dark=dark)
    found = {}
    for path in paths:
        page.goto(path)
        page.wait_for_load_state("networkidle")
        overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        wrong = accessibility.accessibility_violations(page)
        if wrong or overflow > 0:
            found[path] = (overflow, wrong)
    assert found == {}

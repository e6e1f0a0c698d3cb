"""WCAG A and AA, by axe-core, on every page of the operator: light and dark, desktop and phone."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.test import RequestFactory
from django.urls import reverse
from django.utils import timezone

from aggregator.ledger.entries import Entry
from tests.aggregator.ledger.samples import record_and_count
from tests.browser.accessibility import accessibility_violations
from tests.browser.conftest import PASSWORD
from tests.browser.test_dashboard import signal

DESKTOP, PHONE = 1360, 390


class Checker:
    """Opens pages and collects the violations on each in `found`."""

    def __init__(self, page) -> None:
        self.page = page
        self.found: dict[str, list[str]] = {}

    def open(self, path: str, widths: tuple[int, ...] = (DESKTOP,)) -> None:
        assert self.page.goto(path).status == 200, path
        self.here(path, widths)

    def here(self, name: str, widths: tuple[int, ...] = (DESKTOP, PHONE)) -> None:
        """Check the open page at these widths; that nothing is cut off, at both."""
        wrong = []
        for width in (PHONE, DESKTOP):
            self.page.set_viewport_size({"width": width, "height": 900})
            beyond = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
            wrong += [f"{width} {beyond} px too wide"] if beyond > 0 else []
            # The theme's own switch does no more to a page than this.
            for theme in ("", "dark") if width in widths else ():
                self.page.evaluate(f"document.documentElement.className = '{theme}'")
                violations = accessibility_violations(self.page, colours_only=theme == "dark")
                wrong += [f"{width} {theme} {each}" for each in violations]
        if wrong:
            self.found[name] = wrong


@pytest.fixture
def checker(sign_in):
    return Checker(sign_in())


def test_the_dashboard_and_the_sign_in_page(checker, operator, redis_client):
    checker.here("first use")
    bad = Entry(signal("bad", action="HODL").encode())
    record_and_count([Entry(signal("good").encode()), bad], "webhook")
    checker.page.get_by_role("link", name="agent-crypto").wait_for()
    checker.here("with signals")
    operator.set_password(PASSWORD)
    operator.save()
    checker.page.context.clear_cookies()
    checker.open("/admin/login/", (DESKTOP, PHONE))
    checker.page.fill("[name=username]", "olga")
    checker.page.fill("[name=password]", "wrong")
    checker.page.press("[name=password]", "Enter")
    checker.page.get_by_text("correct username and password").first.wait_for()
    checker.here("a wrong password")
    checker.page.fill("[name=password]", PASSWORD)
    checker.page.press("[name=password]", "Enter")
    checker.page.wait_for_selector("#hub-live")
    assert checker.found == {}


def test_a_key_that_was_just_created(checker):
    checker.page.goto("/admin/aggregator/apikey/add/")
    checker.page.fill("[name=name]", "Desk two")
    checker.page.click("[name=_save]")
    checker.page.get_by_text("Copy both now.").wait_for()
    checker.here("value and snippets")
    checker.page.get_by_role("link", name="I have copied them").click()
    for change in ("Rotate", "Revoke"):
        checker.page.get_by_role("link", name=change).first.click()
        checker.page.get_by_role("button", name=change).wait_for()
        checker.here(change)
        checker.page.go_back()
    assert checker.found == {}


def test_every_list_form_and_row(checker, operator):
    bad = [signal("bad", action="HODL"), signal("odd", symbol="tBTCUSD"), signal("good")]
    record_and_count([Entry(each.encode()) for each in [*bad, bad[-1]]], "webhook")
    add_rows_to_the_other_lists()
    for path in [
        "/admin/password_change/",
        reverse("admin:aggregator_deadletter_replay"),
        *pages_of_models(operator),
    ]:
        checker.open(path)
    assert checker.found == {}


def add_rows_to_the_other_lists() -> None:
    from django.conf import settings
    from django.contrib.auth.models import Group

    from aggregator.http import api_keys
    from aggregator.models import Alert, AlertChannel, AlertPolicy, ApiKey
    from tests.commerce.webhooks.pushing import customer

    api_keys.auth_manager(settings.ENVIRONMENT).issue(ApiKey(key_id="desk", name="Desk", scopes=["publish"]))
    now = timezone.now()
    Alert.objects.create(rule="refusals", subject="a", text="Many.", since=now, found_at=now, fired_at=now)
    AlertPolicy.current()
    AlertChannel.objects.create(name="night desk", encrypted_url=b"unreadable")
    Group.objects.create(name="traders")
    customer("anna@example.com").issue_key("Anna's bot")


def pages_of_models(operator) -> list[str]:
    """Return each model's list, add form and first row, and one history, which has no fields."""
    request = RequestFactory().get("/")
    request.user = operator
    found = [reverse("admin:auth_user_history", args=[operator.pk])]
    for model, page in admin.site._registry.items():
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        found.append(reverse(f"{name}_changelist"))
        if page.has_add_permission(request):
            found.append(reverse(f"{name}_add"))
        if (row := model.objects.first()) is not None:
            found.append(reverse(f"{name}_change", args=[row.pk]))
    return found

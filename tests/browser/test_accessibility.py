"""WCAG A and AA, by axe-core, on every page an operator sees: light and dark, on a desk and on a phone."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.test import RequestFactory
from django.urls import reverse
from django.utils import timezone

from aggregator import ledger
from aggregator.ledger.entries import Entry
from tests.browser.accessibility import faults
from tests.browser.conftest import PASSWORD
from tests.browser.test_dashboard import signal

DESK, PHONE = 1360, 390


class Judge:
    """Opens pages and notes what is wrong with each in `found`."""

    def __init__(self, page) -> None:
        self.page = page
        self.found: dict[str, list[str]] = {}

    def open(self, path: str, widths: tuple[int, ...] = (DESK,)) -> None:
        assert self.page.goto(path).status == 200, path
        self.here(path, widths)

    def here(self, name: str, widths: tuple[int, ...] = (DESK, PHONE)) -> None:
        """Judge what is open now, at these widths; that nothing is cut off, at both."""
        wrong = []
        for width in (PHONE, DESK):
            self.page.set_viewport_size({"width": width, "height": 900})
            beyond = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
            wrong += [f"{width} {beyond} px too wide"] if beyond > 0 else []
            # The theme's own switch does no more to a page than this.
            for theme in ("", "dark") if width in widths else ():
                self.page.evaluate(f"document.documentElement.className = '{theme}'")
                wrong += [f"{width} {theme} {fault}" for fault in faults(self.page)]
        if wrong:
            self.found[name] = wrong


@pytest.fixture
def judge(sign_in):
    return Judge(sign_in())


def test_the_dashboard_and_the_way_in(judge, operator, redis_client):
    judge.here("first use")
    ledger.record([Entry(signal("good").encode()), Entry(signal("bad", action="HODL").encode())], "webhook")
    judge.page.get_by_role("link", name="agent-crypto").wait_for()
    judge.here("with signals")
    operator.set_password(PASSWORD)
    operator.save()
    judge.page.context.clear_cookies()
    judge.open("/admin/login/", (DESK, PHONE))
    judge.page.fill("[name=username]", "olga")
    judge.page.fill("[name=password]", "wrong")
    judge.page.press("[name=password]", "Enter")
    judge.page.get_by_text("correct username and password").first.wait_for()
    judge.here("a wrong password")
    judge.page.fill("[name=password]", PASSWORD)
    judge.page.press("[name=password]", "Enter")
    judge.page.wait_for_selector("#hub-live")
    assert judge.found == {}


def test_a_key_that_was_just_made(judge):
    judge.page.goto("/admin/aggregator/apikey/add/")
    judge.page.fill("[name=name]", "Desk two")
    judge.page.click("[name=_save]")
    judge.page.get_by_text("Copy both now.").wait_for()
    judge.here("value and snippets")
    judge.page.get_by_role("link", name="I have copied them").click()
    for change in ("Rotate", "Revoke"):
        judge.page.get_by_role("link", name=change).first.click()
        judge.page.get_by_role("button", name=change).wait_for()
        judge.here(change)
        judge.page.go_back()
    assert judge.found == {}


def test_every_list_form_and_row(judge, operator):
    bad = [signal("bad", action="HODL"), signal("odd", symbol="tBTCUSD"), signal("good")]
    ledger.record([Entry(each.encode()) for each in [*bad, bad[-1]]], "webhook")
    fill_the_other_lists()
    for path in [
        "/admin/password_change/",
        reverse("admin:aggregator_deadletter_replay"),
        *of_models(operator),
    ]:
        judge.open(path)
    assert judge.found == {}


def fill_the_other_lists() -> None:
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


def of_models(operator) -> list[str]:
    """Return each model's list, form to add and first row, and one history, which has no fields."""
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

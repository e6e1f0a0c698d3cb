"""A new customer in a real browser: pricing, account, payment, key, feed, own webhook receiver."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
import requests
from django.utils import timezone
from standardwebhooks import Webhook

from aggregator import followers
from commerce.models import Attempt, Customer, Endpoint, Message, Plan, UsageDay
from commerce.pages import authentication
from tests.browser import accessibility
from tests.browser.conftest import PASSWORD
from tests.commerce.billing.local_stripe import API_KEY, WEBHOOK_SECRET, event, local_stripe, send
from tests.commerce.webhooks.pushing import customer, record
from tests.commerce.webhooks.receiver import receiver
from tests.servers import WAIT_TIMEOUT_S, eventually

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def visit(chromium, hub, complaints):
    """Open a page of the hub: `visit("/plans/", width=390)`; errors in its console fail the test."""
    contexts = []

    def do(path: str, width: int = 1280, *, dark: bool = False):
        scheme = "dark" if dark else "light"
        viewport = {"width": width, "height": 900}
        context = chromium.new_context(viewport=viewport, color_scheme=scheme, base_url=hub)
        contexts.append(context)
        context.set_default_timeout(WAIT_TIMEOUT_S * 1000)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.on("request", lambda sent: _note_foreign(sent.url, complaints))
        page.goto(path)
        return page

    yield do
    for context in contexts:
        context.close()


def _note_foreign(url: str, complaints: list[str]) -> None:
    if not url.startswith(("http://127.0.0.1:", "data:", "blob:")):
        complaints.append(f"requested {url}")


@pytest.fixture
def stripe():
    """Stand in for Stripe, with pages of one button each, which pays or cancels and leads back."""
    with local_stripe() as server:
        yield server


@pytest.fixture
def hub(live_hub, stripe, redis_client) -> str:
    """A running hub with payment, which writes mails to its log and may send webhooks to this machine."""
    url = live_hub(
        DJANGO_DEBUG="1",
        EMAIL_URL="console:",
        CORE_DELIVERY_NETWORKS="127.0.0.0/8",
        STRIPE_API_KEY=API_KEY,
        STRIPE_WEBHOOK_SECRET=WEBHOOK_SECRET,
        STRIPE_API_BASE=stripe.base,
    )
    stripe.hub = url
    return url


def request_link(page, hub: str, tmp_path, email: str) -> str:
    """Request a link, and return it from the hub's log."""
    if "/account/sign-in" not in page.url:
        page.goto("/account/sign-in")
    page.fill("#link_email", email)
    page.get_by_role("button", name="Send link").click()
    page.get_by_role("heading", name="Check your inbox").wait_for()

    def link() -> str | None:
        logs = "".join(path.read_text(errors="replace") for path in tmp_path.glob("program-*.log"))
        found = re.search(rf"{re.escape(hub)}/account/sign-in/\S+", logs)
        return found and found[0]

    return eventually(link)


def feed(hub: str, key: str) -> list[str]:
    answer = requests.get(f"{hub}/api/v1/signals", headers={"Authorization": f"Bearer {key}"}, timeout=60)
    return [signal["signal_id"] for signal in answer.json()["signals"]]


def test_from_the_pricing_page_to_signals_in_a_webhook_receiver(visit, hub, stripe, run_manage, tmp_path):
    Plan.objects.create(slug="pro", name="Pro", price=Decimal("29.99"), webhooks=2)
    page = visit("/plans/")
    page.get_by_role("button", name="Choose Pro").click()
    page.get_by_role("heading", name="Sign in").wait_for()
    page.goto(request_link(page, hub, tmp_path, "new@example.com"))
    page.get_by_role("button", name=re.compile("^Sign in as ")).click()
    page.get_by_role("button", name="Choose Pro").click()
    stripe.hub = None  # Stripe's events are late
    page.get_by_role("button", name="Pay").click()
    page.get_by_text("Your payment is being confirmed").wait_for()
    [paid] = stripe.subscriptions.values()
    assert send(hub, event("customer.subscription.created", paid)) == "none → active"
    page.get_by_role("link", name="Refresh").click()
    page.get_by_text("Active, paid until").wait_for()
    page.get_by_text("29.99 USD per month").wait_for()

    page.get_by_label("Key name").fill("my bot")
    page.get_by_role("button", name="Create key").click()
    key = page.locator("code").first.inner_text()
    record("first")
    assert feed(hub, key) == ["first"]

    page.get_by_role("link", name="Back to account").click()
    with receiver() as inbox:
        page.get_by_label("Destination").fill(inbox.url())
        page.get_by_role("button", name="Add endpoint").click()
        secret = page.locator("code").first.inner_text()
        worker = run_manage(
            "run_worker", "--only", "webhooks", DJANGO_DEBUG="1", CORE_DELIVERY_NETWORKS="127.0.0.0/8"
        )
        record("second")
        worker.until(lambda: inbox.received)
        [request] = inbox.received
        data = Webhook(secret).verify(request.body, request.headers)["data"]
        assert data["signal_id"] == "second"
        assert worker.stop() == 0
    page.get_by_role("link", name="Back to account").click()
    page.get_by_role("cell", name=re.compile(r"^200, \d+ ms$")).wait_for()
    stripe.hub = hub
    page.get_by_role("button", name="Manage billing").click()
    page.get_by_role("button", name="Cancel at the period's end").click()
    page.get_by_text("Active, ends on").wait_for()
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="Revoke").click()
    assert feed(hub, key)
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Revoke").click()
    page.get_by_text("revoked.").wait_for()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("heading", name="Pricing").wait_for()


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_pages_fit_their_width_and_can_be_used(visit, hub, complaints, tmp_path, width, dark):
    """Pages of a new customer without anything, and of one with keys, endpoints and deliveries."""
    person = customer("anna@example.com", description="A plan " * 20)
    user = authentication.user_for(person)
    user.set_password(PASSWORD)
    user.save()
    page = visit("/account/sign-in", width, dark=dark)
    assert_usable(page, width)
    link = request_link(page, hub, tmp_path, "new@example.com")
    assert_usable(page, width)
    page.goto(link)
    assert_usable(page, width)
    page.get_by_role("button", name=re.compile("^Sign in as ")).click()
    page.get_by_text("You have no plan").wait_for()
    assert_usable(page, width)
    page.get_by_role("button", name="Sign out").click()
    page.goto("/account/sign-in")
    form = page.locator("form").filter(has=page.locator("input[type=password]"))
    form.get_by_label("E-mail").fill("anna@example.com")
    form.get_by_label("Password").fill("wrong")
    form.get_by_role("button", name="Sign in").click()
    page.get_by_text("Incorrect e-mail address or password.").wait_for()
    assert "400" in complaints.pop()
    assert_usable(page, width)
    form.get_by_label("E-mail").fill("anna@example.com")
    form.get_by_label("Password").fill(PASSWORD)
    form.get_by_role("button", name="Sign in").click()
    page.get_by_label("Key name").fill("averylongnamewithoutanyspace" * 2)
    page.get_by_role("button", name="Create key").click()
    page.get_by_text("Copy it now. It won't be shown again.").wait_for()
    assert_usable(page, width)
    add_usage_and_endpoints(person)
    page.goto("/account/")
    page.get_by_text("Recent deliveries").first.wait_for(state="attached")
    assert_usable(page, width)
    page.get_by_label("Destination").fill("ftp://example.com/typed")
    page.get_by_role("button", name="Add endpoint").click()
    page.get_by_text("begins with https").wait_for()
    assert "400" in complaints.pop()
    assert page.get_by_label("Destination").input_value() == "ftp://example.com/typed"
    assert_usable(page, width)
    page.goto("/plans/")
    page.get_by_text("Current plan").wait_for()
    assert_usable(page, width)
    assert page.locator("html").evaluate("root => root.classList.contains('dark')") is dark


def add_usage_and_endpoints(person: Customer) -> None:
    """Add usage, and endpoints in each state with deliveries."""
    UsageDay.objects.create(customer=person, day=timezone.now().date(), requests=12, signals=250)
    for number, state in enumerate(("active", "paused", "disabled")):
        followers.create(f"endpoint:we_{number}")
        endpoint = Endpoint.objects.create(
            customer=person,
            public_id=f"we_{number}",
            cursor_id=f"endpoint:we_{number}",
            channel="webhook",
            label="https://a-long-name-of-a-server.example.com",
            encrypted_address=b"x",
            state=state,
            reason="The endpoint answered 410." if state == "disabled" else "",
            failing_since=timezone.now(),
        )
        sent = Message.objects.create(
            endpoint=endpoint, message_id=f"msg_{number}" * 4, state="failed", attempt_count=1
        )
        Attempt.objects.create(
            message=sent, number=1, status=0, error="no answer within 15 s", duration_ms=15_000
        )


def assert_usable(page, width: int) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= width, page.url
    assert accessibility.accessibility_violations(page) == [], page.url

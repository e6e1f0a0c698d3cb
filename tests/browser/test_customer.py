"""A new customer in a real browser: prices, account, payment, key, feed, own webhook receiver."""

from __future__ import annotations

import json
import re
from decimal import Decimal

import pytest
import requests
from standardwebhooks import Webhook

from commerce.models import Customer, Plan
from commerce.pages import signin
from tests.browser.conftest import CONTRAST, PASSWORD
from tests.commerce.local_stripe import API_KEY, WEBHOOK_SECRET, event, local_stripe, signature
from tests.commerce.pushing import customer, record
from tests.commerce.receiver import Answering, receiver
from tests.servers import eventually

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def visit(chromium, hub, complaints):
    """Open a page of the hub: `visit("/plans/", width=390)`; what it complains about fails the test."""
    contexts = []

    def do(path: str, width: int = 1280, *, dark: bool = False):
        scheme = "dark" if dark else "light"
        viewport = {"width": width, "height": 900}
        context = chromium.new_context(viewport=viewport, color_scheme=scheme, base_url=hub)
        contexts.append(context)
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
        complaints.append(f"asked for {url}")


@pytest.fixture
def stripe():
    """A stand-in whose checkout page has one button: it pays, and leads back."""
    with local_stripe() as server, receiver() as till:
        inner = server.answer

        def answer(request):
            answered = inner(request)
            if request.path.startswith("/v1/checkout"):
                body = json.loads(answered.body) | {"url": till.url("/pay")}
                return Answering(200, answered.headers, json.dumps(body).encode())
            return answered

        def pay(_request):
            back = server.sessions[-1]["success_url"]
            link = f'<!doctype html><link rel="icon" href="data:,"><a href="{back}">Pay</a>'
            return Answering(headers={"Content-Type": "text/html"}, body=link.encode())

        server.server.answer = answer
        till.answer = pay
        yield server


@pytest.fixture
def hub(live_hub, stripe, redis_client) -> str:
    """A running hub that takes payment, mails into its log, and may push to this machine."""
    return live_hub(
        DJANGO_DEBUG="1",
        EMAIL_URL="console:",
        CORE_DELIVERY_NETWORKS="127.0.0.0/8",
        STRIPE_API_KEY=API_KEY,
        STRIPE_WEBHOOK_SECRET=WEBHOOK_SECRET,
        STRIPE_API_BASE=stripe.base,
    )


def sign_up_by_link(page, hub: str, tmp_path, email: str) -> None:
    """Ask for a link, and take it from the hub's log."""
    page.goto("/account/sign-in")
    page.fill("#link_email", email)
    page.get_by_role("button", name="Send me a link").click()
    page.get_by_role("heading", name="A link is on its way").wait_for()

    def link() -> str | None:
        logs = "".join(path.read_text(errors="replace") for path in tmp_path.glob("program-*.log"))
        found = re.search(rf"{re.escape(hub)}/account/sign-in/\S+", logs)
        return found and found[0]

    page.goto(eventually(link))
    page.get_by_role("button", name="Sign me in").click()
    page.get_by_role("heading", name="Account").wait_for()


def feed(hub: str, key: str) -> list[str]:
    answer = requests.get(f"{hub}/api/v1/signals", headers={"Authorization": f"Bearer {key}"}, timeout=10)
    return [signal["signal_id"] for signal in answer.json()["signals"]]


def tell_the_hub(hub: str, body: bytes) -> str:
    headers = {"Stripe-Signature": signature(body), "Content-Type": "application/json"}
    return requests.post(f"{hub}/api/stripe", body, headers=headers, timeout=10).json()["outcome"]


def test_from_the_price_list_to_signals_in_ones_own_receiver(visit, hub, stripe, run_manage, tmp_path):
    Plan.objects.create(slug="pro", name="Pro", price=Decimal("29.99"), webhooks=2)
    page = visit("/plans/")
    page.get_by_role("button", name="Choose Pro").click()
    page.get_by_role("heading", name="Sign in").wait_for()
    sign_up_by_link(page, hub, tmp_path, "new@example.com")

    page.get_by_role("link", name="See the prices").click()
    page.get_by_role("button", name="Choose Pro").click()
    page.get_by_role("link", name="Pay").click()
    page.get_by_text("Your payment is being confirmed").wait_for()
    buyer = Customer.objects.get()
    paid = stripe.subscribe(buyer.pk, plan=stripe.sessions[-1]["subscription_data[metadata][plan]"])
    assert tell_the_hub(hub, event("customer.subscription.created", paid)) == "none → active"
    page.reload()
    page.get_by_text("Active, paid until").wait_for()

    page.get_by_label("What it is for").fill("my bot")
    page.get_by_role("button", name="Make a key").click()
    key = page.locator("code").first.inner_text()
    record("first")
    assert feed(hub, key) == ["first"]

    page.get_by_role("link", name="Back to the account").click()
    with receiver() as inbox:
        page.get_by_label("Address").fill(inbox.url())
        page.get_by_role("button", name="Add").click()
        secret = page.locator("code").first.inner_text()
        worker = run_manage("deliver_webhooks", DJANGO_DEBUG="1", CORE_DELIVERY_NETWORKS="127.0.0.0/8")
        record("second")
        worker.until(lambda: inbox.received, 30)
        [request] = inbox.received
        data = Webhook(secret).verify(request.body, request.headers)["data"]
        assert data["signal_id"] == "second"
        assert worker.stop() == 0
    page.get_by_role("link", name="Back to the account").click()
    page.get_by_role("cell", name=re.compile(r"^200, \d+ ms$")).wait_for()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("heading", name="Prices").wait_for()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_pages_fit_their_width_and_can_be_read(visit, width, dark):
    person = customer("anna@example.com", description="A plan " * 20)
    person.issue_key("averylongnamewithoutanyspace" * 2)
    user = signin.user_of(person)
    user.set_password(PASSWORD)
    user.save()
    page = visit("/account/sign-in", width, dark=dark)
    assert_fits(page, width)
    form = page.locator("form").filter(has=page.locator("input[type=password]"))
    form.get_by_label("E-mail").fill("anna@example.com")
    form.get_by_label("Password").fill(PASSWORD)
    form.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Account").wait_for()
    assert_fits(page, width)
    page.goto("/plans/")
    page.get_by_role("heading", name="Prices").wait_for()
    assert_fits(page, width)
    assert page.locator("html").evaluate("root => root.classList.contains('dark')") is dark


def assert_fits(page, width: int) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= width, page.url
    seen = page.evaluate(CONTRAST)
    assert seen["looked"] > 5
    assert seen["found"] == [], page.url

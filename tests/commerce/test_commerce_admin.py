"""The operator's pages of commerce."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from commerce import overview
from commerce.models import Attempt, Customer, Delivery, Endpoint, Plan, StripeEvent, Subscription, UsageDay
from tests.commerce.pushing import customer, deliver, endpoint, local, record
from tests.commerce.receiver import Answering, receiver

pytestmark = pytest.mark.django_db(transaction=True)

NOW = timezone.now()


@pytest.fixture
def operator(client):
    client.force_login(
        User.objects.create_superuser("operator", "op@example.com", "x"),
        "django.contrib.auth.backends.ModelBackend",
    )
    return client


def paying(price: str, **fields):
    plan = fields.pop("plan", {})
    person = customer(price=Decimal(price), **plan)
    Subscription.objects.filter(customer=person).update(started_at=NOW - timedelta(days=100), **fields)
    return person


def test_revenue_counts_what_is_paid_now_by_the_month_and_currency():
    paying("10")
    paying("120", plan={"interval": "year"})
    paying("7", plan={"currency": "EUR"})
    paying("30", state="past_due")
    paying("50", state="trialing")
    paying("60", state="cancelled", cancelled_at=NOW - timedelta(days=40), ends_at=NOW - timedelta(days=40))
    paying("70", state="expired", grace_until=NOW - timedelta(days=40))
    paying("0")
    assert overview.monthly_revenue(NOW) == {"EUR": Decimal("7.00"), "USD": Decimal("50.00")}
    assert overview.monthly_revenue(NOW - timedelta(days=50))["USD"] == Decimal("180.00")
    assert overview.monthly_revenue(NOW - timedelta(days=101)) == {}


def test_a_cancelled_one_counts_until_its_end():
    paying("10", cancelled_at=NOW - timedelta(days=3), ends_at=NOW + timedelta(days=20))
    assert overview.monthly_revenue(NOW) == {"USD": Decimal("10.00")}


def test_the_overview_shows_revenue_usage_and_deliveries(operator, settings):
    local(settings)
    person = paying("1250.50")
    UsageDay.objects.create(customer=person, day=timezone.now().date(), requests=7, signals=4319)
    with receiver() as inbox:
        endpoint(person, inbox.url("/good"))
        endpoint(person, inbox.url("/bad"))
        inbox.answer = lambda request: Answering(500 if request.path == "/bad" else 200)
        record("a")
        deliver()
    page = operator.get("/admin/commerce/customer/overview/").content.decode()
    assert "1,250.50" in page
    assert "signals given out: 4,321 today" in page, "with the one that each endpoint got"
    assert "delivered: 1 today" in page
    assert "failed: 1 today" in page


def test_the_overview_of_nothing(operator):
    assert "None yet" in operator.get("/admin/commerce/customer/overview/").content.decode()


def test_the_operator_sees_what_the_customer_sees_and_acts_on_nothing(operator):
    person = customer("anna@example.com", name="Gold")
    person.issue_key("bot")
    page = operator.get(f"/admin/commerce/customer/{person.pk}/seen/").content.decode()
    assert "anna@example.com" in page
    assert "Gold" in page
    assert "bot" in page
    assert "/account/" not in page
    assert operator.get("/admin/commerce/customer/999999/seen/").status_code == 404


def test_a_subscription_is_given_by_hand(operator):
    plan = Plan.objects.create(slug="pro", name="Pro", price=10)
    person = Customer.objects.create(email="a@example.com")
    form = {
        "customer": person.pk,
        "plan": plan.pk,
        "state": "active",
        "started_at_0": "2026-01-01",
        "started_at_1": "00:00:00",
    }
    assert operator.post("/admin/commerce/subscription/add/", form).status_code == 302
    assert person.subscription().plan == plan
    assert operator.post("/admin/commerce/subscription/add/", form).status_code == 200, "only one is live"
    assert Subscription.objects.count() == 1


def test_a_plan_is_changed(operator):
    plan = Plan.objects.create(slug="pro", name="Pro", price=10)
    form = {
        "name": "Pro 2", "slug": "pro", "rank": 1, "price": "12.50", "currency": "USD", "interval": "month",
        "trial_days": 0, "ecosystems": ["crypto"], "instruments": "BTC/*,ETH/*", "delay": "00:15:00",
        "streams": 1, "webhooks": 2,
    }  # fmt: skip
    answer = operator.post(f"/admin/commerce/plan/{plan.pk}/change/", form)
    assert answer.status_code == 302, answer.context["adminform"].form.errors
    plan.refresh_from_db()
    assert (plan.name, plan.price, plan.ecosystems) == ("Pro 2", Decimal("12.50"), ["crypto"])
    assert plan.instruments == ["BTC/*", "ETH/*"]
    assert plan.delay == timedelta(minutes=15)


@pytest.fixture
def everything(settings):
    """A row of each model."""
    local(settings)
    person = customer("anna@example.com")
    with receiver() as inbox:
        inbox.answer = lambda _: Answering(500, body=b"<script>alert(1)</script>")
        endpoint(person, inbox.url("/token-in-path"))
        record("a")
        deliver()
    StripeEvent.objects.create(event_id="evt_1", type="invoice.paid", created_at=timezone.now())


@pytest.mark.parametrize("model", [Plan, Customer, Subscription, Endpoint, Delivery, StripeEvent])
def test_each_list_and_row_is_shown_without_secrets(operator, everything, model):
    base = f"/admin/commerce/{model._meta.model_name}/"
    row = model.objects.get()
    for path in (base, f"{base}?q=anna", f"{base}{row.pk}/change/"):
        page = operator.get(path)
        assert page.status_code == 200, path
        text = page.content.decode()
        assert "token-in-path" not in text
        assert Endpoint.objects.get().sealed not in text
        assert "<script>alert(1)" not in text


def test_a_delivery_shows_its_attempts(operator, everything):
    page = operator.get(f"/admin/commerce/delivery/{Delivery.objects.get().pk}/change/").content.decode()
    assert "&lt;script&gt;" in page
    assert str(Attempt.objects.get().status) in page


@pytest.mark.parametrize("model", ["endpoint", "delivery", "stripeevent"])
def test_what_the_hub_writes_is_not_changed_by_hand(operator, everything, model):
    assert operator.get(f"/admin/commerce/{model}/add/").status_code == 403


def test_customers_do_not_get_in(client):
    from commerce.pages import signin

    person = customer()
    client.force_login(signin.user_of(person), "django.contrib.auth.backends.ModelBackend")
    for path in ("", "overview/", f"{person.pk}/seen/", f"{person.pk}/change/"):
        answer = client.get(f"/admin/commerce/customer/{path}")
        assert answer.status_code == 302
        assert "login" in answer.url


def test_staff_without_the_right_see_no_customers(client):
    person = customer()
    clerk = User.objects.create_user("clerk", is_staff=True)
    client.force_login(clerk, "django.contrib.auth.backends.ModelBackend")
    for path in ("", "overview/", f"{person.pk}/seen/"):
        assert client.get(f"/admin/commerce/customer/{path}").status_code == 403


def test_lists_do_not_ask_more_for_more_rows(operator, django_assert_max_num_queries):
    for _ in range(30):
        customer()
    with django_assert_max_num_queries(12):
        assert operator.get("/admin/commerce/customer/").status_code == 200

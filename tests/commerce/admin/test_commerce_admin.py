"""The admin of commerce."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.utils import timezone

from commerce.admin import revenue
from commerce.billing import subscriptions
from commerce.models import (
    Attempt,
    Customer,
    Endpoint,
    Message,
    Plan,
    StripeEvent,
    Subscription,
    SubscriptionPrice,
    UsageDay,
)
from tests.commerce.billing.local_stripe import API_KEY, local_stripe
from tests.commerce.feed.reading import Reader
from tests.commerce.webhooks.pushing import customer, dispatch, endpoint, local, record
from tests.commerce.webhooks.receiver import Answering, receiver

pytestmark = pytest.mark.django_db(transaction=True)

NOW = timezone.now()


@pytest.fixture
def operator(client):
    client.force_login(
        User.objects.create_superuser("operator", "op@example.com"),
        "django.contrib.auth.backends.ModelBackend",
    )
    return client


def paying(price: str, **fields):
    plan = fields.pop("plan", {})
    person = customer(price=Decimal(price), **plan)
    began = NOW - timedelta(days=100)
    Subscription.objects.filter(customer=person).update(started_at=began, **fields)
    SubscriptionPrice.objects.filter(subscription__customer=person).update(since=began)
    return person


def test_revenue_counts_agreed_prices_by_month_and_currency():
    paying("10")
    paying("120", plan={"interval": "year"})
    paying("7", plan={"currency": "EUR"})
    paying("30", state="past_due")
    paying("60", state="cancelled", cancelled_at=NOW - timedelta(days=40), ends_at=NOW - timedelta(days=40))
    paying("70", state="expired", ends_at=NOW - timedelta(days=40))
    paying("0")
    assert revenue.monthly_revenue(NOW) == {"EUR": Decimal("7.00"), "USD": Decimal("50.00")}
    assert revenue.monthly_revenue(NOW - timedelta(days=50))["USD"] == Decimal("180.00")
    assert revenue.monthly_revenue(NOW - timedelta(days=101)) == {}


def test_a_cancelled_subscription_counts_until_its_end():
    paying("10", cancelled_at=NOW - timedelta(days=3), ends_at=NOW + timedelta(days=20))
    assert revenue.monthly_revenue(NOW) == {"USD": Decimal("10.00")}


def test_the_overview_shows_revenue_usage_and_deliveries(operator, settings):
    local(settings)
    person = paying("1250.50")
    UsageDay.objects.create(customer=person, day=timezone.now().date(), requests=7, signals=4319)
    with receiver() as inbox:
        endpoint(person, inbox.url("/good"))
        endpoint(person, inbox.url("/bad"))
        inbox.answer = lambda request: Answering(500 if request.path == "/bad" else 200)
        record("a")
        dispatch()
    page = operator.get("/admin/commerce/customer/overview/").content.decode()
    assert "1,250.50" in page
    assert "signals: 4,321 today" in page, "including the one sent to each endpoint"
    assert "requests: 7 today" in page
    assert "delivered: 1 today" in page
    assert "failed: 1 today" in page


def test_the_overview_without_customers(operator):
    assert "None" in operator.get("/admin/commerce/customer/overview/").content.decode()


def test_the_operator_sees_the_customers_account_read_only(operator):
    person = customer("anna@example.com", name="Gold")
    person.issue_key("bot")
    page = operator.get(f"/admin/commerce/customer/{person.pk}/account/").content.decode()
    assert "anna@example.com" in page
    assert "Gold" in page
    assert "bot" in page
    assert 'action="/account/' not in page
    for unknown in ("999999", "nobody", "9" * 30):
        assert operator.get(f"/admin/commerce/customer/{unknown}/account/").status_code == 404
    assert operator.session.get("_auth_user_id") == str(User.objects.get(username="operator").pk)
    [entry] = LogEntry.objects.all()
    assert (entry.object_id, entry.change_message) == (str(person.pk), "Viewed the account page.")


def test_an_operator_adds_a_subscription(operator):
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
    assert operator.post("/admin/commerce/subscription/add/", form).status_code == 200, "only one may be live"
    assert Subscription.objects.count() == 1


@pytest.mark.parametrize("sent", ["nobody", "'", "1.5", "9" * 30])
@pytest.mark.parametrize(("model", "field"), [("subscription", "customer"), ("customer", "user")])
def test_a_choice_that_is_no_number_is_no_valid_choice(operator, model, field, sent):
    page = operator.post(f"/admin/commerce/{model}/add/", {field: sent})
    assert page.status_code == 200
    assert "Select a valid choice" in page.content.decode()
    assert operator.get(f"/admin/commerce/{model}/add/", {field: sent}).status_code == 200


def test_a_link_to_an_add_form_sets_what_its_fields_can_hold(operator):
    person = Customer.objects.create(email="a@example.com")
    given = {"customer": person.pk, "prices": "x", "started_at": "tomorrow", "ends_at": "2030-01-01 10:00"}
    page = operator.get("/admin/commerce/subscription/add/", given).content.decode()
    assert f'<option value="{person.pk}" selected' in page
    assert 'value="2030-01-01"' in page
    assert "tomorrow" not in page
    for odd in ("x", "1.5", "", "9999-12-31T23:59:59-14:00"):
        query = {"expires_at": odd, "agents": odd, "scopes": odd, "reader": odd}
        assert operator.get("/admin/aggregator/apikey/add/", query).status_code == 200
    page = operator.get("/admin/aggregator/apikey/add/?scopes=read")
    assert page.context["adminform"].form["scopes"].value() == "read"


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


@pytest.mark.parametrize(
    ("field", "text", "limit"),
    [
        ("trial_days", "2000000000", "less than or equal to 36500."),
        ("trial_days", "36501", "less than or equal to 36500."),
        ("delay", "999999999 00:00:00", "less than or equal to 36500 days"),
        ("delay", "36500 00:00:01", "less than or equal to 36500 days"),
    ],
)
def test_a_plan_has_no_trial_or_delay_beyond_the_calendar(operator, field, text, limit):
    """One such delay would end the streams of all customers: their ends are looked up together."""
    form = {
        "name": "Pro", "slug": "pro", "rank": 1, "price": "12.50", "currency": "USD", "interval": "month",
        "trial_days": 36_500, "delay": "36500 00:00:00", "streams": 1, "webhooks": 2,
    }  # fmt: skip
    refused = operator.post("/admin/commerce/plan/add/", form | {field: text})
    assert limit in " ".join(refused.context["adminform"].form.errors[field])
    assert operator.post("/admin/commerce/plan/add/", form).status_code == 302
    person = Customer.objects.create(email="a@example.com")
    trial = subscriptions.start_trial_or_free(person, Plan.objects.get())
    assert trial.ends_at > NOW + timedelta(days=36_000)
    reader = Reader(person.issue_key("laptop").value)
    for path in ("signals", "agents", "instruments", "outcomes", "me"):
        assert reader.get(path).status_code == 200


@pytest.fixture
def everything(settings):
    """Add a row of each model."""
    local(settings)
    person = customer("anna@example.com")
    with receiver() as inbox:
        inbox.answer = lambda _: Answering(500, body=b"<script>alert(1)</script>")
        endpoint(person, inbox.url("/token-in-path"))
        record("a")
        dispatch()
    StripeEvent.objects.create(event_id="evt_1", type="invoice.paid", created_at=timezone.now())


@pytest.mark.parametrize("model", [Plan, Customer, Subscription, Endpoint, Message, StripeEvent])
def test_each_list_and_row_is_shown_without_secrets(operator, everything, model):
    base = f"/admin/commerce/{model._meta.model_name}/"
    row = model.objects.get()
    for path in (base, f"{base}?q=anna", f"{base}{row.pk}/change/"):
        page = operator.get(path)
        assert page.status_code == 200, path
        text = page.content.decode()
        assert "token-in-path" not in text
        assert bytes(Endpoint.objects.get().encrypted_address).decode() not in text
        assert "<script>alert(1)" not in text


def test_a_message_shows_its_attempts(operator, everything):
    page = operator.get(f"/admin/commerce/message/{Message.objects.get().pk}/change/").content.decode()
    assert "&lt;script&gt;" in page
    assert str(Attempt.objects.get().status) in page


def test_a_message_shows_its_next_attempt_only_while_it_waits(operator, everything):
    due_at = datetime(2032, 5, 17, tzinfo=UTC)
    Message.objects.update(due_at=due_at)
    pages = ["/admin/commerce/message/", f"/admin/commerce/message/{Message.objects.get().pk}/change/"]
    assert all("2032-05-17" in operator.get(path).content.decode() for path in pages)
    Message.objects.update(state=Message.State.DELIVERED)
    assert all("2032" not in operator.get(path).content.decode() for path in pages)


@pytest.mark.parametrize("model", ["endpoint", "message", "stripeevent"])
def test_rows_that_the_hub_writes_cannot_be_added(operator, everything, model):
    assert operator.get(f"/admin/commerce/{model}/add/").status_code == 403


def test_customers_cannot_open_the_admin(client):
    from commerce.pages import authentication

    person = customer()
    client.force_login(authentication.user_for(person), "django.contrib.auth.backends.ModelBackend")
    for path in ("", "overview/", f"{person.pk}/account/", f"{person.pk}/change/"):
        answer = client.get(f"/admin/commerce/customer/{path}")
        assert answer.status_code == 302
        assert "login" in answer.url


def test_staff_without_permission_see_no_customers(client):
    person = customer()
    clerk = User.objects.create_user("clerk", is_staff=True)
    client.force_login(clerk, "django.contrib.auth.backends.ModelBackend")
    for path in ("", "overview/", f"{person.pk}/account/"):
        assert client.get(f"/admin/commerce/customer/{path}").status_code == 403


def clerk(client, *permissions: str) -> User:
    """Return a signed-in member of staff with these permissions."""
    person = User.objects.create_user("clerk", is_staff=True)
    person.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(person, "django.contrib.auth.backends.ModelBackend")
    return person


def test_staff_see_revenue_only_with_permission_to_view_subscriptions(client):
    person = customer()
    clerk(client, "view_customer")
    assert client.get("/admin/commerce/customer/overview/").status_code == 403
    assert client.get(f"/admin/commerce/customer/{person.pk}/add_subscription/").status_code == 403
    assert client.get(f"/admin/commerce/customer/{person.pk}/account/").status_code == 200


def test_staff_who_change_customers_cannot_become_one(client):
    person = customer("anna@example.com")
    me = clerk(client, "view_customer", "change_customer")
    path = f"/admin/commerce/customer/{person.pk}/change/"
    form = {"email": "mine@example.com", "name": "Anna", "user": me.pk, "created_at": ""}
    form |= {"subscriptions-TOTAL_FORMS": "0", "subscriptions-INITIAL_FORMS": "0"}
    assert client.post(path, form).status_code == 302
    person.refresh_from_db()
    assert (person.name, person.user, person.email) == ("Anna", None, "anna@example.com")


def test_a_changed_address_is_logged_and_its_previous_owner_notified(operator, mailoutbox, settings):
    settings.EMAIL_URL = "console:"
    person = customer("anna@example.com")
    form = {"email": "new@example.com", "subscriptions-TOTAL_FORMS": "0", "subscriptions-INITIAL_FORMS": "0"}
    assert operator.post(f"/admin/commerce/customer/{person.pk}/change/", form).status_code == 302
    assert mailoutbox[0].to == ["anna@example.com"]
    assert "to new@example.com" in mailoutbox[0].body
    logged = [entry.get_change_message() for entry in LogEntry.objects.all()]
    assert "E-mail address changed from anna@example.com to new@example.com." in logged


def test_an_address_that_no_host_can_have_can_be_corrected(operator, mailoutbox, settings):
    settings.EMAIL_URL = "console:"
    person = customer("a@" + "\u0131" * 63 + ".example")
    form = {"email": "new@example.com", "subscriptions-TOTAL_FORMS": "0", "subscriptions-INITIAL_FORMS": "0"}
    page = operator.post(f"/admin/commerce/customer/{person.pk}/change/", form, follow=True)
    assert "no e-mail could be sent" in page.content.decode()
    assert Customer.objects.get().email == "new@example.com"


def test_signals_are_mailed_to_a_changed_address_and_no_more_to_the_previous(operator, mailoutbox, settings):
    local(settings)
    settings.EMAIL_URL = "console:"
    person = customer("anna@example.com")
    endpoint(person, "anna@example.com", channel="email")
    form = {"email": "new@example.com", "subscriptions-TOTAL_FORMS": "0", "subscriptions-INITIAL_FORMS": "0"}
    operator.post(f"/admin/commerce/customer/{person.pk}/change/", form)
    record("a")
    dispatch()
    assert [message.to for message in mailoutbox] == [["anna@example.com"], ["new@example.com"]]
    assert "BUY BTC/USDT" in mailoutbox[1].subject
    assert Endpoint.objects.get().label == "new@example.com"


def test_a_subscription_is_added_from_the_customers_page(operator):
    person = Customer.objects.create(email="a@example.com")
    page = operator.get(f"/admin/commerce/customer/{person.pk}/add_subscription/", follow=True)
    assert page.context["adminform"].form.initial["customer"] == str(person.pk)


@pytest.fixture
def stripe(settings):
    with local_stripe() as server:
        keys = {"stripe_api_key": API_KEY, "stripe_api_base": server.base}
        settings.ENVIRONMENT = dataclasses.replace(settings.ENVIRONMENT, **keys)
        yield server


def test_stripe_subscriptions_cannot_be_changed_nor_their_customers_deleted(operator, stripe):
    person = customer()
    Subscription.objects.update(stripe_subscription_id="sub_1")
    ours = Subscription.objects.get()
    assert operator.post(f"/admin/commerce/subscription/{ours.pk}/change/", {}).status_code == 403
    assert operator.get(f"/admin/commerce/subscription/{ours.pk}/change/").status_code == 200
    path = f"/admin/commerce/customer/{person.pk}/delete/"
    assert "cancel it at Stripe first" in operator.get(path).content.decode()
    operator.post(path, {"post": "yes"})
    assert Customer.objects.exists()
    Subscription.objects.update(state="cancelled")
    operator.post(path, {"post": "yes"})
    assert not Customer.objects.exists()


def test_a_stripe_price_has_to_match_the_plans_price(operator, stripe):
    plan = Plan.objects.create(slug="pro", name="Pro", price=10)
    path = f"/admin/commerce/plan/{plan.pk}/change/"
    form = {
        "name": "Pro", "slug": "pro", "rank": 1, "price": "12.50", "currency": "USD", "interval": "month",
        "trial_days": 0, "delay": "0", "streams": 1, "webhooks": 2, "stripe_price_id": "price_pro",
    }  # fmt: skip
    assert "No such price" in operator.post(path, form).content.decode()
    stripe.price("price_pro", 9900, interval="year")
    assert "99.00 USD per year" in operator.post(path, form).content.decode()
    stripe.price("price_pro", 1250)
    assert operator.post(path, form).status_code == 302
    for currency, price, answer in (
        ("JPY", "12.50", "JPY is charged in steps of 1."),
        ("ISK", "990.5", "ISK is charged in steps of 1."),
        ("KWD", "1.255", "KWD is charged in steps of 0.01."),
        ("XXX", "1", "a currency that Stripe can charge"),
    ):
        assert answer in operator.post(path, form | {"currency": currency, "price": price}).content.decode()
    Plan.objects.create(slug="more", name="More", stripe_price_id="price_more")
    form["stripe_price_id"] = "price_more"
    stripe.price("price_more", 1250)
    assert "Another plan has this Stripe price" in operator.post(path, form).content.decode()


def test_the_list_needs_no_more_queries_for_more_rows(operator, django_assert_max_num_queries):
    for _ in range(30):
        customer()
    with django_assert_max_num_queries(12):
        assert operator.get("/admin/commerce/customer/").status_code == 200

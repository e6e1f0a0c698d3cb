"""Payment: sessions created at Stripe, and its events, repeated and out of order."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import stripe
from django.db import connections
from django.utils import timezone

from commerce import currencies
from commerce.billing import checkout, stripe_sync, subscriptions
from commerce.billing.stripe_client import stripe_is_configured
from commerce.models import Customer, Plan, StripeEvent, Subscription
from tests.commerce.billing.local_stripe import event, signature
from tests.commerce.webhooks.receiver import Answering

pytestmark = pytest.mark.django_db(transaction=True)


def post_event(client, body: bytes, header: str | None = None):
    return client.post(
        "/api/stripe",
        body,
        "application/json; charset=utf-8",
        headers={"Stripe-Signature": signature(body) if header is None else header},
    )


def outcome_of(client, kind: str, data: dict, **options) -> str:
    response = post_event(client, event(kind, data, **options))
    assert response.status_code == 200, response.content
    return response.json()["outcome"]


def test_checkout_creates_a_subscription_that_names_its_customer_and_plan(local, plan, buyer):
    local.price("price_pro", 2999)
    url = checkout.checkout_url(buyer, plan, "https://hub.example/ok", "https://hub.example/no")
    assert url.startswith(f"{local.base}/c/pay/cs_test_")
    [asked] = local.sessions
    assert asked["mode"] == "subscription"
    assert asked["line_items[0][price]"] == "price_pro"
    assert local.customers[asked["customer"]]["email"] == "buyer@example.com"
    buyer.refresh_from_db()
    assert asked["customer"] == buyer.stripe_customer_id
    assert asked["subscription_data[metadata][customer]"] == str(buyer.pk)
    assert asked["subscription_data[metadata][plan]"] == "pro"
    assert (asked["success_url"], asked["cancel_url"]) == ("https://hub.example/ok", "https://hub.example/no")
    assert "subscription_data[trial_period_days]" not in asked


@pytest.mark.parametrize("email", ["buyer@bücher.example", "buyer@例え.jp"])
def test_an_address_in_any_script_can_check_out(local, plan, buyer, email):
    local.price("price_pro", 2999)
    Customer.objects.filter(pk=buyer.pk).update(email=email)
    buyer.refresh_from_db()
    assert checkout.checkout_url(buyer, plan, "https://hub.example/ok", "https://hub.example/no")
    [created] = local.customers.values()
    assert created["email"] == email


def test_a_plan_without_a_price_at_stripe_is_priced_in_the_session(local, buyer):
    plan = Plan.objects.create(
        slug="basic", name="Basic", price=Decimal("9.99"), interval="year", trial_days=14
    )
    local.customers["cus_1"] = {"id": "cus_1"}
    buyer.stripe_customer_id = "cus_1"
    checkout.checkout_url(buyer, plan, "https://hub.example/ok", "https://hub.example/no")
    [asked] = local.sessions
    assert asked["line_items[0][price_data][unit_amount]"] == "999"
    assert asked["line_items[0][price_data][currency]"] == "usd"
    assert asked["line_items[0][price_data][recurring][interval]"] == "year"
    assert asked["subscription_data[trial_period_days]"] == "14"
    assert asked["customer"] == "cus_1"
    assert list(local.customers) == ["cus_1"]


@pytest.mark.parametrize(
    ("currency", "amount", "units", "text"),
    [
        ("USD", "9.99", 999, "9.99 USD"),
        ("EUR", "1500", 150_000, "1,500.00 EUR"),
        ("JPY", "1500.00", 1500, "1,500 JPY"),
        ("KWD", "9.99", 9990, "9.990 KWD"),
        ("KWD", "1.255", 1260, "1.255 KWD"),  # Stripe charges it in tens of fils
        ("UGX", "5000", 500_000, "5,000 UGX"),
        ("ISK", "990", 99_000, "990 ISK"),
    ],
)
def test_amounts_are_in_stripes_unit_and_read_as_people_write_them(currency, amount, units, text):
    assert currencies.to_minor_units(Decimal(amount), currency) == units
    assert currencies.written(Decimal(amount), currency) == text
    charged = currencies.from_minor_units(Decimal(units), currency)
    assert currencies.to_minor_units(charged, currency) == units


def test_two_tabs_create_one_customer_at_stripe(local, plan, buyer):
    local.price("price_pro")
    for tab in (Customer.objects.get(), Customer.objects.get()):
        checkout.checkout_url(tab, plan, "https://hub.example/ok", "https://hub.example/no")
    assert len(local.customers) == 1
    assert [asked["customer"] for asked in local.sessions] == list(local.customers) * 2


def test_a_customer_deleted_at_stripe_is_created_again(local, plan, buyer):
    """As when an operator goes from Stripe's test mode to the live one."""
    local.price("price_pro")
    buyer.stripe_customer_id = "cus_of_test_mode"
    checkout.checkout_url(buyer, plan, "https://hub.example/ok", "https://hub.example/no")
    assert (
        Customer.objects.get().stripe_customer_id
        == local.sessions[0]["customer"]
        == next(iter(local.customers))
    )


def test_a_customer_deleted_at_stripe_on_the_day_it_was_created_is_created_again(local, plan, buyer):
    """Stripe repeats the answer to the first request then, which names the deleted one."""
    local.price("price_pro")
    for _ in range(3):
        checkout.checkout_url(buyer, plan, "https://hub.example/ok", "https://hub.example/no")
        buyer.refresh_from_db()
        assert local.sessions[-1]["customer"] == buyer.stripe_customer_id
        del local.customers[buyer.stripe_customer_id]
    assert len({asked["customer"] for asked in local.sessions}) == 3


def test_what_stripe_refuses_is_an_error(local, plan, buyer):
    with pytest.raises(stripe.InvalidRequestError, match="No such price"):
        checkout.checkout_url(buyer, plan, "https://hub.example/ok", "https://hub.example/no")


def test_the_portal_is_the_customers_own(local, buyer):
    local.customers["cus_1"] = {"id": "cus_1"}
    buyer.stripe_customer_id = "cus_1"
    assert checkout.portal_url(buyer, "https://hub.example/").startswith(f"{local.base}/p/session/")
    assert local.sessions[0]["customer"] == "cus_1"


def test_a_paid_checkout_becomes_a_live_subscription(local, client, plan, buyer):
    subscription = local.subscribe(buyer.pk, price="price_pro")
    session = {
        "object": "checkout.session",
        "id": "cs_1",
        "subscription": subscription["id"],
        "customer": subscription["customer"],
    }
    assert outcome_of(client, "checkout.session.completed", session) == "none → active"
    ours = buyer.subscription()
    assert (ours.plan, ours.stripe_subscription_id) == (plan, subscription["id"])
    assert ours.period_ends_at == datetime.fromtimestamp(
        subscription["items"]["data"][0]["current_period_end"], UTC
    )
    buyer.refresh_from_db()
    assert buyer.stripe_customer_id == subscription["customer"]


def test_the_same_event_again_changes_nothing(local, client, plan, buyer):
    subscription = local.subscribe(buyer.pk, price="price_pro")
    body = event("customer.subscription.created", subscription)
    assert post_event(client, body).json() == {"outcome": "none → active"}
    asked = len(local.server.received)
    for _ in range(3):
        assert post_event(client, body).json() == {"outcome": "already applied"}
    assert StripeEvent.objects.count() == Subscription.objects.count() == 1
    assert len(local.server.received) == asked


def test_events_in_any_order_end_in_the_present_state(local, client, plan, buyer):
    """Late events contain old copies of the object; Stripe's present answer is applied."""
    now = int(time.time())
    subscription = local.subscribe(buyer.pk, price="price_pro")
    old = json.loads(json.dumps(subscription))
    subscription.update(status="canceled", canceled_at=now, ended_at=now)
    outcome_of(client, "customer.subscription.deleted", subscription, created=now)
    outcome_of(client, "customer.subscription.updated", {**old, "status": "past_due"}, created=now - 10)
    outcome_of(client, "customer.subscription.created", old, created=now - 20)
    ours = Subscription.objects.get()
    assert ours.state == "cancelled"
    assert buyer.subscription() is None
    assert ours.stripe_event_at == datetime.fromtimestamp(now, UTC)


@pytest.mark.parametrize(
    ("status", "state", "entitled"),
    [
        ("trialing", "trialing", True),
        ("active", "active", True),
        ("past_due", "past_due", True),
        ("canceled", "cancelled", False),
        ("unpaid", "expired", False),
        ("paused", "expired", False),
    ],
)
def test_states_are_mapped(local, client, plan, buyer, status, state, entitled):
    subscription = local.subscribe(buyer.pk, status, price="price_pro")
    outcome_of(client, "customer.subscription.updated", subscription)
    assert Subscription.objects.get().state == state
    assert bool(buyer.subscription()) is entitled


def test_a_subscription_awaiting_its_first_payment_grants_nothing(local, client, plan, buyer):
    subscription = local.subscribe(buyer.pk, "incomplete", price="price_pro")
    assert outcome_of(client, "customer.subscription.created", subscription) == "ignored: incomplete"
    subscription["status"] = "incomplete_expired"
    assert outcome_of(client, "customer.subscription.updated", subscription) == "ignored: never paid"
    assert not Subscription.objects.exists()


def test_later_failures_do_not_prolong_the_grace_period(local, client, plan, buyer):
    subscription = local.subscribe(buyer.pk, price="price_pro")
    outcome_of(client, "customer.subscription.created", subscription)
    subscription["status"] = "past_due"
    invoice = {
        "object": "invoice",
        "id": "in_1",
        "parent": {"subscription_details": {"subscription": subscription["id"]}},
    }
    outcome_of(client, "invoice.payment_failed", invoice)
    until = Subscription.objects.get().grace_until
    assert timedelta(days=6, hours=23) < until - timezone.now() <= timedelta(days=7)
    outcome_of(
        client,
        "invoice.payment_failed",
        {"object": "invoice", "id": "in_2", "subscription": subscription["id"]},
    )
    assert Subscription.objects.get().grace_until == until
    assert buyer.subscription()
    Subscription.objects.update(grace_until=timezone.now())
    assert buyer.subscription() is None
    assert subscriptions.expire_subscriptions() == 1
    outcome_of(client, "invoice.payment_failed", invoice)
    assert Subscription.objects.get().state == "expired", "another failure must not start a new grace period"
    subscription["status"] = "active"
    outcome_of(client, "invoice.paid", invoice)
    assert buyer.subscription().grace_until is None


def test_a_subscription_cancelled_at_period_end_lasts_until_then(local, client, plan, buyer):
    subscription = local.subscribe(buyer.pk, price="price_pro", cancel_at_period_end=True)
    outcome_of(client, "customer.subscription.updated", subscription)
    ours = buyer.subscription()
    assert ours.ends_at == ours.period_ends_at


def test_a_changed_price_changes_the_plan(local, client, plan, buyer):
    more = Plan.objects.create(slug="more", name="More", price=99, stripe_price_id="price_more")
    subscription = local.subscribe(buyer.pk, price="price_pro")
    outcome_of(client, "customer.subscription.created", subscription)
    subscription["items"]["data"][0]["price"]["id"] = "price_more"
    outcome_of(client, "customer.subscription.updated", subscription)
    assert buyer.subscription().plan == more


def test_a_plan_with_a_new_price_keeps_subscribers_of_the_old_price(local, client, plan, buyer):
    more = Plan.objects.create(slug="more", name="More", price=99, stripe_price_id="price_more")
    subscription = local.subscribe(buyer.pk, plan="pro", price="price_pro")
    outcome_of(client, "customer.subscription.created", subscription)
    subscription["items"]["data"][0]["price"]["id"] = (
        "price_more"  # as in the portal, which leaves the metadata of the checkout
    )
    outcome_of(client, "customer.subscription.updated", subscription)
    Plan.objects.filter(pk=more.pk).update(stripe_price_id="price_more_2027")
    outcome_of(
        client, "invoice.paid", {"object": "invoice", "id": "in_1", "subscription": subscription["id"]}
    )
    assert buyer.subscription().plan == more


def test_a_change_to_an_unknown_price_does_not_keep_the_earlier_plan(local, client, plan, buyer):
    subscription = local.subscribe(buyer.pk, plan="pro", price="price_pro")
    outcome_of(client, "customer.subscription.created", subscription)
    subscription["items"]["data"][0]["price"]["id"] = "price_unknown"
    assert post_event(client, event("customer.subscription.updated", subscription)).status_code == 503


def test_a_refund_or_a_dispute_ends_nothing_by_itself(local, client, plan, buyer):
    subscription = local.subscribe(buyer.pk, price="price_pro")
    outcome_of(client, "customer.subscription.created", subscription)
    charge = {"object": "charge", "id": "ch_1", "customer": subscription["customer"], "refunded": True}
    assert "cancel it at Stripe" in outcome_of(client, "charge.refunded", charge)
    dispute = {"object": "dispute", "id": "dp_1", "charge": "ch_1"}
    assert "cancel it at Stripe" in outcome_of(client, "charge.dispute.created", dispute)
    assert StripeEvent.objects.filter(object_id="dp_1").exists()
    assert buyer.subscription()
    subscription.update(status="canceled", ended_at=int(time.time()))  # as after a cancellation at Stripe
    outcome_of(client, "customer.subscription.deleted", subscription)
    assert buyer.subscription() is None


def test_an_event_that_fails_half_way_stores_nothing(local, client, plan, buyer, monkeypatch):
    subscription = local.subscribe(buyer.pk, price="price_pro")
    body = event("customer.subscription.created", subscription)

    def crash(**_):
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(StripeEvent.objects, "create", crash)
        assert post_event(client, body).status_code == 503
    assert not Subscription.objects.exists()
    assert post_event(client, body).json() == {"outcome": "none → active"}


def test_a_price_created_for_a_session_belongs_to_the_plan_in_the_metadata(local, client, plan, buyer):
    subscription = local.subscribe(buyer.pk, plan="pro")
    outcome_of(client, "customer.subscription.created", subscription)
    assert buyer.subscription().plan == plan


def test_paying_ends_a_manual_subscription(local, client, plan, buyer):
    free = Plan.objects.create(slug="free", name="Free")
    given = subscriptions.start_subscription(buyer, free)
    outcome_of(client, "customer.subscription.created", local.subscribe(buyer.pk, price="price_pro"))
    given.refresh_from_db()
    assert given.state == "cancelled"
    assert buyer.subscription().plan == plan


def test_of_two_paid_subscriptions_the_later_is_live(local, client, plan, buyer, caplog):
    first = local.subscribe(buyer.pk, price="price_pro", start_date=int(time.time()) - 100)
    second = local.subscribe(buyer.pk, price="price_pro")
    outcome_of(client, "customer.subscription.created", second)
    assert (
        outcome_of(client, "customer.subscription.created", first) == "ignored: a newer subscription is live"
    )
    assert buyer.subscription().stripe_subscription_id == second["id"]
    assert "pays for two subscriptions" in caplog.text


def test_a_second_paid_subscription_is_logged(local, client, plan, buyer, caplog):
    first = local.subscribe(buyer.pk, price="price_pro", start_date=int(time.time()) - 100)
    outcome_of(client, "customer.subscription.created", first)
    assert "pays for two" not in caplog.text
    outcome_of(client, "customer.subscription.created", local.subscribe(buyer.pk, price="price_pro"))
    assert first["id"] in caplog.text


def test_events_of_other_customers_and_objects_are_accepted_and_ignored(local, client, plan):
    assert (
        outcome_of(client, "customer.subscription.created", local.subscribe(12345))
        == "ignored: unknown customer"
    )
    assert outcome_of(client, "customer.created", {"object": "customer", "id": "cus_1"}) == "ignored"
    assert outcome_of(client, "invoice.paid", {"object": "invoice", "id": "in_1"}) == "ignored"
    assert StripeEvent.objects.count() == 3


def test_an_event_is_not_accepted_while_stripe_is_unavailable(local, client, plan, buyer):
    body = event("customer.subscription.created", local.subscribe(buyer.pk, price="price_pro"))
    local.failing = True
    response = post_event(client, body)
    assert response.status_code == 503
    assert "Retry-After" in response
    assert not StripeEvent.objects.exists()
    local.failing = False
    assert post_event(client, body).json() == {"outcome": "none → active"}


def test_an_event_with_an_unknown_price_is_retried_until_a_plan_has_it(local, client, plan, buyer):
    body = event("customer.subscription.created", local.subscribe(buyer.pk, price="price_new"))
    assert post_event(client, body).status_code == 503
    Plan.objects.update(stripe_price_id="price_new")
    assert post_event(client, body).status_code == 200


def test_events_at_once_are_applied_one_after_the_other(local, client, plan, buyer):
    """The first event's answer is outdated when the second one requests its own; the newer answer is kept."""
    subscription = local.subscribe(buyer.pk, price="price_pro")
    asked, go_on = threading.Event(), threading.Event()
    first_answer = local.answer

    def slowly(request):
        answering = first_answer(request)
        if not asked.is_set():
            asked.set()
            return Answering(answering.status, answering.headers, answering.body, lambda: go_on.wait(60))
        return answering

    local.server.answer = slowly
    bodies = [event("customer.subscription.updated", subscription) for _ in range(2)]
    statuses = []

    def send(body: bytes) -> None:
        statuses.append(post_event(client, body).status_code)
        connections.close_all()

    threads = [threading.Thread(target=send, args=(body,)) for body in bodies]
    threads[0].start()
    assert asked.wait(60)
    subscription.update(status="canceled", ended_at=int(time.time()))
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert statuses == [200, 200]
    assert Subscription.objects.get().state == "cancelled"


def test_invalid_signatures_are_refused(local, client, plan, buyer):
    body = event("customer.subscription.created", local.subscribe(buyer.pk, price="price_pro"))
    for header in (
        "",
        "t=1,v1=",
        "nonsense",
        signature(body, "whsec_other"),
        signature(body + b" "),
        signature(body, at=int(time.time()) - 301),
        signature(body).replace("v1=", "v0="),
    ):
        response = post_event(client, body, header)
        assert response.status_code == 400, header
        assert response.json()["code"] == "bad_signature"
    assert not StripeEvent.objects.exists()


@pytest.mark.parametrize("body", [b"[]", b"{}", b"\xff", b'{"id": 1}', b'{"id":"e","type":"t","created":1}'])
def test_a_signed_body_that_is_not_an_event_is_a_400(local, client, body):
    assert post_event(client, body).status_code == 400


def test_a_body_over_the_limit_is_not_read(local, client):
    assert post_event(client, b"x" * 1_048_577).status_code == 413


def test_without_keys_there_is_no_webhook_and_no_checkout(client, plan, buyer):
    assert post_event(client, b"{}").status_code == 404
    assert not stripe_is_configured()
    with pytest.raises(stripe.AuthenticationError, match="No API key"):
        checkout.checkout_url(buyer, plan, "https://hub.example/ok", "https://hub.example/no")
    assert subscriptions.start_subscription(buyer, plan)
    assert buyer.subscription().plan == plan


def test_a_key_that_stripe_refuses_is_an_error_and_not_a_crash(local, client, settings, plan, buyer):
    settings.ENVIRONMENT = dataclasses.replace(settings.ENVIRONMENT, stripe_api_key="sk_test_wrong")
    with pytest.raises(stripe.AuthenticationError):
        checkout.checkout_url(buyer, plan, "https://hub.example/ok", "https://hub.example/no")
    body = event("customer.subscription.created", local.subscribe(buyer.pk, price="price_pro"))
    assert post_event(client, body).status_code == 503


def test_a_trial_is_given_once(plan, buyer):
    plan.trial_days = 14
    trial = subscriptions.start_trial_or_free(buyer, plan)
    assert (trial.state, buyer.subscription()) == ("trialing", trial)
    assert subscriptions.start_trial_or_free(buyer, plan) is None
    Subscription.objects.update(ends_at=timezone.now())
    assert subscriptions.expire_subscriptions() == 1
    assert buyer.subscription() is None


def test_a_subscription_past_its_period_is_refreshed_without_an_event(local, client, plan, buyer):
    """Stripe stops retrying an event after three days."""
    subscription = local.subscribe(buyer.pk, price="price_pro")
    outcome_of(client, "customer.subscription.created", subscription)
    assert stripe_sync.refresh_overdue_subscriptions() == 0
    Subscription.objects.update(period_ends_at=timezone.now() - timedelta(hours=2))
    local.failing = True
    assert stripe_sync.refresh_overdue_subscriptions() == 0
    local.failing = False
    subscription.update(status="canceled", ended_at=int(time.time()))
    assert stripe_sync.refresh_overdue_subscriptions() == 1
    assert Subscription.objects.get().state == "cancelled"
    assert stripe_sync.refresh_overdue_subscriptions() == 0

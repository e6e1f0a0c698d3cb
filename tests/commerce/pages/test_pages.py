"""The customers' pages: pricing, sign-in, account."""

from __future__ import annotations

import dataclasses
import re
import threading
import time
from datetime import timedelta
from decimal import Decimal

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.core import mail, signing
from django.db import connections
from django.test import Client
from django.utils import timezone

from aggregator.http import sign_in_limits
from aggregator.models import ApiKey
from commerce import change_limit
from commerce.billing import stripe_sync
from commerce.models import Customer, Endpoint, Message, Plan, Subscription, UsageDay
from commerce.pages import authentication, context
from tests.commerce.billing.local_stripe import API_KEY, local_stripe
from tests.commerce.webhooks.pushing import customer, dispatch, local, record
from tests.commerce.webhooks.receiver import receiver

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _settings(settings, redis_client):
    local(settings)
    settings.EMAIL_URL = "smtp://mail.example"
    settings.SECURE_SSL_REDIRECT = False


@pytest.fixture
def free():
    return Plan.objects.create(slug="free", name="Free", webhooks=1)


@pytest.fixture
def pro():
    return Plan.objects.create(slug="pro", name="Pro", price=Decimal("29.99"), delay=timedelta(minutes=15))


def signed_in(person: Customer) -> Client:
    """Return a client in which a customer is signed in."""
    browser = Client()
    browser.force_login(authentication.user_for(person), "django.contrib.auth.backends.ModelBackend")
    return browser


def text_of(browser: Client, page: str = "/account/") -> str:
    return browser.get(page).content.decode()


def link_in(message) -> str:
    return re.search(r"http://testserver(/\S+)", message.body)[1]


def test_pricing_is_public_and_lists_what_each_plan_includes(client, free, pro):
    Plan.objects.create(slug="hidden", name="Secret", is_public=False)
    page = text_of(client, "/plans/")
    assert "29.99" in page
    assert "Delayed by 15 minutes" in page
    assert "not investment advice" in page
    assert "Secret" not in page
    assert "fonts.googleapis" not in page
    assert not re.findall(r'(?:src|href)="https?://', page)


@pytest.mark.parametrize(
    ("days", "text"), [(None, "Full history"), (0, "0 days of history"), (1, "1 day of history")]
)
def test_pricing_says_how_long_a_history_is(client, free, days, text):
    Plan.objects.update(history_days=days)
    assert f"</span>{text}</li>" in text_of(client, "/plans/")


def test_pricing_offers_a_trial_only_where_there_is_something_to_pay(client, free, pro):
    Plan.objects.update(trial_days=14)
    page = text_of(client, "/plans/")
    assert "Choose Free" in page
    assert page.count("Start 14-day trial") == 1


def test_a_new_customer_signs_in_by_a_link_that_works_once(client):
    assert client.post("/account/sign-in/link", {"email": "New@Example.com"}).status_code == 200
    [message] = mail.outbox
    link = link_in(message)
    assert client.get(link).status_code == 200
    assert not Customer.objects.exists(), "opening a link must not use it up: mail scanners do that"
    assert client.post(link).url == "/account/"
    assert Customer.objects.get().email == "new@example.com"
    assert "new@example.com" in text_of(client)
    again = Client()
    assert again.post(link).url == "/account/sign-in"
    assert again.get("/account/").status_code == 302
    assert User.objects.count() == 1


def test_the_page_of_a_link_names_the_account_and_warns_where_it_was_not_requested(client):
    client.post("/account/sign-in/link", {"email": "new@example.com"})
    link = link_in(mail.outbox[0])
    own, foreign = text_of(client, link), text_of(Client(), link)
    assert "Sign in as new@example.com" in own
    assert "another browser" not in own
    assert "another browser" in foreign
    other = signed_in(customer("victim@example.com"))
    assert "You are signed in as victim@example.com" in text_of(other, link)
    assert "victim@example.com" in text_of(other), "opening a link changes nothing"


def test_a_link_leads_to_the_public_address_whatever_the_host_header_says(client, settings):
    settings.PUBLIC_ORIGIN, settings.ALLOWED_HOSTS = "https://hub.example", ["*"]
    client.post("/account/sign-in/link", {"email": "a@example.com"}, headers={"host": "evil.example"})
    assert "https://hub.example/account/sign-in/" in mail.outbox[0].body
    assert "evil.example" not in mail.outbox[0].body


def test_a_link_holds_nothing_of_the_password(client):
    person = customer("p@example.com")
    user = authentication.user_for(person)
    user.set_password("correct horse battery")
    user.save()
    client.post("/account/sign-in/link", {"email": "p@example.com"})
    token = link_in(mail.outbox[0]).rpartition("/")[2]
    content = signing.loads(token, salt=authentication.LINK_SALT)
    assert not any(user.password[-size:] in str(content) for size in (4, 8, 12))


def test_the_first_proof_of_an_address_ends_what_was_set_up_before_it(client, free, settings):
    """An attacker signs up with another person's address before the hub can send e-mail."""
    settings.EMAIL_URL = None
    attacker = Client()
    stolen = {"email": "owner@example.com", "password": "correct horse battery"}
    attacker.post("/account/sign-up", stolen)
    assert attacker.post("/account/sign-in", stolen).url == "/account/"
    attacker.post("/plans/free/subscribe")
    key = re.search(r"shk_[\w-]+", attacker.post("/account/keys", {"name": "x"}).content.decode())[0]
    attacker.post("/account/endpoints", {"channel": "webhook", "url": "https://127.0.0.1/x"})
    assert Endpoint.objects.exists()

    settings.EMAIL_URL = "smtp://mail.example"
    for _ in range(2):
        client.post("/account/sign-in/link", {"email": "owner@example.com"})
        assert client.post(link_in(mail.outbox[-1])).url == "/account/"
    assert attacker.get("/account/").status_code == 302, "the session lives"
    assert Client().post("/account/sign-in", stolen).status_code == 400, "the password lives"
    assert client.get("/api/v1/me", headers={"x-api-key": key}).status_code == 401, "the key lives"
    assert not Endpoint.objects.exists()

    client.post("/account/password", {"password": "another long password"})
    own = re.search(r"shk_[\w-]+", client.post("/account/keys", {"name": "y"}).content.decode())[0]
    client.post("/account/sign-out")
    client.post("/account/sign-in/link", {"email": "owner@example.com"})
    assert client.post(link_in(mail.outbox[-1])).url == "/account/"
    assert client.get("/api/v1/me", headers={"x-api-key": own}).status_code == 200, "a later proof ends it"


def test_a_link_of_a_known_customer_works_once(client):
    person = customer("known@example.com")
    signed_in(person)
    client.post("/account/sign-in/link", {"email": "known@example.com"})
    client.post("/account/sign-in/link", {"email": "known@example.com"})
    first, second = map(link_in, mail.outbox)
    assert client.post(first).url == "/account/"
    assert Client().post(second).url == "/account/sign-in"


def test_an_account_is_found_however_its_address_is_written(client, settings):
    """An operator may have entered it with capitals."""
    Customer.objects.create(email="Known@Example.com")
    client.post("/account/sign-in/link", {"email": "known@example.com"})
    assert client.post(link_in(mail.outbox[0])).url == "/account/"
    settings.EMAIL_URL = None
    Client().post("/account/sign-up", {"email": "known@example.com", "password": "correct horse battery"})
    assert Customer.objects.count() == User.objects.count() == 1
    assert not User.objects.get().has_usable_password()


@pytest.mark.parametrize("other", ["mike@g\u0131thub.com", "mi\u212ae@github.com", "\u017fam@github.com"])
def test_a_link_signs_in_the_very_address_that_it_was_sent_to(client, other):
    """In capitals these are the addresses of customers, and other people may have such a domain."""
    known = [Customer.objects.create(email=f"{name}@github.com").pk for name in ("mike", "sam")]
    assert client.post("/account/sign-in/link", {"email": other}).status_code == 200
    [message] = mail.outbox
    client.post(link_in(message))
    signed_in_as = Customer.objects.get(user__pk=client.session["_auth_user_id"])
    assert message.to == [signed_in_as.email]
    assert signed_in_as.email in {"mike@github.com", other}
    assert signed_in_as.pk not in known or message.to == ["mike@github.com"]


@pytest.mark.parametrize("email", ["\u0130" * 150 + "@example.com", "a@" + "\u0131" * 63 + ".com"])
@pytest.mark.parametrize("by_mail", [True, False])
def test_an_address_that_cannot_be_one_is_refused(client, settings, email, by_mail):
    """The first is too long only in lower case; no host has such a name as the second."""
    settings.EMAIL_URL = settings.EMAIL_URL if by_mail else None
    path = "/account/sign-in/link" if by_mail else "/account/sign-up"
    answer = client.post(path, {"email": email, "password": "correct horse battery"})
    assert answer.status_code in {200, 400, 503}
    assert not mail.outbox


def test_of_several_uses_at_once_one_signs_in(client):
    client.post("/account/sign-in/link", {"email": "new@example.com"})
    link = link_in(mail.outbox[0])
    led, together = [], threading.Barrier(4)

    def use() -> None:
        together.wait(60)
        led.append(Client().post(link).url)
        connections.close_all()

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(led) == ["/account/", *["/account/sign-in"] * 3]


def test_a_link_leads_to_the_page_that_was_requested_and_to_no_other_site(client):
    for wanted, led in (("/plans/", "/plans/"), ("https://evil.example/", "/account/")):
        client.post("/account/sign-in/link", {"email": f"{len(wanted)}@example.com", "next": wanted})
        assert Client().post(link_in(mail.outbox[-1])).url == led


def test_signing_in_starts_a_new_session(client):
    client.post("/account/sign-in/link", {"email": "a@example.com"})
    client.get("/account/sign-in")
    session = client.session
    session["planted"] = True
    session.save()
    client.cookies["sessionid"] = session.session_key
    client.post(link_in(mail.outbox[0]))
    assert client.cookies["sessionid"].value != session.session_key


def test_an_expired_or_malformed_link_signs_in_no_user(client, monkeypatch):
    client.post("/account/sign-in/link", {"email": "a@example.com"})
    link = link_in(mail.outbox[0])
    assert Client().post(link[:-2] + "xx").url == "/account/sign-in"
    monkeypatch.setattr(authentication, "LINK_LIFETIME", timedelta(seconds=-1))
    assert Client().post(link).url == "/account/sign-in"
    assert not Customer.objects.exists()


def test_no_link_signs_in_as_an_operator(client):
    operator = User.objects.create_superuser("operator", "boss@example.com", "x")
    Customer.objects.create(email="boss@example.com", user=operator)
    client.post("/account/sign-in/link", {"email": "boss@example.com"})
    assert client.post(link_in(mail.outbox[0])).url == "/account/sign-in"
    assert client.get("/admin/").status_code == 302


def test_links_are_limited(client):
    statuses = [
        client.post("/account/sign-in/link", {"email": "a@example.com"}).status_code for _ in range(6)
    ]
    assert statuses == [200] * 5 + [429]
    assert len(mail.outbox) == 5


def test_known_and_unknown_addresses_get_the_same_answer(client):
    customer("known@example.com")
    pages = [
        client.post("/account/sign-in/link", {"email": email}).content.decode().replace(email, "")
        for email in ("known@example.com", "other@example.com")
    ]
    assert pages[0] == pages[1]


def test_a_password_set_in_the_account_signs_in(client):
    person = customer("p@example.com")
    browser = signed_in(person)
    browser.post("/account/password", {"password": "correct horse battery"})
    assert browser.get("/account/").status_code == 200, "setting it must not sign the customer out"
    right = {"email": "P@example.com", "password": "correct horse battery"}
    assert client.post("/account/sign-in", {**right, "password": "wrong"}).status_code == 400
    assert client.post("/account/sign-in", right).url == "/account/"
    assert client.get("/account/").status_code == 200


def test_a_weak_password_is_not_set(client):
    browser = signed_in(customer())
    assert "too short" in browser.post("/account/password", {"password": "x"}, follow=True).content.decode()


def test_guessing_passwords_is_locked(client):
    person = customer("p@example.com")
    authentication.user_for(person).set_password("correct horse battery")
    for _ in range(django_settings.AXES_FAILURE_LIMIT):
        last = client.post("/account/sign-in", {"email": "p@example.com", "password": "wrong"})
    assert last.status_code == 429
    assert "sign in by link" in last.content.decode()


def test_an_address_cannot_try_the_passwords_of_many_customers(client, monkeypatch):
    monkeypatch.setattr(sign_in_limits, "PASSWORDS_PER_CLIENT", "5/hour")
    statuses = [
        client.post("/account/sign-in", {"email": f"{number}@example.com", "password": "wrong"}).status_code
        for number in range(6)
    ]
    assert statuses == [400] * 5 + [429]


def test_sign_in_leads_back_to_the_page_and_never_to_another_site(client):
    person = customer("p@example.com")
    browser = signed_in(person)
    assert client.get("/account/").url == "/account/sign-in?next=%2Faccount%2F"
    assert client.post("/plans/pro/subscribe").url == "/account/sign-in?next=%2Fplans%2F"
    assert client.post("/account/keys").url == "/account/sign-in?next=%2Faccount%2F"
    assert browser.get("/account/sign-in?next=/plans/").url == "/plans/"
    for evil in ("https://evil.example/", "//evil.example", "javascript:alert(1)"):
        assert browser.get("/account/sign-in", {"next": evil}).url == "/account/"


def test_without_e_mail_an_account_is_created_with_a_password(client, settings):
    settings.EMAIL_URL = None
    assert "E-mail link" not in text_of(client, "/account/sign-in")
    new = {"email": "new@example.com", "password": "correct horse battery"}
    created, taken = (
        Client().post("/account/sign-up?next=/plans/", new | {"password": password})
        for password in (new["password"], "another long password")
    )
    assert created.status_code == taken.status_code == 200
    token = re.compile(r'csrfmiddlewaretoken" value="\w+"')
    assert token.sub("", created.content.decode()) == token.sub("", taken.content.decode())
    assert 'value="new@example.com"' in created.content.decode()
    assert client.post("/account/sign-in?next=/plans/", new).url == "/plans/"
    assert "new@example.com" in text_of(client)
    assert client.post("/account/sign-in/link", {"email": "x@example.com"}).status_code in {302, 400}
    assert not mail.outbox


def test_accounts_of_an_address_are_limited(client, settings, monkeypatch):
    settings.EMAIL_URL = None
    monkeypatch.setattr(authentication, "ACCOUNTS_PER_CLIENT", "1/hour")
    for number, status in ((1, 200), (2, 400)):
        new = {"email": f"{number}@example.com", "password": "correct horse battery"}
        assert Client().post("/account/sign-up", new).status_code == status
    assert Customer.objects.count() == 1


def test_signing_out(client):
    browser = signed_in(customer())
    assert browser.post("/account/sign-out").url == "/plans/"
    assert browser.get("/account/").status_code == 302
    assert browser.get("/account/sign-out").status_code == 405


def test_a_free_plan_starts_at_once(client, free):
    person = Customer.objects.create(email="a@example.com")
    browser = signed_in(person)
    assert "You have no plan" in text_of(browser)
    browser.post("/plans/free/subscribe")
    assert person.subscription().plan == free
    assert "Current plan" in text_of(browser, "/plans/")


def test_without_stripe_only_an_operator_gives_a_paid_plan(client, pro):
    person = Customer.objects.create(email="a@example.com")
    page = signed_in(person).post("/plans/pro/subscribe", follow=True).content.decode()
    assert "Contact the operator" in page
    assert person.subscription() is None


def test_a_hidden_plan_cannot_be_chosen(client):
    Plan.objects.create(slug="hidden", name="Secret", is_public=False)
    assert signed_in(customer()).post("/plans/hidden/subscribe").status_code == 404


def test_a_paid_plan_leads_to_checkout_and_a_paying_customer_to_the_portal(client, pro, settings):
    person = Customer.objects.create(email="a@example.com")
    browser = signed_in(person)
    with local_stripe() as server:
        settings.ENVIRONMENT = dataclasses.replace(
            settings.ENVIRONMENT, stripe_api_key=API_KEY, stripe_api_base=server.base
        )
        assert browser.post("/plans/pro/subscribe").url.startswith(f"{server.base}/c/pay/")
        assert server.sessions[0]["success_url"] == "http://testserver/account/?paid=1"
        assert "being confirmed" in text_of(browser, "/account/?paid=1")
        payer = Customer.objects.get().stripe_customer_id
        subscription = server.subscribe(person.pk, plan="pro", customer=payer)
        stripe_sync.refresh_subscription(subscription["id"])
        assert "Manage billing" in text_of(browser)
        assert "9.99 USD per month" in text_of(browser)
        assert browser.post("/account/portal").url.startswith(f"{server.base}/p/session/")
        for status in ("active", "past_due", "unpaid"):
            subscription["status"] = status
            Subscription.objects.update(grace_until=timezone.now())
            assert browser.post("/plans/pro/subscribe").url.startswith(f"{server.base}/p/session/"), status
        server.failing = True
        for path in ("/account/portal", "/plans/pro/subscribe"):
            assert "Payment is unavailable" in browser.post(path, follow=True).content.decode()
        server.failing = False
        subscription.update(status="canceled", ended_at=int(time.time()))  # without an event
        assert browser.post("/plans/pro/subscribe").url.startswith(f"{server.base}/c/pay/")


def test_a_subscription_of_stripes_test_mode_does_not_block_a_live_one(pro, settings):
    person = Customer.objects.create(email="a@example.com", stripe_customer_id="cus_test")
    Subscription.objects.create(customer=person, plan=pro, stripe_subscription_id="sub_test")
    with local_stripe() as server:
        settings.ENVIRONMENT = dataclasses.replace(
            settings.ENVIRONMENT, stripe_api_key=API_KEY, stripe_api_base=server.base
        )
        assert signed_in(person).post("/plans/pro/subscribe").url.startswith(f"{server.base}/c/pay/")
    assert Subscription.objects.get().state == "cancelled"


def test_a_stripe_subscription_is_not_replaced_while_stripe_is_not_configured(free, pro):
    person = Customer.objects.create(email="a@example.com")
    Subscription.objects.create(customer=person, plan=pro, stripe_subscription_id="sub_1")
    page = signed_in(person).post("/plans/free/subscribe", follow=True).content.decode()
    assert "Contact the operator" in page
    assert person.subscription().plan == pro


def test_a_key_is_shown_once_and_reads_the_feed(client):
    person = customer()
    browser = signed_in(person)
    created = browser.post("/account/keys", {"name": "bot"})
    assert "no-store" in created["Cache-Control"]
    value = re.search(r"shk_[\w-]+", created.content.decode())[0]
    assert value not in text_of(browser)
    record("a")
    page = client.get("/api/v1/signals", headers={"Authorization": f"Bearer {value}"}).json()
    assert [signal["signal_id"] for signal in page["signals"]] == ["a"]
    key_id = person.reader_keys.get().key.key_id
    new = re.search(r"shk_[\w-]+", browser.post(f"/account/keys/{key_id}/rotate").content.decode())[0]
    browser.post(f"/account/keys/{key_id}/revoke")
    for old in (value, new):
        assert client.get("/api/v1/me", headers={"X-API-Key": old}).status_code == 401
    assert "revoked" in text_of(browser)


def test_a_key_that_works_is_listed_however_many_were_revoked_since():
    person = customer()
    working = person.issue_key("working").key
    for _ in range(context.MAX_KEYS_SHOWN):
        person.issue_key("revoked")
    ApiKey.objects.exclude(pk=working.pk).update(revoked_at=timezone.now())
    assert f"/account/keys/{working.key_id}/revoke" in text_of(signed_in(person))


def test_unknown_actions_and_revoked_keys_change_nothing():
    person = customer()
    browser = signed_in(person)
    key = person.issue_key("bot").key
    assert browser.post(f"/account/keys/{key.key_id}/explode").status_code == 404
    assert ApiKey.objects.get().revoked_at is None
    browser.post(f"/account/keys/{key.key_id}/revoke")
    page = browser.post(f"/account/keys/{key.key_id}/rotate", follow=True).content.decode()
    assert "already revoked" in page
    assert "shk_" not in page


def test_an_endpoint_is_created_tested_paused_and_deleted(client):
    browser = signed_in(customer())
    with receiver() as inbox:
        created = browser.post("/account/endpoints", {"channel": "webhook", "url": inbox.url()})
        secret = re.search(r"whsec_[\w+/=]+", created.content.decode())[0]
        endpoint = Endpoint.objects.get()
        act = f"/account/endpoints/{endpoint.public_id}/"
        browser.post(act + "test")
        dispatch()
        assert len(inbox.received) == 1
    page = text_of(browser)
    assert "Delivered" in page
    assert "200, " in page
    assert secret not in page
    browser.post(act + "pause")
    assert "paused" in text_of(browser)
    assert secret not in browser.post(act + "rotate").content.decode()
    browser.post(act + "resume")
    assert Endpoint.objects.get().state == "active"
    assert browser.post(act + "explode").status_code == 404
    browser.post(act + "delete")
    assert not Endpoint.objects.exists()


def test_a_chat_has_no_secret_to_rotate():
    person = customer()
    browser = signed_in(person)
    browser.post("/account/endpoints", {"channel": "telegram", "url": "123456789:" + "A" * 35 + "/-1001"})
    endpoint = Endpoint.objects.get()
    answer = browser.post(f"/account/endpoints/{endpoint.public_id}/rotate")
    assert answer.status_code == 404
    assert Endpoint.objects.get().generation == 1


def test_a_refused_endpoint_shows_the_reason_and_what_was_typed(client, settings):
    local(settings, networks=())
    browser = signed_in(customer(webhooks=1))
    for url, words in (
        ("https://169.254.169.254/", "not at a public address"),
        ("ftp://example.com/", "begins with https"),
    ):
        answer = browser.post("/account/endpoints", {"channel": "webhook", "url": url})
        assert answer.status_code == 400
        assert words in answer.content.decode()
        assert f'value="{url}"' in answer.content.decode()
    assert not Endpoint.objects.exists()


@pytest.mark.parametrize("action", ["rotate", "pause", "resume"])
def test_an_endpoint_that_is_deleted_at_the_same_time_is_not_found(monkeypatch, action):
    person = customer()
    browser = signed_in(person)
    browser.post("/account/endpoints", {"channel": "webhook", "url": "https://127.0.0.1/x"})
    path = f"/account/endpoints/{Endpoint.objects.get().public_id}/{action}"
    monkeypatch.setattr(change_limit, "count_change", lambda _: Endpoint.objects.all().delete())
    assert browser.post(path).status_code == 404


def test_another_customers_keys_and_endpoints_are_not_found(client):
    owner, browser = customer(), signed_in(customer())
    key = owner.issue_key("theirs").key
    with receiver() as inbox:
        signed_in(owner).post("/account/endpoints", {"channel": "webhook", "url": inbox.url()})
    endpoint = Endpoint.objects.get()
    assert browser.post(f"/account/keys/{key.key_id}/revoke").status_code == 404
    for action in ("test", "rotate", "pause", "delete"):
        assert browser.post(f"/account/endpoints/{endpoint.public_id}/{action}").status_code == 404
    assert endpoint.label not in text_of(browser)
    assert ApiKey.objects.get(pk=key.pk).revoked_at is None
    assert not Message.objects.exists()


def test_nothing_changes_by_a_get_or_without_a_csrf_token(free):
    person = customer()
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(authentication.user_for(person), "django.contrib.auth.backends.ModelBackend")
    for path in ("/account/keys", "/plans/free/subscribe", "/account/password", "/account/portal"):
        assert browser.post(path, {"name": "x"}).status_code == 403
        assert browser.get(path).status_code == 405
    assert not ApiKey.objects.exists()


def test_the_account_explains_past_due_and_expired_subscriptions(client):
    person = customer()
    browser = signed_in(person)
    Subscription.objects.update(state="past_due", grace_until=timezone.now() + timedelta(days=3))
    assert "Signals continue until" in text_of(browser)
    Subscription.objects.update(grace_until=timezone.now() - timedelta(days=1))
    assert "signals have stopped" in text_of(browser)
    Subscription.objects.update(state="expired")
    assert "You have no plan" in text_of(browser)
    Subscription.objects.update(stripe_subscription_id="sub_1")
    assert "Pay the open invoice" in text_of(browser)
    Subscription.objects.update(
        state="trialing", period_ends_at=timezone.now() + timedelta(days=3), grace_until=None
    )
    assert "then billed" in text_of(browser)


def test_usage_is_shown_against_the_plan(client):
    person = customer(signals_per_day=1000, requests_per_day=None)
    UsageDay.objects.create(customer=person, day=timezone.now().date(), requests=12, signals=250)
    page = text_of(signed_in(person))
    assert "250 of 1,000" in page
    assert "12 (unlimited)" in page
    assert 'value="25"' in page
    assert "Resets at 00:00 UTC" in page
    assert "Peak 250/day" in page


def test_what_customers_write_is_shown_as_text(client):
    person = customer()
    browser = signed_in(person)
    browser.post("/account/keys", {"name": "<script>alert(1)</script>"})
    page = text_of(browser)
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page

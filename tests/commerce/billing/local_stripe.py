"""A stand-in for Stripe on loopback, which answers in its documented format and signs events.

https://docs.stripe.com/api/subscriptions/object, …/checkout/sessions/create, …/errors, …/idempotent_requests;
https://docs.stripe.com/webhooks#verify-manually

`python -m tests.commerce.billing.local_stripe http://127.0.0.1:8000` runs one: see docs/commerce.md.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import re
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl

import stripe

from tests.commerce.webhooks.receiver import Answering, Received, Receiver, receiver

API_KEY = "sk_test_local"
WEBHOOK_SECRET = "whsec_local_stripe_secret"
MONTH = 30 * 86_400
_numbers = itertools.count(time.time_ns() // 1000)
"""Each run has other ids: a hub remembers the events of earlier runs."""

SESSION_PARAMETERS = re.compile(
    r"mode|customer|customer_email|client_reference_id|success_url|cancel_url|metadata\[\w+\]"
    r"|line_items\[0\]\[(quantity|price|price_data\](\[(currency|unit_amount|recurring\]\[interval"
    r"|product_data\]\[name))?)\]|subscription_data\[(metadata\]\[\w+|trial_period_days)\]"
)
"""The parameters of a Checkout session that are accepted; like Stripe, the stand-in refuses others."""
PAGE = '<!doctype html><html lang="en"><title>{0}</title><link rel="icon" href="data:,"><h1>{0}</h1>{1}'
BUTTON = '<form method="post"><button name="do" value="{0}">{1}</button></form>'


class Refused(Exception):
    def __init__(self, status: int, kind: str, message: str, code: str = "", param: str = "") -> None:
        fields = {"type": kind, "message": message, "code": code, "param": param}
        self.answer = answer({"error": {name: value for name, value in fields.items() if value}}, status)


class LocalStripe:
    """Stripe's objects, and the sessions created."""

    def __init__(self, server: Receiver, hub: str | None = None) -> None:
        self.server = server
        self.hub = hub
        """Where to send the events of actions on its pages."""
        self.subscriptions: dict[str, dict[str, Any]] = {}
        self.customers: dict[str, dict[str, Any]] = {}
        self.prices: dict[str, dict[str, Any]] = {}
        self.open: dict[str, dict[str, str]] = {}
        self.sessions: list[dict[str, str]] = []
        """The parameters of each created session, by their bracketed names."""
        self.replays: dict[str, tuple[bytes, Answering]] = {}
        self.failing = False
        server.answer = self.answer

    @property
    def base(self) -> str:
        return self.server.url("")

    def answer(self, request: Received) -> Answering:
        if not request.path.startswith("/v1/"):
            return self.page(request)
        if self.failing:
            return answer({"error": {"type": "api_error", "message": "An error occurred"}}, 500)
        try:
            return self.asked(request)
        except Refused as refused:
            return refused.answer

    def asked(self, request: Received) -> Answering:
        if request.headers.get("authorization") != f"Bearer {API_KEY}":
            raise Refused(401, "invalid_request_error", "Invalid API Key provided: sk_test_*****")
        if request.headers.get("stripe-version") != stripe._api_version._ApiVersion.CURRENT:
            raise Refused(400, "invalid_request_error", "Invalid Stripe API version")
        key = request.headers.get("idempotency-key", "")
        if key in self.replays:
            body, before = self.replays[key]
            if body != request.body:
                message = "Keys for idempotent requests can only be used with the same parameters"
                raise Refused(400, "idempotency_error", message)
            return Answering(before.status, before.headers | {"Idempotent-Replayed": "true"}, before.body)
        answered = answer(self.routed(request))
        if request.method == "POST" and key:
            self.replays[key] = (request.body, answered)
        return answered

    def routed(self, request: Received) -> dict[str, Any]:
        path, _, query = request.path.partition("?")
        fields = dict(parse_qsl(request.body.decode() or query))
        match request.method, path.strip("/").split("/")[1:]:
            case "GET", ["subscriptions", number]:
                return found(self.subscriptions, number, "subscription", "id")
            case "GET", ["prices", number]:
                price = dict(found(self.prices, number, "price", "price"))
                if fields.get("expand[0]") != "currency_options":
                    price.pop("currency_options", None)
                return price
            case "POST", ["customers"]:
                made = {"id": f"cus_{next(_numbers)}", "object": "customer", "email": fields["email"]}
                self.customers[made["id"]] = made
                return made
            case "POST", ["checkout", "sessions"]:
                return self.checkout(fields)
            case "POST", ["billing_portal", "sessions"]:
                found(self.customers, fields["customer"], "customer", "customer")
                return self.session("bps", "billing_portal.session", "/p/session/", fields)
        raise Refused(404, "invalid_request_error", f"Unrecognized request URL ({request.method}: {path}).")

    def checkout(self, fields: dict[str, str]) -> dict[str, Any]:
        for name in fields:
            if not SESSION_PARAMETERS.fullmatch(name):
                message = f"Received unknown parameter: {name}"
                raise Refused(400, "invalid_request_error", message, "parameter_unknown", name)
        if "customer" in fields and "customer_email" in fields:
            raise Refused(400, "invalid_request_error", "You may only specify one of these: customer, …")
        if "customer" in fields:
            found(self.customers, fields["customer"], "customer", "customer", 400)
        price = fields.get("line_items[0][price]")
        if price:
            found(self.prices, price, "price", "line_items[0][price]", 400)
        return self.session("cs_test", "checkout.session", "/c/pay/", fields)

    def session(self, prefix: str, kind: str, path: str, fields: dict[str, str]) -> dict[str, Any]:
        number = f"{prefix}_{next(_numbers)}"
        self.sessions.append(fields)
        self.open[number] = fields
        made = {"id": number, "object": kind, "url": self.base + path + number, "livemode": False}
        return made | {"created": int(time.time()), "customer": fields.get("customer")}

    def price(self, number: str, unit_amount: int | None = 999, **fields: Any) -> dict[str, Any]:
        """Add a price to its catalogue (https://docs.stripe.com/api/prices/object)."""
        recurring = {"interval": fields.pop("interval", "month"), "interval_count": fields.pop("count", 1)}
        made = {
            "id": number,
            "object": "price",
            "active": True,
            "billing_scheme": "per_unit",
            "currency": "usd",
            "livemode": False,
            "product": f"prod_of_{number}",
            "recurring": recurring | {"usage_type": "licensed", "meter": None, "trial_period_days": None},
            "tiers_mode": None,
            "type": "recurring",
            "unit_amount": unit_amount,
            "unit_amount_decimal": None if unit_amount is None else str(unit_amount),
            **fields,
        }
        self.prices[number] = made
        return made

    def subscribe(self, customer: int, status: str = "active", /, **fields: Any) -> dict[str, Any]:
        """Add a subscription as it is after a checkout of a customer."""
        number, now = next(_numbers), int(time.time())
        plan, price = fields.pop("plan", ""), fields.pop("price", "price_made_up")
        shown = dict(self.prices.get(price) or self.price(price))
        shown.pop("currency_options", None)
        item = {
            "id": f"si_{number}",
            "object": "subscription_item",
            "created": now,
            "current_period_start": now,
            "current_period_end": now + MONTH,
            "discounts": [],
            "metadata": {},
            "price": shown,
            "quantity": 1,
            "subscription": f"sub_{number}",
        }
        made = {
            "id": f"sub_{number}",
            "object": "subscription",
            "status": status,
            "customer": f"cus_of_{customer}",
            "currency": shown["currency"],
            "created": now,
            "start_date": now,
            "billing_cycle_anchor": now,
            "cancel_at_period_end": False,
            "cancel_at": None,
            "canceled_at": None,
            "ended_at": None,
            "trial_start": None,
            "trial_end": None,
            "pause_collection": None,
            "collection_method": "charge_automatically",
            "discounts": [],
            "latest_invoice": f"in_{number}",
            "livemode": False,
            "metadata": {"customer": str(customer), "plan": plan},
            "items": {
                "object": "list",
                "data": [item],
                "has_more": False,
                "total_count": 1,
                "url": f"/v1/subscription_items?subscription=sub_{number}",
            },
            **fields,
        }
        self.subscriptions[made["id"]] = made
        return made

    # --- its pages, where a customer pays and cancels ------------------------------------------------

    def page(self, request: Received) -> Answering:
        *_, kind, number = request.path.split("?")[0].split("/")
        fields = self.open.get(number)
        if fields is None:
            return Answering(404, body=b"This session has expired.")
        if kind == "pay":
            button, back = BUTTON.format("pay", "Pay"), fields["success_url"]
        else:
            button, back = BUTTON.format("cancel", "Cancel at the period's end"), fields["return_url"]
        if request.method != "POST":
            name = fields.get("line_items[0][price_data][product_data][name]", "")
            link = f'<p><a href="{fields.get("cancel_url", back)}">Back</a>'
            text = PAGE.format("Pay" if kind == "pay" else "Your subscriptions", f"<p>{name}{button}{link}")
            return Answering(headers={"Content-Type": "text/html; charset=utf-8"}, body=text.encode())
        for body in self.pay(number) if kind == "pay" else self.cancel(fields["customer"]):
            if self.hub:
                send(self.hub, body)
        return Answering(303, {"Location": back})

    def pay(self, number: str) -> list[bytes]:
        """Pay a session once; return its events, which Stripe sends in any order."""
        fields = self.open.pop(number)
        price = fields.get("line_items[0][price]")
        if price is None:
            made_of = "line_items[0][price_data]"
            price = f"price_{number}"
            interval, currency = fields[f"{made_of}[recurring][interval]"], fields[f"{made_of}[currency]"]
            self.price(price, int(fields[f"{made_of}[unit_amount]"]), interval=interval, currency=currency)
        days = int(fields.get("subscription_data[trial_period_days]", 0))
        trial_end = int(time.time()) + days * 86_400 if days else None
        made = self.subscribe(
            int(fields["subscription_data[metadata][customer]"]),
            "trialing" if days else "active",
            price=price,
            plan=fields["subscription_data[metadata][plan]"],
            customer=fields["customer"],
            trial_end=trial_end,
        )
        session = {"id": number, "object": "checkout.session", "mode": "subscription", "status": "complete"}
        session |= {"payment_status": "paid", "subscription": made["id"], "customer": made["customer"]}
        parent = {"type": "subscription_details", "subscription_details": {"subscription": made["id"]}}
        invoice = {"id": made["latest_invoice"], "object": "invoice", "status": "paid", "parent": parent}
        return [
            event("invoice.paid", invoice),
            event("customer.subscription.created", made),
            event("checkout.session.completed", session),
        ]

    def cancel(self, customer: str) -> list[bytes]:
        """Cancel the customer's subscriptions at the end of the period."""
        own = [made for made in self.subscriptions.values() if made["customer"] == customer]
        for made in own:
            end = made["items"]["data"][0]["current_period_end"]
            made.update(cancel_at_period_end=True, cancel_at=end, canceled_at=int(time.time()))
        return [event("customer.subscription.updated", made) for made in own]


def found(among: dict[str, Any], number: str, kind: str, param: str, status: int = 404) -> dict[str, Any]:
    if number not in among:
        message = f"No such {kind}: '{number}'"
        raise Refused(status, "invalid_request_error", message, "resource_missing", param)
    return among[number]


def answer(content: dict[str, Any], status: int = 200) -> Answering:
    headers = {"Content-Type": "application/json", "Request-Id": f"req_{next(_numbers)}"}
    return Answering(status, headers, json.dumps(content).encode())


def event(kind: str, about: dict[str, Any], created: int | None = None) -> bytes:
    """Return an event's body, with a copy of the object as it is now."""
    return json.dumps(
        {
            "id": f"evt_{next(_numbers)}",
            "object": "event",
            "api_version": stripe._api_version._ApiVersion.CURRENT,
            "created": created or int(time.time()),
            "data": {"object": about},
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": None, "idempotency_key": None},
            "type": kind,
        }
    ).encode()


def signature(body: bytes, secret: str = WEBHOOK_SECRET, at: int | None = None) -> str:
    """Return the `Stripe-Signature` header of an event."""
    at = at or int(time.time())
    signed = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={signed},v0=old"


def send(hub: str, body: bytes) -> str:
    """Send an event to a hub; return the outcome."""
    headers = {"Stripe-Signature": signature(body), "Content-Type": "application/json; charset=utf-8"}
    request = urllib.request.Request(f"{hub}/api/stripe", body, headers)  # noqa: S310 - a hub of ours
    with urllib.request.urlopen(request, timeout=20) as answered:  # noqa: S310
        return str(json.load(answered)["outcome"])


@contextmanager
def local_stripe(hub: str | None = None, port: int = 0) -> Iterator[LocalStripe]:
    with receiver(port=port) as server:
        yield LocalStripe(server, hub)


if __name__ == "__main__":
    import sys
    import threading

    with local_stripe(sys.argv[1], port=12_111) as running:
        print(f"STRIPE_API_BASE={running.base}")  # noqa: T201
        print(f"STRIPE_API_KEY={API_KEY}")  # noqa: T201
        print(f"STRIPE_WEBHOOK_SECRET={WEBHOOK_SECRET}", flush=True)  # noqa: T201
        threading.Event().wait()

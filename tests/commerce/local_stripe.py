"""A stand-in for Stripe on loopback: answers in its documented format, and signs events by its scheme.

https://docs.stripe.com/api/subscriptions/object, …/checkout/sessions/object, …/errors;
https://docs.stripe.com/webhooks#verify-manually
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs

from tests.commerce.receiver import Answering, Received, Receiver, receiver

API_KEY = "sk_test_local"
WEBHOOK_SECRET = "whsec_local_stripe_secret"
_numbers = itertools.count(1)


class LocalStripe:
    """Its subscriptions, and what it was asked."""

    def __init__(self, server: Receiver) -> None:
        self.server = server
        self.subscriptions: dict[str, dict[str, Any]] = {}
        self.sessions: list[dict[str, str]] = []
        """The parameters of each session that was asked for, by their bracketed names."""
        self.failing = False
        server.answer = self.answer

    @property
    def base(self) -> str:
        return self.server.url("")

    def answer(self, request: Received) -> Answering:
        if request.headers.get("authorization") != f"Bearer {API_KEY}":
            return error(401, "invalid_request_error", "Invalid API Key provided")
        if self.failing:
            return error(500, "api_error", "An error occurred")
        match request.path.split("?")[0].strip("/").split("/"):
            case ["v1", "subscriptions", number] if number in self.subscriptions:
                return answer(self.subscriptions[number])
            case ["v1", "checkout", "sessions"]:
                return self.session(request, "checkout.session", "https://checkout.stripe.com/c/pay/")
            case ["v1", "billing_portal", "sessions"]:
                return self.session(request, "billing_portal.session", "https://billing.stripe.com/p/")
        return error(404, "invalid_request_error", "No such resource")

    def session(self, request: Received, kind: str, prefix: str) -> Answering:
        fields = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        self.sessions.append(fields)
        number = f"cs_test_{next(_numbers)}"
        return answer({"id": number, "object": kind, "url": prefix + number, "livemode": False, **fields})

    def subscribe(self, customer: int, status: str = "active", **fields: Any) -> dict[str, Any]:
        """A subscription as Stripe has it after a checkout of that customer's."""
        number = next(_numbers)
        now = int(time.time())
        plan, price = fields.pop("plan", ""), fields.pop("price", "price_made_up")
        made = {
            "id": f"sub_{number}",
            "object": "subscription",
            "status": status,
            "customer": f"cus_of_{customer}",
            "created": now,
            "start_date": now,
            "cancel_at_period_end": False,
            "cancel_at": None,
            "canceled_at": None,
            "ended_at": None,
            "trial_end": None,
            "metadata": {"customer": str(customer), "plan": plan},
            "items": {
                "object": "list",
                "has_more": False,
                "data": [
                    {
                        "id": f"si_{number}",
                        "object": "subscription_item",
                        "current_period_start": now,
                        "current_period_end": now + 30 * 86400,
                        "price": {"id": price, "object": "price", "unit_amount": 999, "currency": "usd"},
                        "quantity": 1,
                    }
                ],
            },
            **fields,
        }
        self.subscriptions[made["id"]] = made
        return made


def answer(content: dict[str, Any], status: int = 200) -> Answering:
    headers = {"Content-Type": "application/json", "Request-Id": f"req_{next(_numbers)}"}
    return Answering(status, headers, json.dumps(content).encode())


def error(status: int, kind: str, message: str) -> Answering:
    return answer({"error": {"type": kind, "message": message}}, status)


def event(kind: str, about: dict[str, Any], created: int | None = None) -> bytes:
    """An event's body, with a copy of the object as it was then."""
    return json.dumps(
        {
            "id": f"evt_{next(_numbers)}",
            "object": "event",
            "api_version": "2026-10-28.endive",
            "created": created or int(time.time()),
            "data": {"object": about},
            "livemode": False,
            "pending_webhooks": 1,
            "type": kind,
        }
    ).encode()


def signature(body: bytes, secret: str = WEBHOOK_SECRET, at: int | None = None) -> str:
    """The `Stripe-Signature` header of an event."""
    at = at or int(time.time())
    signed = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={signed},v0=old"


@contextmanager
def local_stripe() -> Iterator[LocalStripe]:
    with receiver() as server:
        yield LocalStripe(server)

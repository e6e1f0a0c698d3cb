"""`GET me` and `GET usage`: free of charge, and open to customers without a live subscription."""

from typing import Any

from django.http import HttpResponse
from rest_framework.request import Request

from commerce import usage
from commerce.api import serializers
from commerce.api.base import ReaderView, json
from commerce.api.documentation import ALWAYS, documented
from commerce.entitlements import Entitlement
from commerce.models import Customer, Subscription, UsageDay

DAYS = 30
UNPAID = tuple(status for status in ALWAYS if status != 400)


class Me(ReaderView):
    counted = False

    @documented(
        serializers.Me,
        summary="See who I am and what I may",
        description="Not counted, and open to customers without a live subscription.",
        operation_id="get_me",
        problems=UNPAID,
    )
    def get(self, _request: Request) -> HttpResponse:
        rights = self.reader.rights
        customer = Customer.objects.get(pk=self.reader.customer_id)
        live = Subscription.objects.get(pk=rights.subscription_id) if rights else None
        return json(
            {
                "customer": customer.email,
                "key": self.reader.key_id,
                "subscription": _state(live, rights) if live and rights else None,
                "rights": _rights(rights) if rights else None,
            }
        )


class Usage(ReaderView):
    counted = False

    @documented(
        serializers.UsageReport,
        summary="See what I used",
        description="Not counted, and open to customers without a live subscription.",
        operation_id="get_usage",
        problems=UNPAID,
    )
    def get(self, _request: Request) -> HttpResponse:
        rights = self.reader.rights
        used = usage.today(self.reader.customer_id)
        days = UsageDay.objects.filter(customer=self.reader.customer_id).order_by("-day")[:DAYS]
        return json(
            {
                "requests": _counter(used.requests, rights.requests_per_day if rights else 0),
                "signals": _counter(used.signals, rights.signals_per_day if rights else 0),
                "resets_at": used.resets_at,
                "days": [{"day": row.day, "requests": row.requests, "signals": row.signals} for row in days],
            }
        )


def _counter(used: int, limit: int | None) -> dict[str, Any]:
    return {"used": used, "limit": limit, "remaining": None if limit is None else max(0, limit - used)}


def _state(subscription: Subscription, rights: Entitlement) -> dict[str, Any]:
    return {
        "plan": rights.plan,
        "state": subscription.state,
        "started_at": subscription.started_at,
        "period_ends_at": subscription.period_ends_at,
        "ends_at": subscription.ends_at,
    }


def _rights(rights: Entitlement) -> dict[str, Any]:
    scope = rights.scope
    return {
        "ecosystems": None if scope.ecosystems is None else sorted(scope.ecosystems),
        "instruments": list(scope.instruments) or None,
        "delay_seconds": scope.delay.total_seconds(),
        "history_days": scope.history / usage.ONE_DAY if scope.history is not None else None,
        "raw_payload": scope.payload,
        "requests_per_day": rights.requests_per_day,
        "signals_per_day": rights.signals_per_day,
        "streams": rights.streams,
        "webhooks": rights.webhooks,
    }

"""`GET me` and `GET usage`: open to customers without a live subscription."""

from typing import Any

from django.http import HttpResponse
from rest_framework.request import Request

from commerce import usage
from commerce.api import serializers
from commerce.api.base import ReaderView, json
from commerce.api.documentation import ALWAYS, documented
from commerce.entitlements import Entitlement
from commerce.models import Customer, UsageDay

MAX_USAGE_DAYS = 30
UNPAID = tuple(status for status in ALWAYS if status != 400)


class AccountDetail(ReaderView):
    needs_subscription = False

    @documented(
        serializers.Me,
        summary="Get the customer, key and plan",
        description="Open to customers without a live subscription.",
        operation_id="get_me",
        problems=UNPAID,
    )
    def get(self, _request: Request) -> HttpResponse:
        entitlement = self.reader.entitlement
        customer = Customer.objects.filter(pk=self.reader.customer_id).first()
        live = customer.subscription() if customer else None
        return json(
            {
                "customer": customer.email if customer else None,
                "key": self.reader.key_id,
                "subscription": serializers.SubscriptionState(live).data if live else None,
                "rights": _rights(entitlement) if entitlement else None,
            }
        )


class UsageDetail(ReaderView):
    counted = False

    @documented(
        serializers.UsageReport,
        summary="Get usage and limits",
        description="Not counted, and open to customers without a live subscription.",
        operation_id="get_usage",
        problems=UNPAID,
    )
    def get(self, _request: Request) -> HttpResponse:
        entitlement = self.reader.entitlement
        used = usage.today(self.reader.customer_id)
        days = UsageDay.objects.filter(customer=self.reader.customer_id).order_by("-day")[:MAX_USAGE_DAYS]
        return json(
            {
                "requests": _counter(used.requests, entitlement.requests_per_day if entitlement else 0),
                "signals": _counter(used.signals, entitlement.signals_per_day if entitlement else 0),
                "resets_at": used.resets_at,
                "days": serializers.UsageOfDay(days, many=True).data,
            }
        )


def _counter(used: int, limit: int | None) -> dict[str, Any]:
    return {"used": used, "limit": limit, "remaining": None if limit is None else max(0, limit - used)}


def _rights(entitlement: Entitlement) -> dict[str, Any]:
    scope = entitlement.scope
    return {
        "ecosystems": None if scope.ecosystems is None else sorted(scope.ecosystems),
        "instruments": list(scope.instruments) or None,
        "delay_seconds": scope.delay.total_seconds(),
        "history_days": scope.history / usage.ONE_DAY if scope.history is not None else None,
        "raw_payload": scope.payload,
        "simulated": scope.simulated,
        "requests_per_day": entitlement.requests_per_day,
        "signals_per_day": entitlement.signals_per_day,
        "streams": entitlement.streams,
        "webhooks": entitlement.webhooks,
    }

"""GET /api/v1/me and GET /api/v1/usage"""

from datetime import timedelta

import pytest
from django.utils import timezone

from commerce.models import Subscription, UsageDay
from tests.commerce.feed.reading import Reader, grant, reader, record

pytestmark = pytest.mark.django_db(transaction=True)


def test_me_has_the_plan_and_its_rights():
    given = grant(
        ecosystems=["forex"], instruments=["EUR/*"], delay=timedelta(minutes=15), history_days=30, webhooks=2
    )
    me = Reader(given.value).get("me").json()
    assert me["customer"] == given.key.reader.customer.email
    assert me["key"] == given.key.key_id
    assert me["subscription"]["state"] == "active"
    assert me["rights"] == {
        "ecosystems": ["forex"],
        "instruments": ["EUR/*"],
        "delay_seconds": 900.0,
        "history_days": 30.0,
        "raw_payload": False,
        "simulated": False,
        "requests_per_day": None,
        "signals_per_day": None,
        "streams": 5,
        "webhooks": 2,
    }


def test_without_a_subscription_me_says_so():
    given = grant()
    Subscription.objects.update(state="cancelled")
    me = Reader(given.value).get("me").json()
    assert me["subscription"] is None
    assert me["rights"] is None
    assert Reader(given.value).get("usage").json()["requests"] == {"used": 1, "limit": 0, "remaining": 0}


def test_usage_counts_what_was_read():
    record("a", "b", "c")
    someone = reader(requests_per_day=10)
    someone.page(limit=2)
    someone.get("me")
    someone.get("usage")
    usage = someone.get("usage").json()
    assert usage["requests"] == {"used": 2, "limit": 10, "remaining": 8}
    assert usage["signals"] == {"used": 2, "limit": None, "remaining": None}
    assert usage["days"] == [{"day": timezone.now().date().isoformat(), "requests": 2, "signals": 2}]


def test_usage_is_shown_at_the_limit_too():
    someone = reader(requests_per_day=1)
    assert [someone.get("signals").status_code for _ in range(2)] == [200, 429]
    assert someone.get("usage").json()["requests"]["remaining"] == 0


def test_usage_keeps_thirty_days():
    given = grant()
    owner = given.key.reader.customer
    today = timezone.now().date()
    for age in range(40):
        UsageDay.objects.create(customer=owner, day=today - timedelta(days=age), requests=age)
    days = Reader(given.value).get("usage").json()["days"]
    assert [day["requests"] for day in days] == list(range(30))

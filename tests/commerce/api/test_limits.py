"""Limits of a day: 429, its headers, and that no signal is lost or given twice at the limit."""

import re
import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from commerce import usage
from commerce.models import UsageDay
from tests.commerce.feed.reading import Reader, grant, reader, record

pytestmark = pytest.mark.django_db(transaction=True)

LEFT = re.compile(r'"(\w+)";r=(\d+);t=(\d+)')


def left(response):
    return {name: int(rest) for name, rest, _ in LEFT.findall(response["RateLimit"])}


def test_the_headers_have_the_limits_and_what_remains():
    record("a", "b")
    someone = reader(requests_per_day=10, signals_per_day=5)
    response = someone.get("signals")
    assert left(response) == {"requests": 9, "signals": 3}
    assert (
        response["RateLimit-Policy"]
        == '"requests";q=10;w=86400;qu="requests", "signals";q=5;w=86400;qu="signals"'
    )
    midnight = (timezone.now() + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    seconds = int(LEFT.search(response["RateLimit"])[3])
    assert abs(seconds - (midnight - timezone.now()).total_seconds()) < 60


def test_an_unlimited_plan_has_no_such_headers():
    response = reader().get("signals")
    assert "RateLimit" not in response
    assert "RateLimit-Policy" not in response


def test_a_request_above_the_limit_is_a_429_that_says_when_to_retry():
    someone = reader(requests_per_day=2)
    assert [someone.get("signals").status_code for _ in range(4)] == [200, 200, 429, 429]
    refused = someone.get("instruments")
    assert refused.status_code == 429
    assert refused["Content-Type"] == "application/problem+json"
    assert left(refused) == {"requests": 0}
    problem = refused.json()
    assert problem["type"].endswith("#quota-exceeded")
    assert problem["violated-policies"] == ["requests"]
    assert problem["resets_at"].endswith("T00:00:00Z")
    assert 0 < int(refused["Retry-After"]) <= 86400
    assert UsageDay.objects.get().requests == 2


def test_a_plan_with_no_requests_gives_none():
    assert reader(requests_per_day=0).get("signals").status_code == 429


def test_bad_requests_count_and_other_days_do_not():
    given = grant(requests_per_day=2)
    owner = given.key.reader.customer
    UsageDay.objects.create(
        customer=owner, day=timezone.now().date() - timedelta(days=1), requests=100, signals=100
    )
    someone = Reader(given.value)
    answers = [someone.get("signals", limit=limit).status_code for limit in (0, 1, 1)]
    assert answers == [400, 200, 429]


def test_at_the_signal_limit_reading_stops_and_goes_on_the_next_day_without_a_gap():
    record(*(f"s{number}" for number in range(10)))
    someone = reader(signals_per_day=4)
    first = someone.page(limit=3)
    second = someone.page(limit=3, after=first["next"])
    assert [signal["signal_id"] for signal in second["signals"]] == ["s3"]
    assert second["has_more"]
    refused = someone.get("signals", after=second["next"])
    assert refused.status_code == 429
    assert refused.json()["code"] == "signals_used_up"
    assert left(refused) == {"requests": 0} or left(refused) == {"signals": 0}
    UsageDay.objects.update(day=timezone.now().date() - timedelta(days=1))
    third = someone.page(after=second["next"], limit=4)
    assert [signal["signal_id"] for signal in third["signals"]] == ["s4", "s5", "s6", "s7"]


def test_an_empty_page_costs_no_signal():
    record("a")
    someone = reader(signals_per_day=2)
    after = someone.page()["next"]
    assert someone.page(after=after)["signals"] == []
    assert left(someone.get("signals", after=after))["signals"] == 1


def test_at_the_limit_no_answer_shows_what_there_is_to_read():
    record("a", "b")
    someone = reader(signals_per_day=1)
    first = someone.get("signals", limit=1)
    answers = [
        someone.get("signals", after=first.json()["next"], action="BUY"),
        someone.get("signals", after=first.json()["next"], action="SELL"),
        someone.get("signals", headers={"If-None-Match": first["ETag"]}),
        someone.get("signals/crypto/b"),
        someone.get("signals/crypto/none"),
    ]
    assert {answer.status_code for answer in answers} == {429}
    assert len({answer.json()["detail"] for answer in answers}) == 1


def test_a_customers_keys_share_the_day():
    given = grant(requests_per_day=1)
    second = given.key.reader.customer.issue_key("other")
    assert Reader(given.value).get("signals").status_code == 200
    assert Reader(second.value).get("signals").status_code == 429


def test_many_at_once_get_exactly_the_limit():
    record(*(f"s{number}" for number in range(20)))
    given = grant(requests_per_day=30, signals_per_day=70)
    answers = []

    def read():
        someone = Reader(given.value)
        answers.extend(someone.get("signals", limit=7) for _ in range(5))
        connection.close()

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    given_out = sum(len(answer.json()["signals"]) for answer in answers if answer.status_code == 200)
    day = UsageDay.objects.get()
    assert (day.requests, day.signals, given_out) == (30, 70, 70)


def test_signals_are_counted_where_no_request_was():
    owner = grant().key.reader.customer
    assert usage.count_signals(owner.pk, 5, 7) == 5
    assert usage.count_signals(owner.pk, 5, 7) == 2
    assert usage.count_signals(owner.pk, 5, 7) == 0
    assert usage.count_signals(owner.pk, 5, None) == 5
    assert UsageDay.objects.get().signals == 12

"""When the markets trade, on dates from their real calendars (UTC)."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecosystems import ECOSYSTEMS
from ecosystems.market.calendars import CALENDARS, is_market_open, next_market_change

pytest.importorskip("exchange_calendars", reason="exchange_calendars is not installed")

OPEN_OR_NOT = [
    ("crypto", "2024-12-25T12:00Z", True),
    ("forex", "2024-01-07T21:59Z", False),  # Sunday 16:59 in New York's winter
    ("forex", "2024-01-07T22:00Z", True),
    ("forex", "2024-01-12T21:59Z", True),  # Friday
    ("forex", "2024-01-12T22:00Z", False),
    ("forex", "2024-01-13T12:00Z", False),
    ("forex", "2024-07-07T20:59Z", False),  # summer: an hour earlier
    ("forex", "2024-07-07T21:00Z", True),
    ("forex", "2024-03-10T20:59Z", False),  # the Sunday on which the clocks went forward
    ("forex", "2024-03-10T21:00Z", True),
    ("forex", "2024-11-03T21:59Z", False),  # and back
    ("forex", "2024-11-03T22:00Z", True),
    ("stock", "2024-01-16T14:29Z", False),
    ("stock", "2024-01-16T14:30Z", True),
    ("stock", "2024-01-16T20:59Z", True),
    ("stock", "2024-01-16T21:00Z", False),
    ("stock", "2024-01-15T15:00Z", False),  # Martin Luther King Day
    ("stock", "2024-03-29T15:00Z", False),  # Good Friday
    ("stock", "2024-06-19T15:00Z", False),  # Juneteenth
    ("stock", "2021-06-18T15:00Z", True),  # not yet a holiday of the exchange's
    ("stock", "2024-07-08T13:30Z", True),  # summer
    ("stock", "2024-11-28T15:00Z", False),  # Thanksgiving
    ("stock", "2024-11-29T17:59Z", True),  # the half day after it ends at 13:00
    ("stock", "2024-11-29T18:00Z", False),
    ("stock", "2025-01-09T15:00Z", False),  # day of mourning
    ("stock", "2012-10-29T15:00Z", False),  # hurricane Sandy
    ("stock", "2024-01-13T15:00Z", False),
]
CHANGES = [
    ("forex", "2024-01-10T12:00Z", "2024-01-12T22:00Z"),
    ("forex", "2024-01-12T22:00Z", "2024-01-14T22:00Z"),
    ("forex", "2024-03-08T23:00Z", "2024-03-10T21:00Z"),  # over the switch to daylight saving
    ("forex", "2024-01-14T22:00Z", "2024-01-19T22:00Z"),
    ("stock", "2024-11-27T21:00Z", "2024-11-29T14:30Z"),
    ("stock", "2024-11-29T14:30Z", "2024-11-29T18:00Z"),
    ("stock", "2024-12-31T21:00Z", "2025-01-02T14:30Z"),
]
FAR = [
    datetime.min.replace(tzinfo=UTC),
    datetime(1677, 1, 1, tzinfo=UTC),
    datetime(2263, 1, 1, tzinfo=UTC),
    datetime.max.replace(tzinfo=UTC),
]
TIMES = st.datetimes(timezones=st.just(UTC))


def at(text):
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(("ecosystem", "when", "expected"), OPEN_OR_NOT)
def test_is_open(ecosystem, when, expected):
    assert is_market_open(ecosystem, at(when)) is expected


@pytest.mark.parametrize(("ecosystem", "when", "expected"), CHANGES)
def test_next_change(ecosystem, when, expected):
    assert next_market_change(ecosystem, at(when)) == at(expected)


def test_crypto_never_changes():
    assert next_market_change("crypto", at("2024-01-01T00:00Z")) is None


def test_every_ecosystem_has_hours():
    assert set(CALENDARS) == set(ECOSYSTEMS)


@settings(max_examples=60)
@given(st.sampled_from(ECOSYSTEMS), TIMES)
def test_the_state_changes_at_the_next_change_and_not_before(ecosystem, when):
    change = next_market_change(ecosystem, when)
    if change is not None:
        assert change > when
        assert is_market_open(ecosystem, change) is not is_market_open(ecosystem, when)
        before = change - timedelta(microseconds=1)
        assert is_market_open(ecosystem, before) is is_market_open(ecosystem, when)


@pytest.mark.parametrize("ecosystem", ECOSYSTEMS)
@pytest.mark.parametrize("when", FAR)
def test_far_dates_raise_nothing(ecosystem, when):
    assert is_market_open(ecosystem, when) in (True, False)
    next_market_change(ecosystem, when)


@pytest.mark.parametrize("ecosystem", ["forex", "stock"])
def test_a_time_without_offset_is_refused(ecosystem):
    with pytest.raises(ValueError, match="aware"):
        is_market_open(ecosystem, datetime(2024, 1, 1))  # noqa: DTZ001


def test_the_calendar_is_loaded_only_for_stocks():
    program = """
import sys
from datetime import UTC, datetime
from ecosystems.market.calendars import is_market_open
now = datetime.now(UTC)
is_market_open("crypto", now), is_market_open("forex", now)
sys.exit("pandas" in sys.modules or "exchange_calendars" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0

"""A time that is read is the moment it is."""

from datetime import UTC, datetime

import pytest
from django.db import connection, transaction


@pytest.mark.django_db
@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kathmandu"])
def test_times_are_right_in_a_session_of_any_time_zone(zone):
    # A pooler may hand out a session whose time zone another client has set.
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL timezone = '{zone}'")
        cursor.execute("SELECT '2026-07-01T12:00:00.000001Z'::timestamptz")
        assert cursor.fetchone() == (datetime(2026, 7, 1, 12, 0, 0, 1, tzinfo=UTC),)

"""Scoring a call from another feed: an operator's choice, which leaves an event with a name."""

from typing import Any

from django.db import connection, transaction

from aggregator.ledger.errors import classified
from aggregator.models import Outcome, PriceSeries

# The row that the scorer locks: it must not be scoring the call at this moment.
LOCK_INSTRUMENT = """
    SELECT FROM priced_instruments
    WHERE ecosystem = %(ecosystem)s AND instrument = %(instrument)s FOR UPDATE"""
CHOOSE = """
    UPDATE outcomes SET chosen_series_id = %(series)s, chosen_by = %(by)s, stale = 'feed'
    WHERE position = %(position)s AND ecosystem = %(ecosystem)s AND instrument = %(instrument)s"""
REQUEST_SCORING = """
    INSERT INTO scoring_requests (ecosystem, instrument) VALUES (%(ecosystem)s, %(instrument)s)"""


class CannotChoose(Exception):
    """There is no such call, or that feed has no prices of it; the text is one line for the operator."""


def series_of(outcome: Outcome) -> list[PriceSeries]:
    """Return the series of a call's instrument that may price it, those that were on record first before."""
    series = PriceSeries.objects.filter(ecosystem=outcome.ecosystem, instrument=outcome.instrument)
    return [each for each in series.order_by("pk") if outcome.simulated or not each.is_synthetic]


def choose_feed(position: int, feed: str, by: str) -> None:
    """Have a call scored again with the candles of a feed. Raises CannotChoose and Outage."""
    outcome = Outcome.objects.filter(position=position).first()
    if outcome is None:
        raise CannotChoose(f"there is no call at position {position}")
    known = series_of(outcome)
    chosen = next((each for each in known if each.feed == feed), None)
    if chosen is None:
        names = ", ".join(dict.fromkeys(each.feed for each in known)) or "none"
        raise CannotChoose(f"{feed!r} has no prices of {outcome.instrument}; there are those of: {names}")
    place: dict[str, Any] = {"ecosystem": outcome.ecosystem, "instrument": outcome.instrument}
    with classified(), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(LOCK_INSTRUMENT, place)
        cursor.execute(CHOOSE, {**place, "position": position, "series": chosen.pk, "by": by})
        cursor.execute(REQUEST_SCORING, place)

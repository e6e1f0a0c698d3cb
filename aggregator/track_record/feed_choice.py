"""Scoring a call from another feed: an operator's choice, which leaves an event with a name."""

from django.db import transaction

from aggregator.ledger.errors import classified
from aggregator.models import Outcome, PricedInstrument, PriceSeries, ScoringRequest


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
    place = {"ecosystem": outcome.ecosystem, "instrument": outcome.instrument}
    with classified(), transaction.atomic():
        # The row that the scorer locks: it must not be scoring the call at this moment.
        PricedInstrument.objects.select_for_update().filter(**place).first()
        calls = Outcome.objects.filter(**place, position=position)
        calls.update(chosen_series=chosen, chosen_by=by, stale="feed")
        ScoringRequest.objects.create(**place)

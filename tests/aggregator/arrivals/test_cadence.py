"""How often agents usually send, and how long they may be silent."""

from datetime import UTC, datetime, timedelta
from itertools import accumulate

import pytest

from aggregator.arrivals import cadence
from aggregator.arrivals.open_hours import OpenTime
from aggregator.arrivals.silence import Judge
from aggregator.models import AgentCadence
from tests.aggregator.ledger.samples import entry, record_and_count, rows

MINUTE = timedelta(minutes=1)
FRIDAY = datetime(2026, 11, 20, 12, tzinfo=UTC)
MONDAY = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def clock():
    """Crypto's: always open."""
    return OpenTime("crypto", FRIDAY, MONDAY)


def minutes(gaps):
    return [FRIDAY + timedelta(minutes=each) for each in accumulate([0, *gaps])]


def test_open_time_of_a_market_that_never_closes(clock):
    assert clock.until(MONDAY) == timedelta(days=3)
    assert clock.until(FRIDAY + 3 * MINUTE) - clock.until(FRIDAY + MINUTE) == 2 * MINUTE
    assert clock.until(FRIDAY - MINUTE) == timedelta()


def test_a_weekend_does_not_count():
    clock = OpenTime("forex", FRIDAY, MONDAY)
    # Forex rests from Friday 17:00 to Sunday 17:00 in New York, 22:00 UTC in November.
    assert clock.until(MONDAY) == timedelta(days=1)
    saturday, sunday = FRIDAY + timedelta(days=1), FRIDAY + timedelta(days=2)
    assert clock.until(saturday) == clock.until(sunday)


def test_one_outage_does_not_teach_that_outages_are_usual(clock):
    assert cadence.usual_gap(clock, minutes([5] * 29 + [600])) == (5 * MINUTE, 30)


def test_few_gaps_teach_nothing(clock):
    assert cadence.usual_gap(clock, minutes([5] * 19)) == (None, 19)
    assert cadence.usual_gap(clock, []) == (None, 0)


def arrive(agent, every, count, ecosystem="crypto"):
    """Rollups of an agent that sent every so many minutes until just now."""
    record_and_count([entry(agent, agent_source=agent, ecosystem=ecosystem, symbol="EURUSD")], "webhook")
    rows(
        "INSERT INTO arrival_minutes (minute, ecosystem, agent_source, transport, accepted, duplicates,"
        " conflicts, refused, lags) SELECT date_trunc('minute', now()) - n * make_interval(mins => %s), %s,"
        " %s, 'redis', 1, 0, 0, 0, '{}' FROM generate_series(1, %s) AS n RETURNING 1",
        every, ecosystem, agent, count,
    )  # fmt: skip


@pytest.mark.django_db(transaction=True)
def test_learning_from_arrivals():
    arrive("often", 2, 100)
    arrive("seldom", 60, 50)
    arrive("new", 5, 3)
    assert cadence.learn_cadences() == 2
    learned = {each.agent.agent_source: each.gap for each in AgentCadence.objects.select_related("agent")}
    assert learned == {"often": 2 * MINUTE, "seldom": 60 * MINUTE, "new": None}

    allowed = {each.agent_source: each.allowed for each in Judge().most_urgent(10)}
    assert allowed == {"often": 6 * MINUTE, "seldom": 180 * MINUTE, "new": timedelta(days=1)}


@pytest.mark.django_db(transaction=True)
def test_what_was_learned_once_is_not_read_again():
    arrive("often", 2, 100)
    cadence.learn_cadences()
    rows("DELETE FROM arrival_minutes WHERE minute < now() - interval '30 minutes' RETURNING 1")
    record_and_count([entry("more", agent_source="often")], "webhook")
    assert cadence.learn_cadences() == 1
    [learned] = AgentCadence.objects.all()
    assert learned.gap == 2 * MINUTE
    assert learned.gaps in {100, 101}  # the last came in the same minute, or in the next one


@pytest.mark.django_db(transaction=True)
def test_what_was_learned_is_forgotten_after_a_month():
    arrive("often", 2, 100)
    cadence.learn_cadences()
    rows("UPDATE agent_cadences SET minutes = ARRAY(SELECT unnest(minutes) - 44000) RETURNING 1")
    assert cadence.learn_cadences() == 0
    [learned] = AgentCadence.objects.all()
    assert learned.gap is None

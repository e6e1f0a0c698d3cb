"""A silence while the market is closed: no new alert, no repeats, and no end of what is not mended."""

from datetime import UTC, datetime, timedelta

import pytest

from aggregator.alerts import transitions
from aggregator.alerts.rules import evaluate
from aggregator.arrivals.open_hours import OpenTime
from aggregator.health.freshness_check import FreshnessCheck
from aggregator.models import Agent, Alert, AlertPolicy
from tests.aggregator.alerts.chat_service import passes, send_due
from tests.aggregator.ledger.samples import entry, record_and_count, rows

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "forex"])

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
# Forex rests from Friday 17:00 to Sunday 17:00 in New York, 22:00 UTC in November.
FRIDAY = datetime(2026, 11, 20, 12, tzinfo=UTC)
CLOSED = datetime(2026, 11, 21, 12, tzinfo=UTC)
REOPENED = datetime(2026, 11, 22, 22, tzinfo=UTC)


@pytest.fixture(autouse=True)
def agent(redis_client):
    """One that is expected every twenty minutes and was seen last on Friday."""
    policy = AlertPolicy.current()
    record_and_count([entry("a", ecosystem="forex", symbol="EURUSD")], "webhook")
    Agent.objects.update(expected_cadence=20 * MINUTE, last_seen=FRIDAY)
    return policy


def look(policy, at):
    """A turn at a moment; the kinds of change it made to the agent's alert."""
    changes = transitions.record_conditions(evaluate(policy, [], at))
    kinds = {"fired": changes.fired, "repeated": changes.repeated, "over": changes.over}
    return [kind for kind, alerts in kinds.items() if any(each.rule == "agent_silent" for each in alerts)]


def test_an_alert_is_quiet_while_the_market_is_closed_and_goes_on_after_it_opened(agent, channel, receiver):
    assert look(agent, FRIDAY + HOUR) == ["fired"]
    for _ in range(30):
        passes(60)
        assert look(agent, CLOSED) == []
    alert = Alert.objects.get(rule="agent_silent")
    assert (alert.resolved_at, alert.notifications) == (None, 1)
    assert "market is closed" in alert.text

    assert look(agent, REOPENED + 19 * MINUTE) == []
    assert look(agent, REOPENED + 21 * MINUTE) == ["repeated"]
    assert look(agent, REOPENED + 22 * MINUTE) == []
    send_due()
    assert [title.partition("Hub: ")[2] for title in receiver.titles] == ["2 new", "2 going on"]
    assert "market is closed" not in receiver.messages[-1]["message"]


def test_an_agent_that_comes_back_meanwhile_ends_it(agent):
    look(agent, FRIDAY + HOUR)
    passes(60)
    Agent.objects.update(last_seen=CLOSED)
    assert look(agent, CLOSED) == ["over"]


def test_nothing_new_fires_while_the_market_is_closed(agent):
    assert look(agent, CLOSED) == []
    assert look(agent, REOPENED + MINUTE) == []
    assert not Alert.objects.exists()
    assert look(agent, REOPENED + 21 * MINUTE) == ["fired"]


def test_the_grace_is_at_most_half_a_session():
    """An agent that sends once in several sessions is judged in the later half of each."""
    opening = datetime(2026, 11, 23, 14, 30, tzinfo=UTC)  # New York's stock exchange, for 6.5 hours

    def rests(at):
        return OpenTime("stock", at - timedelta(days=30), at).is_closed_or_just_opened(timedelta(days=1))

    assert rests(opening + 3 * HOUR)
    assert not rests(opening + 4 * HOUR)
    assert rests(opening + 7 * HOUR)


@pytest.mark.parametrize(
    "reopened", [datetime(2026, 3, 8, 21, tzinfo=UTC), datetime(2026, 11, 1, 22, tzinfo=UTC)]
)
def test_a_change_of_the_clocks_moves_the_opening(reopened):
    """The weekends at which New York's clocks change: 17:00 there is another hour in UTC than before."""

    def rests(at):
        return OpenTime("forex", at - timedelta(days=30), at).is_closed_or_just_opened(20 * MINUTE)

    assert rests(reopened - MINUTE)
    assert rests(reopened + 19 * MINUTE)
    assert not rests(reopened + 20 * MINUTE)


def test_freshness_knows_the_trading_hours(agent, monkeypatch):
    from aggregator.arrivals import cadence
    from aggregator.health.runner import CheckRunner

    real = cadence.silences
    found = {}
    for at in (FRIDAY + HOUR, CLOSED, REOPENED + MINUTE, REOPENED + HOUR):
        monkeypatch.setattr(cadence, "silences", lambda at=at, **options: real(at, **options))
        (outcome,) = CheckRunner([FreshnessCheck("forex")]).ask_all()
        found[at] = outcome.state.value
    assert list(found.values()) == ["degraded", "ok", "ok", "degraded"]


def test_what_is_not_found_just_now_is_not_repeated(channel):
    """It may be over; that is only sure a minute later."""
    from aggregator.alerts.rules import Condition, Conditions

    silent = Conditions([Condition("agent_silent", "crypto/bot-1", "silent for 1 h")])
    transitions.record_conditions(silent)
    rows("UPDATE alerts SET repeat_at = now() - interval '1 second' RETURNING 1")
    assert not transitions.record_conditions(Conditions([])).repeated
    assert transitions.record_conditions(silent).repeated

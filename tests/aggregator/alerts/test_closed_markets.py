"""A silence while the market is closed: no new alert, no repeats, and no recovery that did not happen."""

from datetime import UTC, datetime, timedelta

import pytest

from aggregator.alerts import transitions
from aggregator.alerts.rules import evaluate
from aggregator.arrivals.silence import Judge
from aggregator.health.market_checks import FreshnessCheck
from aggregator.models import Agent, Alert, AlertPolicy
from tests.aggregator.alerts.chat_service import passes, send_due
from tests.aggregator.ledger.samples import entry, record_and_count, rows

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "forex"])

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
# Forex is closed from Friday 17:00 to Sunday 17:00 in New York, 22:00 UTC in November.
FRIDAY = datetime(2026, 11, 20, 12, tzinfo=UTC)
CLOSED = datetime(2026, 11, 21, 12, tzinfo=UTC)
REOPENED = datetime(2026, 11, 22, 22, tzinfo=UTC)


@pytest.fixture(autouse=True)
def agent(redis_client):
    """An agent that is expected every twenty minutes and was last seen on Friday; the policy."""
    policy = AlertPolicy.current()
    record_and_count([entry("a", ecosystem="forex", symbol="EURUSD")], "webhook")
    Agent.objects.update(expected_cadence=20 * MINUTE, last_seen=FRIDAY)
    return policy


def record(policy, at):
    """Evaluate the rules at a moment; the transitions of the agent's alert."""
    changes = transitions.record_conditions(evaluate(policy, [], at))
    return [each.kind for each in changes if each.rule == "agent_silent"]


def test_an_alert_pauses_while_the_market_is_closed(agent, channel, receiver):
    assert record(agent, FRIDAY + HOUR) == ["fired"]
    for _ in range(30):
        passes(60)
        assert record(agent, CLOSED) == []
    alert = Alert.objects.get(rule="agent_silent")
    assert (alert.resolved_at, alert.notifications) == (None, 1)
    assert "market is closed" in alert.text

    assert record(agent, REOPENED + 19 * MINUTE) == []
    assert record(agent, REOPENED + 21 * MINUTE) == ["repeated"]
    assert record(agent, REOPENED + 22 * MINUTE) == []
    send_due()
    assert [title.partition("Hub: ")[2] for title in receiver.titles] == [
        "agent silent: forex/bot-1",
        "still open: agent silent: forex/bot-1",
    ]
    assert "market is closed" not in receiver.messages[-1]["message"]


def test_an_agent_that_sends_while_the_market_is_closed_resolves_it(agent):
    record(agent, FRIDAY + HOUR)
    passes(60)
    Agent.objects.update(last_seen=CLOSED)
    assert record(agent, CLOSED) == ["resolved"]


def test_nothing_new_fires_while_the_market_is_closed(agent):
    assert record(agent, CLOSED) == []
    assert record(agent, REOPENED + MINUTE) == []
    assert not Alert.objects.exists()
    assert record(agent, REOPENED + 21 * MINUTE) == ["fired"]


def test_the_grace_is_at_most_half_a_session():
    """An agent that sends once in several sessions can be silent in the later half of each."""
    opening = datetime(2026, 11, 23, 14, 30, tzinfo=UTC)  # New York's stock exchange, for 6.5 hours

    record_and_count([entry("b", ecosystem="stock", symbol="AAPL")], "webhook")
    Agent.objects.update(expected_cadence=timedelta(days=1), last_seen=FRIDAY)

    def is_excused(at):
        return Judge(at, ["stock"]).most_urgent(1)[0].excused

    assert is_excused(opening + 3 * HOUR)
    assert not is_excused(opening + 4 * HOUR)
    assert is_excused(opening + 7 * HOUR)


@pytest.mark.parametrize(
    "reopened", [datetime(2026, 3, 8, 21, tzinfo=UTC), datetime(2026, 11, 1, 22, tzinfo=UTC)]
)
def test_a_change_of_the_clocks_moves_the_opening(reopened):
    """The weekends at which New York's clocks change: 17:00 there is another hour in UTC than before."""

    def is_excused(at):
        return Judge(at, ["forex"]).most_urgent(1)[0].excused

    assert is_excused(reopened - MINUTE)
    assert is_excused(reopened + 19 * MINUTE)
    assert not is_excused(reopened + 20 * MINUTE)


def test_freshness_knows_the_trading_hours(agent):
    found = {}
    for at in (FRIDAY + HOUR, CLOSED, REOPENED + MINUTE, REOPENED + HOUR):
        found[at] = FreshnessCheck("forex").result_of(Judge(at).counts()["forex"]).status.value
    assert list(found.values()) == ["degraded", "ok", "ok", "degraded"]


def test_what_is_not_found_just_now_is_not_repeated(channel):
    """It may have ended; that is certain only a minute later."""
    from aggregator.alerts.rules import Condition, Conditions

    silent = Conditions([Condition("agent_silent", "crypto/bot-1", "No signal for 1 h")])
    transitions.record_conditions(silent)
    rows("UPDATE alerts SET repeat_at = now() - interval '1 second' RETURNING 1")
    assert transitions.record_conditions(Conditions([])) == []
    assert [each.kind for each in transitions.record_conditions(silent)] == ["repeated"]

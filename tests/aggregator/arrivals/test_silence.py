"""How long agents may be silent, and what liveness follows: nobody who has ever sent is unwatched."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from django.utils import timezone

from aggregator import ledger
from aggregator.alerts import transitions
from aggregator.alerts.rules import Condition, Conditions, evaluate
from aggregator.arrivals import cadence
from aggregator.arrivals.liveness import calendars_loaded, current_liveness, read_agents
from aggregator.arrivals.queries import RollupCache
from aggregator.arrivals.silence import LOOKBACK, Judge, Liveness
from aggregator.health.market_checks import FreshnessCheck
from aggregator.models import Agent, AlertPolicy
from tests.aggregator.arrivals.test_cadence import MONDAY, arrive
from tests.aggregator.ledger.samples import entry, record_and_count, rows

pytestmark = pytest.mark.django_db(transaction=True)

SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
BEAT = {"action": "HOLD", "signal_type": "ANALYTICS", "tags": ["heartbeat"]}


def send(agent, *ages, every=None, **fields):
    """Record a signal of an agent, as if one had come at each of these ages."""
    payload = {} if every is None else {"raw_payload": {"interval": every}}
    record_and_count([entry(agent, agent_source=agent, **fields | payload)], "webhook")
    gaps = [after - before for before, after in pairwise(sorted(ages))]
    rows(
        "UPDATE agents SET first_seen = now() - %s, last_seen = now() - %s, longest_gap = %s "
        "WHERE agent_source = %s RETURNING 1",
        max(ages), min(ages), max(gaps, default=None), agent,
    )  # fmt: skip


def allowed():
    return {each.agent_source: each.allowed for each in Judge().most_urgent(100)}


def conditions(*rules):
    found = evaluate(AlertPolicy.current(), []).found
    return [(each.rule, each.subject) for each in found if not rules or each.rule in rules]


def test_a_newcomer_is_silent_after_three_times_its_longest_gap():
    """It sent every three seconds for ten minutes, and died half an hour ago."""
    send("every-3-s", *(30 * MINUTE + count * 3 * SECOND for count in range(200)))
    send("every-30-s", 60 * SECOND, 30 * SECOND, timedelta())
    send("hourly", 3 * HOUR, 2 * HOUR, 59 * MINUTE)
    send("weekly", 8 * DAY, 10 * MINUTE)
    send("once", 23 * HOUR)
    send("(other)", HOUR + SECOND, HOUR)
    newcomers = {"weekly": DAY, "once": DAY, "(other)": DAY}
    regular = {"every-3-s": 9 * SECOND, "every-30-s": 90 * SECOND, "hourly": 183 * MINUTE}
    assert allowed() == regular | newcomers
    assert conditions() == [("agent_silent", "crypto/every-3-s")]
    Agent.objects.filter(agent_source="once").update(last_seen=timezone.now() - 25 * HOUR)
    assert ("agent_silent", "crypto/once") in conditions()


def test_a_newcomer_is_held_to_its_gaps_from_its_second_signal_on():
    send("burst", 5 * SECOND, 4 * SECOND)
    send("once", 50 * SECOND)
    assert allowed() == {"burst": 3 * SECOND, "once": DAY}
    assert conditions() == [("agent_silent", "crypto/burst")]


def test_gaps_are_measured_between_batches_and_within_one():
    record_and_count([entry("a"), entry("b")], "webhook")
    assert Agent.objects.get().longest_gap is None, "signals of one request have one time"
    rows("UPDATE trading_signals SET received_at = now() - interval '1 hour' RETURNING 1")
    rows("UPDATE agents SET last_seen = now() - interval '1 hour' RETURNING 1")
    record_and_count([entry("c")], "webhook")
    assert Agent.objects.get().longest_gap == pytest.approx(HOUR, abs=MINUTE)
    ledger.record([entry("d", agent_source="new")], "redis")
    ledger.record([entry("e", agent_source="new")], "webhook")
    rows("UPDATE trading_signals SET received_at = now() - interval '2 h' WHERE signal_id = 'd' RETURNING 1")
    record_and_count([], "redis")
    assert Agent.objects.get(agent_source="new").longest_gap == pytest.approx(2 * HOUR, abs=MINUTE)


def test_a_heartbeat_announces_when_the_next_one_comes():
    send("beats", 50 * MINUTE, 46 * MINUTE, every=900, **BEAT)
    send("fast", 61 * SECOND, every=20, **BEAT)
    send("odd", HOUR, every="often", **BEAT)
    send("negative", HOUR, every=-5, **BEAT)
    send("no-heartbeat", HOUR, every=5)
    assert allowed() == {
        "beats": 45 * MINUTE, "fast": MINUTE, "odd": DAY, "negative": DAY, "no-heartbeat": DAY
    }  # fmt: skip
    assert conditions() == [("agent_silent", "crypto/beats"), ("agent_silent", "crypto/fast")]


def test_what_was_set_comes_before_what_was_learned_and_that_before_what_was_announced():
    arrive("learned", 2, 100)
    send("set", MINUTE, every=900, **BEAT)
    Agent.objects.update(heartbeat_interval=HOUR)
    Agent.objects.filter(agent_source="set").update(expected_cadence=20 * SECOND)
    cadence.learn_cadences()
    assert allowed() == {"learned": 6 * MINUTE, "set": 20 * SECOND}


def test_one_silent_agent_is_one_alert_which_a_newcomer_beside_it_does_not_hide():
    send("old", 30 * MINUTE + 3 * SECOND, 30 * MINUTE)
    assert conditions() == [("agent_silent", "crypto/old")]
    send("new", timedelta())
    assert conditions() == [("agent_silent", "crypto/old")]
    send("old-too", 40 * MINUTE + 3 * SECOND, 40 * MINUTE)
    rows("UPDATE agents SET last_seen = now() - interval '2 days' WHERE agent_source = 'new' RETURNING 1")
    assert sorted(conditions()) == [
        ("agent_silent", "crypto/new"),
        ("agent_silent", "crypto/old"),
        ("agent_silent", "crypto/old-too"),
        ("ecosystem_silent", "crypto"),
    ]


def test_a_card_is_never_live_above_a_silent_check():
    assert calendars_loaded.get(60)
    for silent, live in ((1, 0), (0, 1), (1, 1), (2, 0)):
        rows("DELETE FROM agents RETURNING 1")
        rows("DELETE FROM trading_signals RETURNING 1")
        for number in range(silent):
            send(f"dead-{number}", 31 * MINUTE, 30 * MINUTE)
        for number in range(live):
            send(f"new-{number}", timedelta())
        crypto, *_ = current_liveness(timezone.now(), RollupCache(), read_agents())
        check = FreshnessCheck("crypto").result(wait=True)
        assert (check.status.value, crypto.state) == (
            ("ok", Liveness.LIVE) if live else ("degraded", Liveness.SILENT)
        )
        assert f"{silent} of {silent + live} agent" in check.detail


def test_only_the_agent_that_is_late_is_silent_too_long():
    arrive("often", 2, 100)
    arrive("seldom", 60, 50)
    cadence.learn_cadences()
    assert Judge().too_long() == []
    late = {each.agent_source: each.silent_for for each in Judge(timezone.now() + 10 * MINUTE).too_long()}
    assert late == {"often": pytest.approx(10 * MINUTE, abs=MINUTE)}


def test_a_closed_market_makes_nobody_late():
    record_and_count([entry("a", ecosystem="forex", symbol="EURUSD")], "webhook")
    friday_night, sunday_noon = (
        datetime(2026, 11, 20, 21, 58, tzinfo=UTC),
        datetime(2026, 11, 22, 12, tzinfo=UTC),
    )
    Agent.objects.update(expected_cadence=5 * MINUTE, last_seen=friday_night)
    [weekend] = Judge(sunday_noon).most_urgent(1)
    assert (weekend.silent_for, weekend.state) == (2 * MINUTE, Liveness.CLOSED)
    assert weekend.silent_for < weekend.allowed
    assert [each.state for each in Judge(MONDAY).too_long()] == [Liveness.SILENT]


def test_a_silence_is_measured_no_further_back_than_a_month():
    send("gone", 31 * MINUTE, 30 * MINUTE)
    Agent.objects.update(last_seen="2020-01-01T00:00Z")
    assert [each.silent_for for each in Judge().too_long()] == [LOOKBACK]


def test_states_follow_from_time_passed():
    for agent, minutes in (("live", 4), ("late", 6), ("silent", 11)):
        send(agent, minutes * MINUTE)
    Agent.objects.update(expected_cadence=10 * MINUTE)
    assert {each.agent_source: each.state.value for each in Judge().most_urgent(9)} == {
        "silent": "silent", "late": "late", "live": "live"
    }  # fmt: skip
    assert [each.agent_source for each in Judge().most_urgent(2)] == ["silent", "late"]


def test_many_silent_agents_are_a_bounded_number_of_alerts(monkeypatch, django_assert_num_queries):
    rows(
        "INSERT INTO agents (ecosystem, agent_source, first_seen, last_seen, last_transport, signals)"
        " SELECT 'crypto', 'bot-' || n, now(), now() - interval '2 days', 'redis', 1"
        " FROM generate_series(1, 1000) AS n RETURNING 1"
    )
    found = conditions("agent_silent")
    assert (len(found), found[-1]) == (101, ("agent_silent", "crypto/(other)"))
    with django_assert_num_queries(4):
        judge = Judge()
        assert (judge.counts()["crypto"].too_long, len(judge.most_urgent(50))) == (1000, 50)


def test_those_with_an_alert_keep_it_when_others_become_silent():
    for number in range(3):
        send(f"bot-{number}", 31 * MINUTE, 30 * MINUTE)
    Agent.objects.filter(agent_source="bot-0").update(last_seen=timezone.now())
    AlertPolicy.current()
    transitions.record_conditions(
        Conditions([Condition("agent_silent", f"crypto/bot-{number}", "x") for number in (1, 2)])
    )
    Agent.objects.update(last_seen=timezone.now() - HOUR)
    assert {each.agent_source for each in Judge().too_long(2)} == {"bot-1", "bot-2"}

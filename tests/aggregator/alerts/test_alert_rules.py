"""Alerts fire once, repeat and resolve; they are sent once however many watchers there are."""

import threading
from dataclasses import replace

import pytest
from django.conf import settings
from django.db import connection, transaction

from aggregator.alerts import delivery, messages, transitions, watcher
from aggregator.alerts.rules import Condition, Conditions, evaluate
from aggregator.health.checks import CheckResult, Status
from aggregator.health.program_checks import AlertChannelsCheck
from aggregator.ledger import Entry
from aggregator.models import Agent, Alert, AlertChannel, AlertNotification, AlertPolicy
from tests.aggregator.alerts.chat_service import TOKEN, passes, send_due
from tests.aggregator.ledger.samples import entry, record_and_count, rows

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "forex"])

SILENT = Condition("agent_silent", "crypto/bot-1", "No signal for 1 h")
REDIS = Condition("check_failed", "redis", "does not answer")


@pytest.fixture(autouse=True)
def policy():
    """A policy whose all-clear of today has been sent."""
    row = AlertPolicy.current()
    rows("UPDATE alert_policy SET all_clear_on = '2999-01-01' RETURNING 1")
    return row


def record(*conditions, unknown=()):
    """Record conditions; what changed, as (fired, repeated, resolved) subjects."""
    changes = transitions.record_conditions(Conditions(list(conditions), frozenset(unknown)))
    kinds = ("fired", "repeated", "resolved")
    return tuple([each.subject for each in changes if each.kind == kind] for kind in kinds)


def test_an_alert_fires_once_repeats_by_its_schedule_and_resolves(channel, receiver):
    assert record(SILENT) == (["crypto/bot-1"], [], [])
    assert record(SILENT) == ([], [], [])
    repeated = []
    for hour in range(1, 61):
        passes(60)
        if record(SILENT)[1]:
            repeated.append(hour)
    assert repeated == [1, 5, 29, 53]
    passes(2)
    assert record() == ([], [], ["crypto/bot-1"])
    assert record() == ([], [], [])
    assert send_due() == 6
    assert receiver.titles[0] == "Signal Hub: agent silent: crypto/bot-1"
    assert receiver.titles[-1] == "Signal Hub: resolved: agent silent: crypto/bot-1"
    assert "No signal for 1 h" in receiver.messages[0]["message"]
    assert send_due() == 0


def test_it_fires_again_when_the_condition_returns(channel):
    record(SILENT)
    passes(2)
    record()
    assert record(SILENT)[0] == ["crypto/bot-1"]
    assert Alert.objects.count() == 2


def test_what_another_watcher_found_a_moment_ago_does_not_resolve():
    record(SILENT)
    assert record() == ([], [], [])
    assert Alert.objects.get().resolved_at is None


def test_a_failed_check_must_last_before_it_fires():
    assert record(REDIS) == ([], [], [])
    passes(1)
    assert record(REDIS) == (["redis"], [], [])


def test_a_check_that_failed_for_a_moment_never_fires():
    record(REDIS)
    passes(2)
    assert record() == ([], [], [])
    assert not Alert.objects.exists()


def test_a_rule_that_cannot_be_evaluated_resolves_nothing():
    lag = Condition("stream_lag", "core_signals:signals", "20000 unread")
    record(lag)
    passes(1)
    record(lag)
    passes(5)
    assert record(unknown=["stream_lag"]) == ([], [], [])
    passes(5)
    assert record()[2] == ["core_signals:signals"]


def test_many_transitions_are_one_short_message(channel, receiver):
    record(*(Condition("agent_silent", f"crypto/bot-{number:03}", "No signal") for number in range(50)))
    assert send_due() == 1
    (message,) = receiver.messages
    assert message["title"] == "Signal Hub: 50 new"
    assert message["message"].count("NEW") == 21
    assert "30 more" in message["message"]


def test_of_two_evaluations_at_once_one_is_recorded(channel):
    entered, done = threading.Event(), threading.Event()

    def other():
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(transitions.LOCK_POLICY)
            entered.set()
            done.wait(60)
        connection.close()

    thread = threading.Thread(target=other)
    thread.start()
    assert entered.wait(60)
    assert transitions.record_conditions(Conditions([SILENT])) is None
    done.set()
    thread.join()
    assert record(SILENT)[0] == ["crypto/bot-1"]


def test_processes_racing_for_one_alert_send_it_once(run_manage, channel, receiver, redis_client):
    record_and_count([entry("a")], "webhook")
    rows(
        "UPDATE agents SET last_seen = now() - interval '1 hour', expected_cadence = interval '1 minute' "
        "RETURNING 1"
    )
    rows("UPDATE alert_policy SET all_clear_on = current_date - 1, all_clear_at = '00:00' RETURNING 1")
    programs = [run_manage("run_worker", "--only", "alerts", "--once") for _ in range(6)]
    assert [program.wait() for program in programs] == [0] * 6
    silent = [m for m in receiver.messages if "NEW agent silent: crypto/bot-1" in m["message"]]
    assert len(silent) == 1
    daily = [title for title in receiver.titles if title.endswith(("all clear", " open"))]
    assert len(daily) == 1
    assert Alert.objects.filter(rule="agent_silent").count() == 1
    for program in programs:
        assert TOKEN not in program.text


def test_a_channel_that_rejects_messages_degrades_the_hub(channel, receiver):
    def alerts():
        result = AlertChannelsCheck().result()
        return result.status.value, result.summary

    assert alerts() == ("ok", "")
    receiver.status = 500
    record(SILENT)
    send_due()
    assert alerts() == ("degraded", "a channel rejects alerts")
    AlertChannel.objects.update(enabled=False)
    assert alerts() == ("ok", "no channel")


def test_a_disabled_channel_gets_nothing(channel, receiver):
    record(SILENT)
    AlertChannel.objects.update(enabled=False)
    assert send_due() == 0
    assert receiver.messages == []


def test_another_auth_secret_is_reported_as_such(channel, monkeypatch):
    monkeypatch.setattr(settings, "ENVIRONMENT", replace(settings.ENVIRONMENT, auth_secret="another"))
    assert "enter the address again" in delivery.deliver(channel, messages.Notification("info", "t", "b"))


def test_the_url_is_nowhere_in_the_database(channel):
    assert TOKEN.encode() not in bytes(AlertChannel.objects.get().encrypted_url)


def test_the_all_clear_comes_once_a_day(channel, receiver):
    rows("UPDATE alert_policy SET all_clear_on = current_date - 1, all_clear_at = '00:00' RETURNING 1")
    record_and_count([entry("a"), entry("b", ecosystem="forex", symbol="EURUSD")], "webhook")
    watcher.create_all_clear()
    watcher.create_all_clear()
    send_due()
    (message,) = receiver.messages
    assert (message["title"], message["type"]) == ("Signal Hub: all clear", "success")
    assert "crypto: 1 signal from 1 agent in" in message["message"]

    rows("UPDATE alert_policy SET all_clear_on = current_date - 1 RETURNING 1")
    record(SILENT)
    watcher.create_all_clear()
    send_due()
    assert receiver.titles[-1] == "Signal Hub: 1 alert open"


def test_the_all_clear_waits_for_its_hour(channel):
    rows(
        "UPDATE alert_policy SET all_clear_on = NULL,"
        " all_clear_at = (now() AT TIME ZONE 'UTC' + interval '1 minute')::time RETURNING 1"
    )
    watcher.create_all_clear()
    assert (
        AlertNotification.objects.exists()
        == (rows("SELECT (now() AT TIME ZONE 'UTC')::time >= all_clear_at FROM alert_policy")[0][0])
    )


def found(policy, *results):
    policy.refresh_from_db()
    return {(each.rule, each.subject) for each in evaluate(policy, results).found}


def test_rule_check_failed(policy, redis_client):
    results = [
        CheckResult("one", Status.FAILED, "gone"),
        CheckResult("two", Status.DEGRADED),
        CheckResult("three", Status.OK),
    ]
    assert found(policy, *results) == {("check_failed", "one")}


def test_rule_stream_lag(policy, redis_client):
    rows("UPDATE alert_policy SET stream_lag = 2 RETURNING 1")
    for _ in range(3):
        redis_client.xadd("core_signals:signals", {"payload": b"{}"})
    assert found(policy) == {("stream_lag", "core_signals:signals")}


def test_rule_stream_lag_is_unknown_without_redis(policy, free_port, monkeypatch):
    url = f"redis://127.0.0.1:{free_port}/0"
    monkeypatch.setattr(settings, "ENVIRONMENT", replace(settings.ENVIRONMENT, redis_url=url))
    assert evaluate(policy, []).unknown_rules == {"stream_lag"}


def send(sender, name, count, **fields):
    record_and_count(
        [Entry(entry(f"{name}-{number}", **fields).raw, sender) for number in range(count)], "webhook"
    )


def test_rule_refusals(policy, redis_client):
    send("key:a", "bad", 9, volume=-1)
    send("key:b", "good", 40)
    assert found(policy) == set()
    send("key:a", "bad-too", 1, volume=-1)
    assert found(policy) == {("refusals", "key:a")}


def test_rule_refusals_counts_the_share(policy, redis_client):
    send("key:a", "bad", 10, volume=-1)
    send("key:a", "good", 41)
    assert found(policy) == set()


def test_rules_of_silence(policy, redis_client):
    record_and_count([entry("a"), entry("b", agent_source="bot-2")], "webhook")
    Agent.objects.update(expected_cadence="00:05:00")
    assert found(policy) == set()
    rows(
        "UPDATE agents SET last_seen = now() - interval '6 minutes' WHERE agent_source = 'bot-1' RETURNING 1"
    )
    assert found(policy) == {("agent_silent", "crypto/bot-1")}
    rows("UPDATE agents SET last_seen = now() - interval '6 minutes' RETURNING 1")
    assert ("ecosystem_silent", "crypto") in found(policy)

"""The demo publisher: synthetic signals that any hub accepts, over the real transports."""

import itertools
import signal
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import CommandError, call_command

from ecosystems import ECOSYSTEMS
from ecosystems.management.commands.publish_demo import CATCH_UP, walk
from ecosystems.market.symbols import instrument
from ecosystems.signal import Signal, parse
from ecosystems.strategies import BUILT_IN
from tests.ecosystems.bus.receiver import Answer, Receiver

KEY = "core_signals:signals"


def clock():
    """Return a clock that goes on by ten seconds at each look."""
    moments = itertools.count()
    return lambda: datetime(2026, 1, 5, tzinfo=UTC) + next(moments) * timedelta(seconds=10)


@pytest.mark.parametrize("ecosystem", ECOSYSTEMS)
def test_every_signal_is_valid_is_a_strategys_and_says_that_it_is_synthetic(ecosystem):
    begun, actions, strategies = datetime(2026, 1, 5, tzinfo=UTC), Counter(), set()
    for made in itertools.islice(walk(ecosystem, 7, clock()), 500):
        parsed = parse(made.to_json())
        assert isinstance(parsed, Signal), parsed
        assert instrument(ecosystem, parsed.symbol)
        assert parsed.agent_source == f"demo-{ecosystem}"
        assert {"demo", "synthetic", "synthetic:7"} == set(parsed.tags)
        actions[parsed.action] += 1
        strategies.add(parsed.raw_payload["strategy"])
        if parsed.action in {"BUY", "SELL"}:
            low, high = sorted((parsed.stop_loss, parsed.take_profit))
            assert 0 < low < parsed.entry_price < high
    assert strategies == set(BUILT_IN)
    assert min(actions[action] for action in ("BUY", "SELL", "CLOSE", "HOLD")) > 10, actions
    # A new hub has a call of what was missed in the first round of symbols, and further ones each minute.
    first = next(made for made in walk(ecosystem, 7, clock()) if made.action in {"BUY", "SELL"})
    assert begun - CATCH_UP <= first.timestamp < begun + timedelta(minutes=2)


def test_the_same_seed_walks_the_same_way():
    def prices(seed):
        return [made.entry_price for made in itertools.islice(walk("crypto", seed, clock()), 200)]

    assert prices(1) == prices(1) != prices(2)


def test_ids_never_repeat():
    ids = [made.signal_id for made in itertools.islice(walk("stock", 1), 200)]
    assert len(set(ids)) == 200


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--count", "-1"), "--count must be 0 or more"),
        (("--every", "-1"), "--every must be from 0 to 86400 seconds"),
        (("--every", "nan"), "--every must be from 0 to 86400 seconds"),
    ],
)
def test_a_wrong_number_is_refused_in_a_line(arguments, message):
    with pytest.raises(CommandError) as refused:
        call_command("publish_demo", "forex", "--transport", "redis", *arguments)
    assert str(refused.value) == message


def test_it_publishes_the_count_and_ends(run_manage, redis_client):
    program = run_manage("publish_demo", "forex", "--transport", "redis", "--every", "0", "--count", "3")
    assert program.wait() == 0, program.text
    entries = redis_client.xrange(KEY)
    assert [parse(fields[b"payload"]).ecosystem for _, fields in entries] == ["forex"] * 3


def test_it_continues_after_an_outage_and_ends_on_sigterm(run_manage, redis_client):
    redis_client.set(KEY, "no stream")
    program = run_manage("publish_demo", "stock", "--transport", "redis", "--every", "0.05")
    program.until(lambda: "did not confirm 1 signal" in program.text)
    redis_client.delete(KEY)
    program.until(lambda: "published again" in program.text)
    assert program.text.count("did not confirm") == 1

    program.process.send_signal(signal.SIGTERM)
    assert program.wait() == 0, program.text
    assert "Traceback" not in program.text


@pytest.mark.parametrize(("failures", "lines"), [(1, 0), (2, 1), (3, 1)])
def test_what_the_next_try_ends_is_no_outage(run_manage, failures, lines):
    with Receiver() as hub:
        hub.script.extend([Answer(503)] * failures)
        program = run_manage(
            "publish_demo", "stock", "--transport", "webhook", "--every", "0", "--count", "2",
            CORE_EVENT_WEBHOOK_URL=hub.url,
        )  # fmt: skip
        assert program.wait() == 0, program.text
    assert len(set(hub.ids)) == 2
    assert len(hub.requests) == 2 + failures
    assert program.text.count("did not confirm") == program.text.count("published again") == lines


def test_a_missing_variable_is_reported_in_one_line(run_manage):
    program = run_manage("publish_demo", "crypto", "--transport", "redis", CORE_REDIS_URL="")
    assert program.wait() == 1
    assert "CORE_REDIS_URL is not set" in program.text
    assert "Traceback" not in program.text

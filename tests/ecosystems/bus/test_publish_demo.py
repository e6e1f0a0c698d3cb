"""The demo publisher: synthetic signals that any hub accepts, over the real transports."""

import itertools
import signal
from datetime import UTC, datetime, timedelta

import pytest

from ecosystems import ECOSYSTEMS
from ecosystems.management.commands.publish_demo import walk
from ecosystems.market.symbols import instrument
from ecosystems.signal import Signal, parse

KEY = "core_signals:signals"


def clock():
    """Return a clock that goes on by ten seconds at each look."""
    moments = itertools.count()
    return lambda: datetime(2026, 1, 5, tzinfo=UTC) + next(moments) * timedelta(seconds=10)


@pytest.mark.parametrize("ecosystem", ECOSYSTEMS)
def test_every_parsedis_valid_and_says_that_it_is_synthetic(ecosystem):
    calls, closed = {}, set()
    for made in itertools.islice(walk(ecosystem, 7, clock()), 500):
        parsed = parse(made.to_json())
        assert isinstance(parsed, Signal), parsed
        assert instrument(ecosystem, parsed.symbol)
        assert parsed.agent_source == f"demo-{ecosystem}"
        assert "synthetic" in parsed.tags
        if parsed.action == "CLOSE":
            assert calls[parsed.refers_to] == parsed.symbol
            closed.add(parsed.refers_to)
            continue
        calls[parsed.signal_id] = parsed.symbol
        low, high = sorted((parsed.stop_loss, parsed.take_profit))
        assert 0 < low < parsed.entry_price < high
    assert len(closed) > 20


def test_the_same_seed_walks_the_same_way():
    def prices(seed):
        return [made.entry_price for made in itertools.islice(walk("crypto", seed, clock()), 50)]

    assert prices(1) == prices(1) != prices(2)


def test_ids_never_repeat():
    ids = [made.signal_id for made in itertools.islice(walk("stock", 1), 200)]
    assert len(set(ids)) == 200


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


def test_a_missing_variable_is_reported_in_one_line(run_manage):
    program = run_manage("publish_demo", "crypto", "--transport", "redis", CORE_REDIS_URL="")
    assert program.wait() == 1
    assert "CORE_REDIS_URL is not set" in program.text
    assert "Traceback" not in program.text

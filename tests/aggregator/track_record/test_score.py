"""`manage.py score`: what becomes of calls on the ledger, with candles that anybody inserted."""

import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

import msgspec
import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from aggregator.models import SymbolAlias
from ecosystems.market.scoring import FEE_BPS, HORIZON_HOURS
from tests.aggregator.track_record.recording import (
    T0,
    call,
    candle_rows,
    events,
    insert,
    outcome,
    outcomes,
    put,
    query,
    score,
    signal,
)
from tests.ecosystems.market import second_scoring
from tests.ecosystems.market.test_scoring import made_up_cases

pytestmark = pytest.mark.django_db(transaction=True)

LONG = {"entry_price": 100, "stop_loss": 98, "take_profit": 104}
EXAMPLES = [
    (LONG, "100.5/101/100/101 · 101/104.5/101/104", "closed", "target", "1.3182"),
    (LONG, "100.5/105/97/99", "closed", "stop", "-1.0794"),
    (LONG, "100.5/101/100/101 · 96/97/95/96", "closed", "stop", "-1.8786"),
    (LONG, "100.5/101/100/101 · 106/107/105/106", "closed", "target", "1.3182"),
    (LONG, "97.5/99/97/98", "missed", None, None),
    (
        {"signal_type": "LIMIT", "entry_price": 99, "stop_loss": 97, "take_profit": 103},
        "100/101/99/100 · 99.5/104/98.5/103.5 · 103.2/104/103/103.5",
        "closed",
        "target",
        "1.899",
    ),
    (
        {"action": "SELL", "signal_type": "STOP", "entry_price": 99, "stop_loss": 101, "take_profit": 95},
        "100/100.5/99.2/99.5 · 98/98.5/97/97.5 · 97/97.5/94/95",
        "closed",
        "target",
        "0.9357",
    ),
]


def test_the_worked_examples():
    ids = []
    for number, (fields, prices, *_) in enumerate(EXAMPLES):
        ids.append(call(symbol=f"EX{number}/USDT", **fields))
        insert(candle_rows(prices), instrument=f"EX{number}/USDT")
    closed = call(symbol="EX8/USDT", **LONG)
    insert(candle_rows("100.5/101/100/101 · 101/102/100.9/101.5 · 101.5/110/90/100"), instrument="EX8/USDT")
    amended = call(symbol="EX9/USDT", **LONG)
    insert(candle_rows("100.5/103/100/101 · 101/102.5/101/102"), instrument="EX9/USDT")
    at = T0.replace(second=0)
    call(action="CLOSE", refers_to=closed, symbol="EX8/USDT", timestamp=at + timedelta(minutes=2, seconds=10))
    call(refers_to=amended, take_profit=102, symbol="EX9/USDT", timestamp=at + timedelta(seconds=90))
    call_command("score", "--once")
    for signal_id, (_, _, state, reason, r) in zip(ids, EXAMPLES, strict=True):
        found = outcome(signal_id)
        assert (found["state"], found["exit_reason"]) == (state, reason)
        assert r is None or round(found["r_multiple"], 4) == Decimal(r)
    found = outcome(closed)
    assert (found["exit_reason"], found["exit_price"]) == ("close", Decimal("101.5"))
    found = outcome(amended)
    assert (found["exit_price"], found["exited_at"]) == (102, at + timedelta(minutes=2))
    assert round(found["r_multiple"], 3) == Decimal("0.519")


def put_made_up(seeds, kept=None):
    """Record the calls of made-up cases, each market on an instrument of its own; return what to expect.

    Signals of one agent would end one another's calls: each call has an agent of its own.
    """
    signals, expected, markets = [], {}, []
    for seed in seeds:
        for number, (made, amendments, endings, series, step, _) in enumerate(made_up_cases(seed)):
            instrument, agent = (
                f"T{seed}/USDT" if made.ecosystem == "crypto" else f"T{seed}",
                f"{seed}-{number}",
            )
            common = {
                "ecosystem": made.ecosystem,
                "symbol": instrument,
                "agent_source": agent,
            }
            prices = {"stop_loss": made.stop, "take_profit": made.target}
            side = "BUY" if made.side > 0 else "SELL"
            signal_id = f"made-{agent}"
            signals.append(
                signal(
                    signal_id=signal_id,
                    timestamp=made.t0,
                    action=side,
                    signal_type=made.kind,
                    entry_price=made.claimed,
                    **prices,
                    **common,
                )
            )
            # At the same moment the order of recording counts, which is shuffled here.
            amendments = [each for each in {a.t0: a for a in amendments}.values() if each.t0 > made.t0]
            for each in amendments:
                signals.append(
                    signal(
                        refers_to=signal_id,
                        timestamp=each.t0,
                        action=side,
                        stop_loss=each.stop,
                        take_profit=each.target,
                        **common,
                    )
                )
            # A call of the other side is a call itself: only one of the two kinds of endings is sent so.
            endings = [(t0, "close") for t0, _ in endings if t0 > made.t0]
            for t0, _ in endings:
                signals.append(signal(action="CLOSE", timestamp=t0, **common))
            standard = second_scoring_terms(made)
            expected[signal_id] = (standard, amendments, endings, series, step)
        markets.append((made.ecosystem, instrument, [*series], step))
    return signals, expected, markets


def second_scoring_terms(made):
    """Return a made-up call with the horizon and the fees that the hub applies."""
    return msgspec.structs.replace(
        made, fee_bps=FEE_BPS[made.ecosystem], horizon_hours=HORIZON_HOURS[made.ecosystem]
    )


def insert_markets(markets, source, parts):
    """Insert the candles of all markets, of each in a random order and in parts; score after each part."""
    for *_, series, _ in markets:
        source.shuffle(series)
    for part in range(parts):
        for ecosystem, instrument, series, step in markets:
            rows = [
                (each.timestamp, each.open, each.high, each.low, each.close) for each in series[part::parts]
            ]
            insert(rows, ecosystem=ecosystem, instrument=instrument, seconds=int(step.total_seconds()))
        score()


SEEDS = range(40, 46)


def past(signals):
    """Return the signals as JSON takes them."""
    return [{k: str(v) if isinstance(v, Decimal) else v for k, v in each.items()} for each in signals]


def test_outcomes_are_those_of_a_second_implementation_in_whatever_order_candles_and_signals_arrive():
    source = Random(1)
    signals, expected, markets = put_made_up(SEEDS)
    source.shuffle(signals)
    half = len(signals) // 2
    put(*past(signals[:half]))
    insert_markets(markets[:3], source, 3)
    put(*past(signals[half:]))
    score()
    insert_markets(markets[3:], source, 2)
    found = {
        row["signal_id"]: row
        for row in query(
            "SELECT * FROM outcomes JOIN (SELECT position, signal_id FROM trading_signals) s USING (position)"
        )
    }
    states = Counter()
    for signal_id, case in expected.items():
        row = vars(second_scoring.score(*case, datetime.now(UTC)))
        states[row["state"], row["exit_reason"]] += 1
        for name, value in row.items():
            assert found[signal_id][name] == (list(value) if name == "daily_r" else value), (signal_id, name)
    assert len(found) == len(expected)
    assert len(states) > 8, states

    # From scratch, without what was decided before, the rows are the same, and nothing new was decided.
    rows, count = outcomes(), query("SELECT count(*) FROM outcome_events")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM outcomes; DELETE FROM followers WHERE name = 'outcomes'")
    score()
    assert outcomes() == rows
    assert query("SELECT count(*) FROM outcome_events") == count


def facts(signal_id):
    found = outcome(signal_id)
    return found["state"], found["exit_reason"], found["exit_price"]


OPENED = "100.5/101/100/101"


def test_a_real_call_counts_from_its_recording_and_no_simulated_signal_touches_it():
    before = datetime.now(UTC)
    peak = [(before - timedelta(seconds=50 - n), 100, 100 + 5 * n, 100, 100 + 5 * n) for n in range(3)]
    signal_id = call(
        tags=[], timestamp=before - timedelta(minutes=2), stop_loss=10, signal_id="late", agent_source="real"
    )
    insert(peak, seconds=1)
    back_dated = {"timestamp": before - timedelta(seconds=48), "agent_source": "real"}
    call(action="CLOSE", refers_to=signal_id, **back_dated)
    call(action="SELL", **back_dated)
    score()
    assert facts(signal_id) == ("waiting", None, None)
    t0 = outcome(signal_id)["t0"]
    assert before <= t0 <= datetime.now(UTC)
    assert outcome(signal_id)["lag"] == t0 - (before - timedelta(minutes=2))
    # The first candle from its recording on is the first that counts, once it is over.
    insert([(t0 + timedelta(milliseconds=1), 90, 91, 89, 90)], seconds=1)
    score()
    assert outcome(signal_id)["state"] in {"waiting", "open"}  # which of them, the clock decides


def test_what_ends_calls():
    at = T0.replace(second=0)
    insert(candle_rows(" · ".join([OPENED] * 12)))
    first = call(agent_source="a")
    second = call(agent_source="a", timestamp=at + timedelta(minutes=2, seconds=1))
    other_agent = call(agent_source="b")
    referred = call(agent_source="c")
    spared = call(agent_source="c")
    elsewhere = call(agent_source="a", symbol="ETH/USDT")
    close = {"action": "CLOSE", "timestamp": at + timedelta(minutes=4, seconds=5)}
    call(agent_source="a", **close)
    call(agent_source="c", refers_to=referred, **close)
    call(agent_source="b", refers_to=referred, **close)  # another agent's: no effect
    call(agent_source="c", refers_to="unknown", **close)
    call(agent_source="b", action="HOLD", timestamp=at + timedelta(minutes=3))
    call(agent_source="b", action="SELL", timestamp=at + timedelta(minutes=6), signal_type="ANALYTICS")
    reversal = call(agent_source="b", action="SELL", timestamp=at + timedelta(minutes=7))
    score()
    for signal_id in (first, second, referred):
        found = outcome(signal_id)
        assert (found["exit_reason"], found["exited_at"]) == ("close", at + timedelta(minutes=5))
    assert facts(spared)[0] == "open"
    assert facts(elsewhere)[0] == "unpriced"
    found = outcome(other_agent)
    assert (found["exit_reason"], found["exited_at"]) == ("reversal", at + timedelta(minutes=7))
    assert facts(reversal)[0] == "open"
    assert query("SELECT count(*) FROM outcomes") == [{"count": 7}]


def test_signals_that_arrive_in_another_order_act_in_the_order_of_their_times():
    at = T0.replace(second=0)
    insert(candle_rows(" · ".join([OPENED] * 9)))
    call(action="CLOSE", timestamp=at + timedelta(minutes=3, seconds=1))
    score()
    signal_id = call()
    score()
    assert outcome(signal_id)["exited_at"] == at + timedelta(minutes=4)
    call(action="CLOSE", timestamp=at + timedelta(minutes=2, seconds=1))
    call(action="CLOSE", timestamp=at)  # before the call
    score()
    assert outcome(signal_id)["exited_at"] == at + timedelta(minutes=3)
    assert [event["cause"] for event in events(signal_id)] == ["prices", "signals"]


def test_late_candles_score_again_and_leave_an_event():
    prices = candle_rows("100.5/101/100/101 · 101/102/97/99 · 101/105/100.9/104.5")
    signal_id = call(**LONG)
    insert([prices[0], prices[2]])
    score()
    assert facts(signal_id) == ("closed", "target", 104)
    insert([prices[1]])
    score()
    assert facts(signal_id) == ("closed", "stop", 98)
    found = events(signal_id)
    assert [(event["cause"], event["exit_reason"]) for event in found] == [
        ("prices", "target"),
        ("late prices", "stop"),
    ]
    assert found[0]["id"] < found[1]["id"]
    # Later candles change nothing, nor does scoring again.
    insert(candle_rows("1/1/1/1", T0 + timedelta(minutes=9)))
    score()
    assert events(signal_id) == found


def test_the_time_that_nothing_is_priced_is_waited_for_and_made_up_for():
    old = call(entry_price=100, stop_loss=90)
    fresh = call(tags=[], symbol="ETH/USDT", agent_source="fresh")
    score()
    assert (facts(old)[0], facts(fresh)[0]) == ("unpriced", "waiting")
    assert [event["state"] for event in events(old)] == ["unpriced"]
    assert events(fresh) == []
    insert(candle_rows("100/101/99/100", T0 + timedelta(hours=24)))  # too late to be a fill
    score()
    assert facts(old)[0] == "unpriced"
    insert(candle_rows(OPENED))
    score()
    assert facts(old)[0] == "open"
    assert [event["cause"] for event in events(old)] == ["prices", "late prices"]


def test_a_candle_counts_once_it_is_over():
    signal_id = call(timestamp=datetime.now(UTC) - timedelta(seconds=5))
    insert([(datetime.now(UTC) - timedelta(seconds=3), 100, 101, 99, 100)], seconds=3600)
    score()
    assert facts(signal_id)[0] == "waiting"


def test_a_candle_that_was_on_record_before_it_was_over_counts_then():
    start = datetime.now(UTC) - timedelta(seconds=1)
    signal_id = call(timestamp=start)
    length = timedelta(seconds=6)
    insert([(start, 100, 101, 99, 100)], seconds=length.seconds)
    score()
    assert facts(signal_id)[0] == "waiting"
    time.sleep((start + length - datetime.now(UTC)).total_seconds())
    insert([(start + length, 100, 101, 99, 100)], seconds=length.seconds)
    score()
    assert outcome(signal_id)["entered_at"] == start


@pytest.mark.parametrize("spike", ["101/150/50/101 · 101/102/100/101", "101/101/50/50 · 50/102/50/101"])
def test_another_feed_changes_nothing_until_an_operator_chooses_it(spike):
    signal_id = call(**LONG)
    insert(candle_rows(f"100.5/101/100/101 · {spike}"), feed="binance")
    score()
    assert facts(signal_id) == ("closed", "stop", 98)
    insert(candle_rows("100.6/101/100/101 · 101/104.5/100/104 · 101/102/100/101"), feed="alternative")
    score()
    assert facts(signal_id) == ("closed", "stop", 98)
    (event,) = events(signal_id)
    assert (event["feed"], event["outlier"], event["ambiguous"]) == ("binance", True, "150" in spike)
    position = str(event["position"])
    with pytest.raises(CommandError, match="'kraken' has no prices of BTC/USDT; there are those of: binance"):
        call_command("score", "--position", position, "--feed=kraken", "--by=ann")
    for half in (["--position", position], ["--feed=alternative", "--by=ann"], ["--by=ann"]):
        with pytest.raises(CommandError, match="go together"):
            call_command("score", *half)
    call_command("score", "--position", position, "--feed=alternative", "--by=ann")
    assert facts(signal_id) == ("closed", "target", 104)
    last = events(signal_id)[-1]
    assert (last["cause"], last["decided_by"], last["feed"], last["outlier"]) == (
        "feed",
        "ann",
        "alternative",
        False,
    )
    # The choice outlives the outcomes themselves.
    rows = outcomes()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM outcomes; DELETE FROM followers WHERE name = 'outcomes'")
    score()
    assert outcomes() == rows


def test_of_feeds_that_came_before_the_first_scoring_the_one_that_was_on_record_first_counts():
    signal_id = call()
    for price in range(100, 120):
        insert(candle_rows(f"{price}/{price}/{price}/{price}"), feed=f"feed {price * 7919 % 1000}")
    score()
    assert outcome(signal_id)["entry_price"] == 100


def test_synthetic_prices_are_for_simulated_calls():
    made_up = call(tags=["synthetic"], agent_source="made-up")
    insert(candle_rows("9/10/8/9"), feed="binance")
    insert(candle_rows("100.5/101/100/101"), feed="synthetic")
    score()
    assert outcome(made_up)["entry_price"] == Decimal("100.5")
    real = call(tags=[], symbol="ETH/USDT", agent_source="real")
    insert(candle_rows("1/1/1/1", outcome_t0(real)), instrument="ETH/USDT", seconds=1, feed="synthetic:7")
    score()
    assert facts(real)[0] == "waiting"


def outcome_t0(signal_id):
    score()
    return outcome(signal_id)["t0"]


def test_a_call_follows_its_symbol_to_another_instrument():
    signal_id = call(symbol="XYZ", stop_loss=90)
    insert(candle_rows("100.5/101/100/101 · 101/102/80/99"))
    score()
    assert facts(signal_id)[0] == "unpriced"
    SymbolAlias.objects.create(ecosystem="crypto", symbol="XYZ", instrument="BTC/USDT")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE trading_signals SET instrument = 'BTC/USDT' WHERE symbol = 'XYZ'")
    score()
    assert facts(signal_id) == ("closed", "stop", 90)
    assert events(signal_id)[-1]["cause"] == "instrument"


def test_a_horizon_holds_for_calls_that_are_recorded_after_it_was_set():
    before = call()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO agent_horizons (ecosystem, agent_source, hours) VALUES ('crypto', 'bot', 2)"
        )
    after = call()
    insert([(T0 + n * timedelta(minutes=30), 100, 101, 99, 100) for n in range(1, 9)], seconds=1800)
    score()
    assert facts(before)[0] == "open"
    found = outcome(after)
    assert (found["exit_reason"], found["horizon_hours"]) == ("expired", 2)
    assert found["exited_at"] == found["entered_at"] + timedelta(hours=2)


def test_scoring_waits_for_no_writer_of_the_ledger():
    signal_id = call(**LONG)
    insert(candle_rows(OPENED))
    with psycopg.connect(**connection.get_connection_params() | {"cursor_factory": None}) as other:
        other.execute("LOCK TABLE ledger_lock IN ACCESS EXCLUSIVE MODE")
        score()
    assert facts(signal_id)[0] == "open"

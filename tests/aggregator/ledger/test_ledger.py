"""`ledger.record`: each signal once, in order, whatever comes with it."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from hashlib import sha256

import psycopg
import pytest
from django.db import connection
from django.db.models import F, Sum
from django.test.utils import CaptureQueriesContext

from aggregator import ledger
from aggregator.ledger import inserted_rows, replay
from aggregator.ledger.entries import Entry, Fate
from aggregator.models import Agent, ArrivalMinute, DeadLetter, DeadLetterBytes, Sighting, TradingSignal
from tests.aggregator.ledger.samples import entry, insert, raw, record_and_count, rows, value

pytestmark = pytest.mark.django_db(transaction=True)


def fates(entries, transport="redis"):
    return [str(result.fate) for result in ledger.record(entries, transport)]


def test_a_signal_is_recorded_exactly_as_it_was_sent():
    assert fates([entry(action="sell", entry_price="0.123456789012345678")], "webhook") == ["accepted"]
    row = TradingSignal.objects.get()
    assert (row.signal_id, row.symbol, row.instrument, row.action) == ("s1", "BTCUSDT", "BTC/USDT", "SELL")
    assert row.entry_price == Decimal("0.123456789012345678")
    assert row.timestamp.isoformat() == "2026-01-02T03:04:05.123456+00:00"
    assert (row.transport, row.tags, row.raw_payload) == ("webhook", ["ema"], {"rsi": 27.35})
    assert row.position > 0
    assert len(row.digest) == 32


def test_one_bad_entry_of_a_hundred_leaves_the_other_99_recorded():
    entries = [entry(f"s{number}") for number in range(100)]
    entries[42] = entry("s42", confidence=7)
    assert fates(entries).count("accepted") == 99
    letter = DeadLetter.objects.get()
    assert (letter.code, letter.field, letter.signal_id) == ("invalid_value", "confidence", "s42")
    assert bytes(letter.raw) == raw("s42", confidence=7)


def test_the_same_content_again_is_a_duplicate_with_a_sighting_however_it_is_spelled():
    respelled = raw(entry_price="64000.120", timestamp="2026-01-02T04:04:05.123456+01:00", action="buy")
    assert fates([entry(), entry(), Entry(respelled)]) == ["accepted", "duplicate", "duplicate"]
    assert fates([entry()], "webhook") == ["duplicate"]
    assert fates([Entry(raw(), sender="key:a")] * 3) == ["duplicate"] * 3
    sightings = Sighting.objects.order_by("sender", "transport").values_list("transport", "sender", "times")
    assert list(sightings) == [("redis", "", 2), ("webhook", "", 1), ("redis", "key:a", 3)]
    assert set(Sighting.objects.values_list("signal__signal_id", flat=True)) == {"s1"}
    assert TradingSignal.objects.count() == 1


def test_other_content_under_the_same_identity_is_a_conflict_and_the_first_stays():
    assert fates([entry(), entry(volume=9)]) == ["accepted", "conflict"]
    assert TradingSignal.objects.get().volume == Decimal("0.25")
    letter = DeadLetter.objects.get()
    assert (letter.code, bytes(letter.raw)) == ("conflict", raw(volume=9))


def test_the_same_id_in_another_ecosystem_is_another_signal():
    assert fates([entry(), entry(ecosystem="forex", symbol="EURUSD")]) == ["accepted", "accepted"]


def test_the_same_refused_bytes_from_the_same_place_are_one_dead_letter_that_counts():
    bad = Entry(b'{"signal_id": 1}', sender="key:a")
    assert fates([bad, bad]) == ["refused", "refused"]
    fates([bad])
    assert DeadLetter.objects.get().times == 3
    fates([Entry(bad.raw, sender="key:b")])
    assert DeadLetter.objects.count() == 2


def test_a_dead_letter_that_comes_again_is_open_again():
    fates([entry(confidence=2)])
    DeadLetter.objects.update(resolved_at="2026-01-01T00:00:00Z")
    fates([entry(confidence=2)])
    assert DeadLetter.objects.get().resolved_at is None


def test_a_letter_that_is_refused_again_when_it_is_replayed_came_in_when_it_did():
    ledger.record([entry("s1", action="HODL")] * 2, "redis")
    DeadLetter.objects.update(last_at=F("last_at") - timedelta(days=3), resolved_at=F("last_at"))
    before = DeadLetter.objects.get()
    replay.replay([before])
    after = DeadLetter.objects.get()
    assert (after.times, after.last_at, after.resolved_at) == (2, before.last_at, None)


@pytest.mark.parametrize("hostile", [b"", b"\x00", b"\xff\xfe", b"[" * 60_000, b"{}", b"null", b'"' * 9])
def test_any_bytes_become_a_dead_letter(hostile):
    assert fates([Entry(hostile)]) == ["refused"]
    assert bytes(DeadLetter.objects.get().raw) == hostile


def test_of_a_large_entry_a_dead_letter_keeps_the_head_the_length_and_the_hash():
    whole = b"\x00\xff" * 32_768
    large = [whole, whole + b"\x00", b"{" * 3_000_000, raw(raw_payload={"x": "y" * 70_000})]
    assert fates([Entry(each) for each in large]) == ["refused"] * 4
    letters = list(DeadLetter.objects.order_by("pk"))
    assert sorted(bytes(letter.raw) for letter in letters) == sorted(each[:65_536] for each in large)
    kept = {(letter.length, bytes(letter.sha256)) for letter in letters if letter.is_cut}
    assert kept == {(len(each), sha256(each).digest()) for each in large[1:]}
    assert fates([Entry(large[1])]) == ["refused"]
    assert DeadLetter.objects.count() == 4, "the same again counts"
    assert set(replay.replay(letters).values()) == {Fate.REFUSED, replay.Skipped.CUT}


def test_a_senders_dead_letters_of_a_day_are_limited_in_bytes(settings):
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, sender_dead_letter_bytes=1000)

    def send(start, count, sender="key:a"):
        return fates([Entry(b"%04d" % number + b"x" * 96, sender) for number in range(start, start + count)])

    def kept(sender="key:a"):
        letters = DeadLetter.objects.filter(sender=sender).values_list("raw", "length", "sha256")
        return [len(raw) for raw, *_ in letters].count(100), [length for _, length, _ in letters].count(100)

    assert set(send(0, 6)) == {"refused"}
    send(0, 6)
    assert kept() == (6, 0), "the same again takes nothing"
    send(6, 8)
    send(20, 3)
    assert kept() == (10, 7)
    cut = DeadLetter.objects.filter(length=100).first()
    assert (bytes(cut.raw), cut.code, cut.is_cut) == (b"", "not_json", True)
    send(30, 2, "key:b")
    assert kept("key:b") == (2, 0)
    DeadLetterBytes.objects.update(day=F("day") - timedelta(days=1))
    send(40, 2)
    assert kept() == (12, 7)


def test_the_number_of_queries_does_not_grow_with_the_batch():
    def queries(count, start):
        fates([entry(f"old{number}-{count}") for number in range(count)])
        mixed = [entry(f"old{number}-{count}") for number in range(count)]
        mixed += [entry(f"old{number}-{count}", volume=3) for number in range(count)]
        mixed += [entry(f"new{start}-{number}") for number in range(count)]
        mixed += [Entry(b"{}", entry_id=str(number)) for number in range(count)]
        with CaptureQueriesContext(
            connection,
        ) as captured:
            fates(mixed)
        return len(captured)

    assert queries(2, "a") == queries(200, "b")


def test_rollups_and_agents_count_each_fate_by_agent_and_transport():
    record_and_count([entry("a"), entry("b"), entry("a"), entry("b", volume=1), Entry(b"{}")], "redis")
    # What is accepted and what is not is counted in two transactions, which a new minute may part.
    counts = {"accepted": 2, "duplicates": 1, "conflicts": 0, "refused": 0}
    minutes = ArrivalMinute.objects.filter(agent_source="bot-1", ecosystem="crypto", transport="redis")
    assert minutes.aggregate(**{name: Sum(name) for name in counts}) == counts
    refused = ArrivalMinute.objects.filter(agent_source="(refused)", transport="redis")
    assert set(refused.values_list("ecosystem", "conflicts", "refused")) == {("crypto", 1, 0), ("", 0, 1)}
    agent = Agent.objects.get()
    assert (agent.agent_source, agent.signals, agent.last_transport) == ("bot-1", 2, "redis")


def test_what_only_the_database_refuses_harms_no_neighbour():
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE trading_signals ADD CONSTRAINT no_doge CHECK (symbol <> 'DOGEUSDT')")
    try:
        entries = [entry(f"s{number}") for number in range(9)] + [entry("bad", symbol="DOGEUSDT")]
        assert fates(entries) == ["accepted"] * 9 + ["refused"]
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE trading_signals DROP CONSTRAINT no_doge")
    letter = DeadLetter.objects.get()
    assert (letter.code, letter.signal_id) == ("database_refused", "bad")
    assert "23514" in letter.detail
    assert "no_doge" in letter.detail


def test_signals_among_much_white_space_are_recorded_however_many_bytes_that_makes():
    padded = [Entry(raw(f"s{number}") + b" " * 1_000_000) for number in range(70)]
    assert fates(padded) == ["accepted"] * 70
    assert fates(padded[:40]) == ["duplicate"] * 40


def test_an_agents_open_transaction_holds_up_its_own_signal_and_no_other():
    with psycopg.connect(**connection.get_connection_params() | {"cursor_factory": None}) as agent:
        insert(agent.cursor(), "held")
        assert fates([entry("a"), entry("held"), entry("b")]) == ["accepted", "deferred", "accepted"]
        assert DeadLetter.objects.count() == 0
        agent.rollback()
    assert fates([entry("held")]) == ["accepted"]


def test_a_row_that_is_not_recorded_yet_is_compared_by_its_content():
    with connection.cursor() as cursor:
        insert(cursor, "direct")
    same = dict.fromkeys(("entry_price", "volume", "confidence"))
    same = same | {"agent_source": "", "tags": [], "raw_payload": {}, "timestamp": "2026-01-02T03:04:05Z"}
    assert fates([entry("direct", **same), entry("direct")]) == ["duplicate", "conflict"]
    assert [result.fate for result in inserted_rows.record_inserted_rows(10)] == [Fate.ACCEPTED]
    assert fates([entry("direct", **same), entry("direct")]) == ["duplicate", "conflict"]


def test_positions_follow_the_order_within_a_batch_and_across_batches():
    fates([entry(f"a{number:03}") for number in range(200)])
    fates([entry(f"b{number:03}") for number in range(200)])
    ordered = [name for (name,) in rows("SELECT signal_id FROM trading_signals ORDER BY position")]
    assert ordered == sorted(ordered)
    assert value("SELECT count(DISTINCT position) FROM trading_signals") == 400


def test_symbols_and_texts_with_backslashes_and_quotes_survive_the_copy():
    odd = {"symbol": "A\\tB\\N", "agent_source": 'a\\b"\\n\\', "tags": ["\\.", "\\x41"]}
    odd["raw_payload"] = {"k\\": 'v\\"', "ü": "日本"}
    assert fates([entry(**odd)]) == ["accepted"]
    row = TradingSignal.objects.get()
    assert {name: getattr(row, name) for name in odd} == odd

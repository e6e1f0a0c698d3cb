"""The sealer: what was recorded becomes leaves, in order, and checkpoints cover it."""

import hashlib
import io
import json

import pytest
import rfc8785
from django.core.management import call_command
from django.db import connection

from aggregator.models import LogAgent, LogLeaf, OutcomeEvent, TradingSignal, TransparencyLog
from aggregator.transparency.leaves import recorded_events, recorded_signals
from aggregator.transparency.log_directory import log_directory
from tests.aggregator.transparency import rfc6962
from tests.aggregator.transparency.log_files import download, entries, opened
from tests.commerce.feed.reading import reader

pytestmark = pytest.mark.django_db(transaction=True)

EVENT = """
    INSERT INTO outcome_events (position, decided_at, cause, rule_version, horizon_hours, fee_bps, state,
        exit_reason, entered_at, entry_price, exited_at, exit_price, gross_return, net_return, r_multiple,
        mfe_r, mae_r, ambiguous, scored_to)
    VALUES (%(position)s, now(), 'prices', 1, 720, 10, %(state)s, 'stop', '2026-01-02T03:04:00Z', 100.50,
        '2026-01-02T03:05:00Z', 98, -0.024875621891, -0.026850746269, -1.079400000000, 0, 1, true,
        '2026-01-02T03:06:00Z')"""


def test_every_recorded_signal_becomes_a_leaf_in_order_of_position(log, record, seal, tmp_path):
    record({"signal_id": "a"}, {"signal_id": "b", "ecosystem": "stock", "symbol": "AAPL"})
    assert seal().checkpoint_size == 2
    record({"signal_id": "c"}, {"signal_id": "c"})  # the second is a duplicate, and no leaf
    head = seal()
    folder = download(tmp_path / "copy")
    assert opened((folder / "checkpoint").read_text(), log) == (
        "hub.example.com/log",
        3,
        rfc6962.mth(entries(folder)),
    )
    recorded = TradingSignal.objects.order_by("position").values_list("position", "recorded_at")
    leaves = [json.loads(entry) for entry in entries(folder)]
    assert [(leaf["position"], leaf["recorded_at"]) for leaf in leaves] == [
        (position, f"{at:%Y-%m-%dT%H:%M:%S.%fZ}") for position, at in recorded
    ]
    assert all(rfc8785.dumps(leaf) == entry for leaf, entry in zip(leaves, entries(folder), strict=True))
    assert log_directory().copy() == head.checkpoint


ODD = [
    {"entry_price": "0.0000000000000000000000000000000000000001", "volume": "0"},
    {"entry_price": "999999999999999999.50", "stop_loss": 1e-7, "take_profit": 1e16},
    {"confidence": 0, "tags": ["é", '"quoted"', "a\\b"]},
    {"confidence": 1, "symbol": "Volatility 75 Index"},
    {"confidence": 1.5e-7, "timestamp": "2026-01-02T03:04:05Z"},
    {"confidence": 0.1, "timestamp": "2026-01-02T03:04:05.1+02:00", "agent_source": "агент"},
    {"raw_payload": {"long": 1.0, "text": "line\nbreak \u2028 \u0001", "n": [None, True, {"x": []}]}},
    {"raw_payload": {"digits": 0.1234567890123456789}, "signal_type": "limit", "action": "sell"},
    {"refers_to": "earlier", "action": "CLOSE", "agent_source": ""},
]


def test_content_is_the_canonical_json_of_the_signal_as_readers_get_it(log, record, seal):
    record(*({"signal_id": f"odd-{number}"} | fields for number, fields in enumerate(ODD)))
    seal()
    client = reader(payload=True)
    with connection.cursor() as cursor:
        signals = recorded_signals(cursor, "position IS NOT NULL", {})
    for signal in signals:
        content = json.loads(signal.content)
        assert rfc8785.dumps(content) == signal.content
        served = client.get(f"signals/crypto/{content['signal_id']}").json()
        raw_payload = content.pop("raw_payload")
        assert json.loads(raw_payload) == served["raw_payload"]
        row = TradingSignal.objects.extra(select={"text": "raw_payload::text"}).get(position=signal.position)
        assert raw_payload == row.text
        assert content == {"refers_to": row.refers_to} | {
            name: value
            for name, value in served.items()
            if name not in {"cursor", "received_at", "instrument", "raw_payload", "recorded_at"}
        }


def test_a_leaf_commits_to_the_content_and_names_the_agent_by_a_salt(log, record, seal, tmp_path):
    record({"agent_source": "momentum"}, {"agent_source": "momentum"}, {"agent_source": "other"})
    seal()
    leaves = [json.loads(entry) for entry in entries(download(tmp_path))]
    salts = {agent.agent_source: bytes(agent.salt) for agent in LogAgent.objects.all()}
    named = {
        name: hashlib.sha256(salt + f"crypto/{name}".encode()).hexdigest() for name, salt in salts.items()
    }
    assert [leaf["agent"] for leaf in leaves] == [named["momentum"], named["momentum"], named["other"]]
    with connection.cursor() as cursor:
        signals = recorded_signals(cursor, "position IS NOT NULL", {})
    nonces = [bytes(leaf.nonce) for leaf in LogLeaf.objects.order_by("index")]
    assert [leaf["commitment"] for leaf in leaves] == [
        hashlib.sha256(nonce + signal.content).hexdigest()
        for nonce, signal in zip(nonces, signals, strict=True)
    ]
    assert len({*nonces, *salts.values()}) == 5
    assert {len(each) for each in [*nonces, *salts.values()]} == {32}


def test_without_news_there_is_no_new_checkpoint(log, record, seal):
    record()
    seal()
    first = TransparencyLog.objects.values().get()
    seal()
    assert TransparencyLog.objects.values().get() == first


def test_what_is_not_recorded_yet_is_no_leaf(log, seal):
    with connection.cursor() as cursor:
        cursor.execute(
            'INSERT INTO trading_signals (signal_id, ecosystem, "timestamp", symbol, action) '
            "VALUES ('waiting', 'crypto', now(), 'BTCUSDT', 'BUY')"
        )
    assert seal().size == 0


def test_a_hub_without_a_log_seals_nothing(log_dir, record, seal):
    record()
    assert seal() is None
    assert not LogLeaf.objects.exists()
    assert not log_dir.exists()


def test_every_outcome_event_becomes_a_leaf_of_its_calls_agent(log, record, seal, tmp_path):
    record({"signal_id": "call", "agent_source": "momentum"})
    position = TradingSignal.objects.get().position
    with connection.cursor() as cursor:
        for state in ("waiting", "closed"):
            cursor.execute(EVENT, {"position": position, "state": state})
    seal()
    leaves = [json.loads(entry) for entry in entries(download(tmp_path))]
    assert [(leaf["kind"], leaf["position"]) for leaf in leaves] == [
        ("signal", position),
        ("outcome", position),
        ("outcome", position),
    ]
    assert len({leaf["agent"] for leaf in leaves}) == 1
    with connection.cursor() as cursor:
        events = recorded_events(cursor, "true", {"limit": 10})
    content = json.loads(events[1].content)
    assert rfc8785.dumps(content) == events[1].content
    assert set(content) == {field.name for field in OutcomeEvent._meta.fields}
    assert (content["state"], content["r_multiple"], content["exit_price"]) == ("closed", "-1.0794", "98")
    assert content["exited_at"] == "2026-01-02T03:05:00Z"
    nonce = bytes(LogLeaf.objects.get(index=2).nonce)
    assert hashlib.sha256(nonce + events[1].content).hexdigest() == leaves[2]["commitment"]
    assert leaves[2]["recorded_at"] == events[1].recorded_at
    call_command("transparency", "verify", stdout=io.StringIO())

"""GET /api/v1/signals/<ecosystem>/<signal_id>/proof"""

import json
from datetime import timedelta

import pytest

from tests.aggregator.transparency.log_files import verify, write
from tests.commerce.feed.reading import reader, record

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_reader_proves_a_signal_offline(log, seal, tmp_path):
    record("a", "b", "c", raw_payload={"rsi": 27.35})
    seal()
    answer = reader().get("signals/crypto/b/proof")
    assert answer.status_code == 200
    proof = answer.json()
    assert set(proof) == {"index", "leaf_data", "content", "nonce", "size", "proof", "checkpoint"}
    assert (proof["index"], proof["size"], len(proof["proof"])) == (1, 3, 2)
    assert json.loads(proof["content"])["raw_payload"] == '{"rsi": 27.35}'
    status, line = verify("proof", write(tmp_path / "proof.json", proof), "--key", log)
    assert status == 0
    assert line.startswith("ok: crypto/b (BUY BTCUSDT) was recorded at 20")
    assert line.endswith("Z exactly so: leaf 1 of hub.example.com/log")


def test_what_the_plan_does_not_show_has_no_proof(log, seal):
    record("a")
    seal()
    outsiders = [
        (reader(ecosystems=["forex"]), "crypto/a"),
        (reader(instruments=["ETH/*"]), "crypto/a"),
        (reader(delay=timedelta(minutes=15)), "crypto/a"),
        (reader(), "crypto/none"),
    ]
    answers = [someone.get(f"signals/{path}/proof") for someone, path in outsiders]
    assert {answer.status_code for answer in answers} == {404}
    assert {answer.json()["code"] for answer in answers} == {"not_found"}


def test_a_signal_without_a_checkpoint_has_no_proof_yet(log, seal):
    record("a")
    someone = reader(signals_per_day=1)
    answer = someone.get("signals/crypto/a/proof")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_in_log")
    seal()
    assert '"signals";r=0' in someone.get("signals/crypto/a/proof")["RateLimit"]
    assert someone.get("signals/crypto/a/proof").status_code == 429


def test_an_id_may_end_like_the_address_of_a_proof(log, seal):
    record("a/proof")
    seal()
    someone = reader()
    assert someone.get("signals/crypto/a/proof").json()["signal_id"] == "a/proof"
    assert json.loads(someone.get("signals/crypto/a/proof/proof").json()["content"])["signal_id"] == "a/proof"

"""GET /api/v1/signals/<ecosystem>/<signal_id>"""

from datetime import timedelta
from urllib.parse import quote

import pytest

from tests.commerce.feed.reading import pass_time, reader, record

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_signal_is_found_by_its_identity():
    record("a")
    response = reader().get("signals/crypto/a")
    assert response.status_code == 200
    assert response.json()["signal_id"] == "a"


@pytest.mark.parametrize("signal_id", ["trade:1/2", "a/b/c", "x%2Fy", "?q=1#z"])
def test_an_id_may_hold_any_printable_character(signal_id):
    record(signal_id)
    assert reader().get(f"signals/crypto/{quote(signal_id, safe='')}").json()["signal_id"] == signal_id


def test_what_the_plan_does_not_show_is_a_404_like_what_is_not_there():
    record("a")
    record("eur", ecosystem="forex", symbol="EURUSD")
    outsiders = [
        (reader(ecosystems=["forex"]), "crypto/a"),
        (reader(instruments=["ETH/*"]), "crypto/a"),
        (reader(delay=timedelta(minutes=15)), "crypto/a"),
        (reader(), "crypto/none"),
        (reader(), "bonds/a"),
    ]
    answers = [someone.get(f"signals/{path}") for someone, path in outsiders]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.json()["detail"] for answer in answers}) == 1


def test_a_delayed_signal_is_found_when_its_time_has_come():
    someone = reader(delay=timedelta(minutes=15))
    record("a")
    pass_time(timedelta(minutes=16))
    assert someone.get("signals/crypto/a").status_code == 200


def test_it_counts_as_a_signal():
    record("a")
    someone = reader(signals_per_day=1)
    assert '"signals";r=0' in someone.get("signals/crypto/a")["RateLimit"]
    assert someone.get("signals/crypto/a").status_code == 429

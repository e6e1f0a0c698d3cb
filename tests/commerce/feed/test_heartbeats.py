"""Agents' heartbeats are in the ledger and in no feed."""

import pytest

from aggregator.models import TradingSignal
from tests.commerce.feed.reading import reader, record

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_sign_of_life_is_recorded_and_not_shown():
    someone = reader(signals_per_day=2)
    record("a")
    record("beat", "beat2", action="HOLD", signal_type="ANALYTICS", tags=["heartbeat", "synthetic"])
    record("ranking", signal_type="ANALYTICS", tags=["whales"])
    record("named-so", tags=["heartbeat"])
    assert [signal["signal_id"] for signal in someone.page(limit=2)["signals"]] == ["a", "ranking"]
    assert reader().ids() == ["a", "ranking", "named-so"]
    assert TradingSignal.objects.count() == 5
    assert reader().get("signals/crypto/beat").status_code == 404

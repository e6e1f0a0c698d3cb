"""The health check of the transparency log, and its metrics."""

from datetime import timedelta

import pytest
from django.db.models import F
from prometheus_client.exposition import generate_latest
from prometheus_client.utils import floatToGoString

from aggregator.health.checks import Status
from aggregator.health.ledger_checks import TransparencyCheck
from aggregator.health.metrics import HubCollector
from aggregator.health.runner import CheckRunner
from aggregator.models import TradingSignal, TransparencyLog

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "forex"])


def check(has_key=False):
    [result] = CheckRunner([TransparencyCheck(has_key=has_key)], fresh_s=0).results()
    return result


def test_without_a_log_it_says_so():
    assert (check().status, check().summary) == (Status.OK, "no log is kept")
    assert (check(has_key=True).status, check(has_key=True).summary) == (Status.DEGRADED, "no log has begun")


def test_a_log_that_covers_everything_is_well(log, record, seal):
    record()
    seal()
    assert check().status is Status.OK
    assert check().detail.startswith("1 leaves, checkpoint ")


def test_a_signal_that_waits_for_a_checkpoint_is_noticed(log, record):
    record()
    statuses = []
    for passed in (0, 21, 40):
        TradingSignal.objects.update(recorded_at=F("recorded_at") - timedelta(seconds=passed))
        statuses.append(check().status)
    assert statuses == [Status.OK, Status.DEGRADED, Status.FAILED]
    assert check().summary == "checkpoints are late"


def test_why_sealing_has_stopped_is_public_without_figures(log, log_dir, record, seal):
    record()
    (log_dir / "checkpoint").unlink()
    seal()
    assert (check().status, check().summary) == (Status.FAILED, "there is no copy of the last checkpoint")
    assert "transparency init --new-origin" in check().detail
    assert str(log_dir) not in check().summary


def test_that_no_worker_has_the_key_is_reported_when_signals_wait(log, log_dir, record, seal):
    (log_dir / "signing-key.pem").unlink()
    record()
    seal()
    assert TransparencyLog.objects.get().problem == ""
    TradingSignal.objects.update(recorded_at=F("recorded_at") - timedelta(seconds=40))
    seal()
    assert check().summary == "no worker has the signing key"


def test_metrics_show_size_age_and_lag(log, record, seal):
    record()
    head = seal()
    lines = generate_latest(HubCollector()).decode().splitlines()
    assert dict(line.split() for line in lines if line.startswith("signal_hub_log_")) == {
        "signal_hub_log_size": "1.0",
        "signal_hub_log_lag_seconds": "0.0",
        "signal_hub_log_checkpoint_timestamp_seconds": floatToGoString(head.checkpoint_at.timestamp()),
    }
    TransparencyLog.objects.all().delete()
    lines = generate_latest(HubCollector()).decode().splitlines()
    assert not [line for line in lines if line.startswith("signal_hub_log_")]
    assert 'signal_hub_scrape_failed{part="transparency"} 0.0' in lines

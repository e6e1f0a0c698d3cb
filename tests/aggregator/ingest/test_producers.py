"""Real producers against the hub: freqtrade's webhook class and NautilusTrader's node, if installed.

`make producers` installs them, each into an environment of its own. That takes 1.5 GB, so `make test` does
without. The versions are those in the Makefile.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest
import requests

from aggregator.ingest.source_streams import SourceStreamConsumer
from aggregator.models import DeadLetter, TradingSignal
from aggregator.sources.presets import presets
from tests.aggregator.sources.made import made
from tests.servers import PROJECT, eventually

pytestmark = pytest.mark.django_db(transaction=True)
SCRIPTS = Path(__file__).parent / "producers"


def run(producer, script, *arguments, stdin=""):
    """Run a script in a producer's environment; return the last line that it prints, which is its version."""
    python = PROJECT / ".producers" / producer / "bin" / "python"
    if not python.exists():
        pytest.skip(f"no {producer} here: make producers")
    command = [str(python), str(SCRIPTS / script), *arguments]
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def webhook_section(url, shape):
    """Return the webhook of the preset's own instructions, in one of freqtrade's formats."""
    [code] = [step.code for step in presets()["freqtrade"].steps if step.code]
    webhook = json.loads("{" + code.strip().replace("{url}", url) + "}")["webhook"]
    webhook |= {"format": shape, "retries": 20, "retry_delay": 0.5}  # the test machine may be busy
    if shape == "raw":
        for name, section in webhook.items():
            if isinstance(section, dict):
                webhook[name] = {"data": ";".join(f"{key}={value}" for key, value in section.items())}
    return {"webhook": webhook}


@pytest.mark.parametrize("shape", ["json", "form", "raw"])
def test_freqtrades_own_webhook_class_with_the_configuration_that_the_preset_prescribes(shared_hub, shape):
    _, path = made("ft", "freqtrade", agent="freqtrade")
    hub = shared_hub()
    eventually(lambda: requests.get(f"{hub}/livez", timeout=60).ok)
    version = run(
        "freqtrade", "freqtrade_webhook.py", stdin=json.dumps(webhook_section(f"{hub}{path}", shape))
    )
    assert version
    fields = ("action", "signal_type", "signal_id", "refers_to", "entry_price")
    rows = TradingSignal.objects.order_by("position").values_list(*fields)
    assert [
        (action, kind, signal_id if signal_id in {"ft:7", "ft:8"} else "", refers, price and str(price))
        for action, kind, signal_id, refers, price in rows
    ] == [
        ("HOLD", "TRADE", "", None, None),
        ("BUY", "LIMIT", "ft:7", None, "64250.1"),
        ("BUY", "TRADE", "", None, "64250.1"),
        ("SELL", "MARKET", "ft:8", None, "64250.1"),
        ("CLOSE", "MARKET", "", "ft:7", "65000.5"),
        ("HOLD", "TRADE", "", None, None),
        ("CLOSE", "TRADE", "", "ft:7", "65000.5"),
        ("CLOSE", "MARKET", "", "ft:8", "64250.1"),
    ]
    assert not DeadLetter.objects.exists()


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
def test_nautilus_traders_own_node(redis_client, encoding):
    made("nt", "nautilustrader", stream="trader-TRADER-001:stream")
    url = os.environ["CORE_REDIS_URL"]
    assert run("nautilus_trader", "nautilus_trader_stream.py", url, encoding)
    consumer = SourceStreamConsumer(url)
    while consumer.run_once(wait=False):
        pass
    consumer.close()
    rows = TradingSignal.objects.order_by("position").values_list("symbol", "action", "entry_price")
    assert [(symbol, action, str(price)) for symbol, action, price in rows] == [
        ("BTCUSDT-PERP.BINANCE", "BUY", "64250.1"),
        ("ETHUSDT", "SELL", "3000.5"),
    ]
    assert DeadLetter.objects.get().code == "missing_field", "a number says neither symbol nor side"

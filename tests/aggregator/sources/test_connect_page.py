"""The examples of `docs/connect.md`, run as they are written."""

import io
import os
import re
import shlex
import subprocess

import pytest
from django.core.management import call_command

from aggregator.ingest.source_preview import preview
from aggregator.models import Source, TradingSignal
from aggregator.sources.mapping import compile_mapping
from aggregator.sources.presets import presets
from tests.guides import blocks
from tests.servers import PROJECT, eventually

PAGE = (PROJECT / "docs" / "connect.md").read_text()
# What TradingView puts into the placeholders of a strategy's alert.
VALUES = {"ticker": "BTCUSDT", "exchange": "BINANCE", "timenow": "2026-01-02T03:04:05Z", "close": "64250.1"}
VALUES |= {
    "strategy.order.action": "buy",
    "strategy.market_position": "long",
    "strategy.order.contracts": "0.5",
}


def source(command):
    """Run a `manage.py source …` of the page; return the last line that it prints."""
    out = io.StringIO()
    call_command(*shlex.split(command)[2:], stdout=out, stderr=io.StringIO())
    return out.getvalue().strip().splitlines()[-1]


@pytest.mark.django_db(transaction=True)
def test_the_commands_and_the_first_request(live_hub, tmp_path):
    add, telegram, nautilus, rotate = (block.text.strip() for block in blocks("connect.md", "sh"))
    url = source(add)
    hook = live_hub() + url[url.index("/api/") :]
    (block,) = blocks("connect.md", "bash")
    script, changed = re.subn(r'^hook="[^"]*"', f"hook={hook}", block.text, flags=re.M)
    assert changed == 1

    def first_line():
        shell = ["bash", "-euo", "pipefail", "-c", script]
        done = subprocess.run(
            shell, cwd=tmp_path, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True
        )
        return done.stdout.splitlines()[0]

    line = eventually(lambda: [line for line in [first_line()] if " 503 " not in line])[0]
    assert " 202 " in line or " 200 " in line
    assert TradingSignal.objects.get().agent_source == "tradingview-btc"
    source(nautilus)
    assert Source.objects.get(name="nautilus").stream == "trader-TRADER-001:stream"
    assert source(rotate) != url
    assert telegram == "python manage.py source telegram my-channel"


def test_the_message_for_tradingview_is_the_presets_and_becomes_a_signal():
    (block,) = blocks("connect.md", "json")
    step = next(step for step in presets()["tradingview"].steps if "strategy" in step.code)
    assert "".join(block.text.split()) == "".join(step.code.split())
    body = re.sub(r"\{\{([\w.]+)\}\}", lambda match: VALUES.get(match[1], match[1]), block.text)
    [found] = preview(Source(name="tv", preset="tradingview", ecosystem="crypto"), body.encode())
    assert (found.signal.action, found.signal.symbol, str(found.signal.volume)) == (
        "BUY",
        "BINANCE:BTCUSDT",
        "0.5",
    )


def test_the_mappings_can_be_used():
    pattern, mapping = (block.text for block in blocks("connect.md", "toml"))
    assert compile_mapping(pattern).patterns[0].channel == "@name"
    assert not compile_mapping(mapping).is_empty
    body = b'{"order": {"pair": "BTCUSDT"}, "last": 1.5, "side": "flat"}'
    [found] = preview(Source(name="own", preset="custom", ecosystem="crypto", mapping=mapping), body)
    assert (found.signal.action, str(found.signal.entry_price)) == ("CLOSE", "1.5")


def test_every_preset_is_on_the_page():
    for preset in presets():
        assert f"`{preset}`" in PAGE

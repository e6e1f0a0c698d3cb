"""`manage.py replay_record`: from files of candles to public records."""

import re
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from aggregator.models import Agent, Outcome, TradingSignal
from ecosystems.market.csv_feed import HEADER
from tests.ecosystems.market.sample_market import made_up

pytestmark = pytest.mark.django_db(transaction=True)

FILES = {"BTC_USDT-1m.csv": "crypto", "EUR_USD-1h.csv": "forex", "GOOG-1d.csv": "stock"}


@pytest.fixture
def folder(tmp_path):
    for seed, (name, ecosystem) in enumerate(FILES.items(), start=1):
        rows = [
            f"{each.timestamp.isoformat()},{each.open},{each.high},{each.low},{each.close},{each.volume}"
            for each in made_up(ecosystem, seed, name.partition("-")[2].removesuffix(".csv"), 1000)
        ]
        (tmp_path / name).write_text("\n".join([",".join(HEADER), *rows, ""]))
    return tmp_path


def replay(*arguments):
    out = StringIO()
    call_command("replay_record", *map(str, arguments), stdout=out)
    return out.getvalue()


def test_files_of_three_ecosystems_end_as_public_records_however_often_they_are_replayed(folder, client):
    strategy = ("--strategy", "donchian_breakout")
    first = replay(folder, *strategy)
    assert (Agent.objects.count(), Agent.objects.filter(published_at=None).count()) == (3, 3)
    signals = TradingSignal.objects.count()
    said = replay(folder, *strategy, "--publish")
    addresses = re.findall(r"(/record/\S+)", said)
    assert [each.split("/")[2] for each in addresses] == list(FILES.values())
    for address in addresses:
        page = client.get(address)
        assert page.status_code == 200
        assert b"Simulated." in page.content
    results = [line for line in said.splitlines() if " calls: " in line]
    assert results == [line for line in first.splitlines() if " calls: " in line]
    calls = sum(int(each.replace(",", "")) for each in re.findall(r"([\d,]+) calls", said))
    assert calls == Outcome.objects.filter(simulated=True).count() > 20
    assert Outcome.objects.filter(state="closed").count() > 10
    assert TradingSignal.objects.count() == signals


def test_what_cannot_be_replayed_is_said_in_one_line(tmp_path):
    for content, words in ((None, "no files such as"), ("x", "the header must be")):
        if content:
            (tmp_path / "GOOG-1d.csv").write_text(content)
        with pytest.raises(CommandError, match=words):
            replay(tmp_path)
    (tmp_path / "???-1d.csv").write_text("x")
    with pytest.raises(CommandError, match="not known as a symbol"):
        replay(tmp_path)
    with pytest.raises(CommandError, match="is not a folder"):
        replay(tmp_path / "absent")

"""`verify_record.py outcomes`: a reader scores a record again, from prices alone."""

import csv
import random
import time
from collections import Counter
from datetime import UTC, date, datetime, timedelta

import pytest
from exchange_calendars.exchange_calendar_xnys import XNYSExchangeCalendar

from aggregator.models import Outcome
from aggregator.transparency.record_csv import RecordCsv
from ecosystems.market.open_hours import later
from tests.aggregator.track_record.recording import T0, call, candle_rows, insert, outcome, put, query, score
from tests.aggregator.track_record.test_score import insert_markets, past, put_made_up
from tests.aggregator.transparency import verifier

pytestmark = pytest.mark.django_db(transaction=True)


def export(folder, ecosystem, agent):
    calls = Outcome.objects.filter(ecosystem=ecosystem, agent_source=agent)
    text = "".join(RecordCsv(ecosystem, agent, calls).lines())
    (folder / "record.csv").write_text(text, newline="")
    return str(folder / "record.csv")


def prices(folder, instrument, rows):
    folder.mkdir(exist_ok=True)
    with (folder / f"{instrument.replace('/', '_')}-1m.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["timestamp", "open", "high", "low", "close", "volume"])
        writer.writerows([row[0].isoformat(), *row[1:], 0] for row in rows)


def test_outcomes_of_all_kinds_follow_from_the_prices(log, seal, tmp_path, capsys):
    signals, expected, markets = put_made_up(range(40, 46))
    put(*past(signals))
    for _, instrument, series, _ in markets:
        prices(
            tmp_path / "prices",
            instrument,
            [(each.timestamp, each.open, each.high, each.low, each.close) for each in series],
        )
    insert_markets(markets, random.Random(1), 1)
    seal()
    module = verifier.load()
    found = Counter()
    for row in query("SELECT ecosystem, agent_source, state, exit_reason FROM outcomes"):
        record = export(tmp_path, row["ecosystem"], row["agent_source"])
        status = module.main(["outcomes", record, "--prices", str(tmp_path / "prices")])
        assert status == 0, (row, capsys.readouterr().err)
        found[row["state"], row["exit_reason"]] += 1
    assert len(expected) == sum(found.values())
    assert len(found) > 8, found


def test_deadlines_are_those_of_the_markets():
    """The verifier's own calendars, beside those that the hub asks others for."""
    module, day = verifier.load(), date(2004, 1, 1)
    calendar = XNYSExchangeCalendar(start="2004-01-01", end="2040-12-31")
    opens, closes = ([at.to_pydatetime() for at in times] for times in (calendar.opens, calendar.closes))
    sessions = []
    while day.year < 2041:
        sessions += [module.stock_session(day)]
        day += timedelta(days=1)
    assert list(filter(None, sessions)) == list(zip(opens, closes, strict=True))
    source = random.Random(1)
    for ecosystem, hours in [
        ("stock", "24"),
        ("stock", "136.5"),
        ("forex", "24"),
        ("forex", "504"),
        ("crypto", "1"),
    ] * 6:
        start = T0 + timedelta(minutes=source.randrange(300 * 1440))
        assert module.later(ecosystem, start, hours) == later(ecosystem, start, timedelta(hours=float(hours)))


LINES = "100.5/101/100/101 · 101/104.5/101/104 · 104/105/103/104"


@pytest.fixture
def record_of_two(log, seal, tmp_path):
    """A call, and one of the other side that ended it; their prices."""
    long = {"entry_price": 100, "stop_loss": 98, "take_profit": 104}
    call(**long)
    call(action="SELL", timestamp=T0 + timedelta(minutes=1))
    insert(candle_rows(LINES))
    score()
    seal()
    prices(tmp_path / "prices", "BTC/USDT", candle_rows(LINES))
    return export(tmp_path, "crypto", "bot")


def says(capsys, record, folder):
    status = verifier.load().main(["outcomes", record, "--prices", str(folder)])
    said = capsys.readouterr()
    return status, (said.out + said.err).strip()


def test_it_says_what_was_verified(record_of_two, tmp_path, capsys):
    assert says(capsys, record_of_two, tmp_path / "prices") == (
        0,
        "ok: crypto/bot: the outcomes follow from the prices: 1 closed, 1 open",
    )


def test_the_prices_of_a_symbol_are_read_once_however_many_its_calls(record_of_two, tmp_path, monkeypatch):
    module, read = verifier.load(), []
    candle_of = module.candle_of
    monkeypatch.setattr(module, "candle_of", lambda line: read.append(line) or candle_of(line))
    assert module.main(["outcomes", record_of_two, "--prices", str(tmp_path / "prices")]) == 0
    assert len(read) == len(candle_rows(LINES))


def test_an_outcome_that_is_not_that_of_the_prices_is_named(record_of_two, tmp_path, capsys):
    prices(tmp_path / "prices", "BTC/USDT", candle_rows(LINES.replace("· 101/", "· 102/")))
    status, line = says(capsys, record_of_two, tmp_path / "prices")
    assert status == 1
    assert line.startswith("wrong: crypto/call-")
    assert line.endswith(": exit_price is 101 in the record, 102 by the prices")


def test_a_real_signal_ends_a_simulated_call_here_as_well(log, seal, tmp_path, capsys):
    start = datetime.now(UTC) - timedelta(seconds=30)
    simulated = call(timestamp=start, stop_loss=90)
    call(action="SELL", tags=[])
    candles = [(start + timedelta(seconds=number), 100, 101, 99, 100) for number in range(36)]
    time.sleep((start + timedelta(seconds=36) - datetime.now(UTC)).total_seconds())
    insert(candles, seconds=1)
    score()
    assert outcome(simulated)["exit_reason"] == "reversal"
    seal()
    prices(tmp_path / "prices", "BTC/USDT", candles)
    assert says(capsys, export(tmp_path, "crypto", "bot"), tmp_path / "prices")[0] == 0


def test_prices_that_are_missing_are_named(record_of_two, tmp_path, capsys):
    (tmp_path / "none").mkdir()
    assert says(capsys, record_of_two, tmp_path / "none") == (
        1,
        f"wrong: {tmp_path / 'none'} has no prices of BTC/USDT: a file such as BTCUSDT-1m.csv",
    )


@pytest.mark.parametrize(
    "text",
    [
        "time,open,high,low,close,volume\n2026-01-05T12:01:00Z,1,1,1,1,0\n",
        "timestamp,open,high,low,close,volume\n1767614460,1,1,1,1,0\n",
        "timestamp,open,high,low,close,volume\n2026-01-05T12:01:00Z,1,1,one,1,0\n",
        "timestamp,open,high,low,close,volume\n2026-01-05T12:01:00Z,1\n",
    ],
)
def test_prices_that_are_none_are_named_with_their_file_and_line(record_of_two, tmp_path, capsys, text):
    (file := tmp_path / "prices" / "BTC_USDT-1m.csv").write_text(text)
    status, line = says(capsys, record_of_two, tmp_path / "prices")
    assert (status, line.startswith(f"wrong: {file}, line 2: a candle is a timestamp and ")) == (1, True), (
        line
    )

"""The public track records: `/record/`, an agent's page, its CSV, and the card to embed."""

import csv
import dataclasses
import io
import itertools
from datetime import timedelta
from decimal import Decimal
from urllib.parse import quote

import pytest
from django.utils import timezone

from aggregator.arrivals.rollups import RollupFollower
from aggregator.models import Agent, AgentHorizon, Outcome
from aggregator.transparency import record_csv
from tests.aggregator.track_record.recording import T0, call, candle_rows, insert, score
from tests.aggregator.transparency.log_files import download, verify, write

pytestmark = pytest.mark.django_db(transaction=True)

LONG = {"entry_price": 100, "stop_loss": 98, "take_profit": 104}


def decide(**fields):
    """Have an agent win, lose, and hold a call; return the agent."""
    call(**LONG | fields)
    call(symbol="ETH/USDT", **LONG | fields)
    call(symbol="SOL/USDT", **LONG | fields)
    insert(candle_rows("100.5/101/100/101 · 101/104.5/101/104"))
    insert(candle_rows("100.5/105/97/99"), instrument="ETH/USDT")
    insert(candle_rows("100.5/101/100/101"), instrument="SOL/USDT")
    score()
    now = timezone.now()
    return Agent.objects.create(
        ecosystem="crypto",
        agent_source=fields.get("agent_source", "bot"),
        first_seen=now,
        last_seen=now,
        last_transport="webhook",
    )


def publish(agent):
    agent.published_at = timezone.now()
    agent.save()


def rows_of(client, agent):
    response = client.get(f"/record/{agent}", {"format": "csv"})
    assert response.headers["Content-Type"].startswith("text/csv")
    return list(csv.DictReader(io.StringIO(b"".join(response.streaming_content).decode())))


def test_only_published_agents_are_public(client):
    agent = decide()
    assert b"No agent's record is published yet" in client.get("/record/").content
    assert client.get("/record/crypto/bot").status_code == 404
    publish(agent)
    assert b"/record/crypto/bot" in client.get("/record/").content
    assert client.get("/record/crypto/bot").status_code == 200
    assert client.get("/record/crypto/bot", {"format": "xml"}).status_code == 404


def test_a_download_has_the_agents_name_in_any_script(client):
    publish(decide(agent_source='Про"фит/1'))
    path = quote('Про"фит/1', safe="")
    header = client.get(f"/record/crypto/{path}", {"format": "csv"}).headers["Content-Disposition"]
    assert header == f"attachment; filename*=utf-8''{quote('crypto-Про_фит_1.csv')}"


def test_the_csv_has_exactly_the_rows_that_the_figures_are_made_of(client):
    publish(decide())
    rows = rows_of(client, "crypto/bot")
    assert [row["state"] for row in rows] == ["closed", "closed", "open"]
    assert len(rows) == Outcome.objects.count()
    gains = [Decimal(row["r_multiple"]) for row in rows]
    assert gains[0] == Decimal("1.3182")
    page = client.get("/record/crypto/bot").content.decode()
    total = f"{sum(gains):+.2f}"
    assert "Simulated." in page
    assert "not investment advice" in page
    assert total in page
    assert "50.0 %" in page
    assert "from 60 days and 30 closed calls on" in page
    assert rows[0]["t0"] == T0.isoformat().replace("+00:00", "Z")
    assert rows[0]["feed"] == "manual"


def hidden_for(settings, hours):
    settings.ENVIRONMENT = dataclasses.replace(settings.ENVIRONMENT, record_delay=timedelta(hours=hours))


def test_open_calls_are_hidden_as_long_as_the_operator_says(client, settings):
    publish(decide())
    hidden_for(settings, hours=1)
    assert [row["state"] for row in rows_of(client, "crypto/bot")] == ["closed", "closed"]
    assert b"SOL/USDT" not in client.get("/record/crypto/bot").content
    hidden_for(settings, hours=0)
    assert b"SOL/USDT" in client.get("/record/crypto/bot").content


def test_an_agent_without_calls_to_show_is_not_called_simulated(client, settings):
    publish(decide())
    Agent.objects.update(agent_source="idle")
    assert b"Simulated" not in client.get("/record/").content
    for query in ({}, {"embed": "1"}):
        assert b"imulated." not in client.get("/record/crypto/idle", query).content
    assert client.get("/record/crypto/idle", {"format": "json"}).json()["simulated"] is False


def test_names_of_agents_may_hold_anything(client):
    publish(decide(agent_source='=team/"<b>bot</b>" 1%'))
    page = client.get("/record/").content.decode()
    assert "<b>bot</b>" not in page
    address = page.split('href="/record/crypto/')[1].split('"')[0]
    response = client.get(f"/record/crypto/{address}")
    assert response.status_code == 200
    assert "<b>bot</b>" not in response.content.decode()
    assert rows_of(client, f"crypto/{address}")[0]["agent"].startswith("'=team")


@pytest.mark.parametrize("name", ["-2+3+cmd|' /C calc'!A0", "+1+HYPERLINK(1)", "=1", "-2-3"])
def test_no_name_is_a_formula_of_a_spreadsheet_and_the_csv_is_verified(client, log, seal, tmp_path, name):
    publish(decide(agent_source=name))
    seal()
    address = f"crypto/{quote(name)}"
    assert {row["agent"] for row in rows_of(client, address)} == {f"'{name}"}
    folder = download(tmp_path)
    text = b"".join(client.get(f"/record/{address}", {"format": "csv"}).streaming_content).decode()
    (folder / "record.csv").write_text(text, newline="")
    assert verify("record", folder / "record.csv", "--log", folder, "--key", log)[0] == 0


def test_a_card_may_be_framed_and_a_page_may_not(client):
    publish(decide())
    card, page = (client.get("/record/crypto/bot", query) for query in ({"embed": "1"}, {}))
    assert "X-Frame-Options" not in card.headers
    assert "frame-ancestors *" in card.headers["Content-Security-Policy"]
    assert page.headers["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
    assert b"Win rate" in card.content


def test_an_operator_publishes_an_agent_and_sets_its_time_stop(admin_client, client):
    agent = decide()
    address = f"/admin/aggregator/agent/{agent.pk}/change/"
    form = {"is_published": "on", "horizon_hours": "24", "expected_cadence": ""}
    assert admin_client.post(address, form).status_code == 302
    agent.refresh_from_db()
    assert agent.published_at is not None
    (horizon,) = AgentHorizon.objects.all()
    assert (horizon.hours, horizon.set_by) == (24, "admin")
    admin_client.post(address, form)
    assert AgentHorizon.objects.count() == 1
    assert b"after 24 hours of open market" in client.get("/record/crypto/bot").content
    AgentHorizon.objects.create(ecosystem="crypto", agent_source="bot")
    assert b"after 720 hours of open market" in client.get("/record/crypto/bot").content
    admin_client.post(address, {"horizon_hours": "24", "expected_cadence": ""})
    agent.refresh_from_db()
    assert agent.published_at is None


def test_an_agent_that_was_only_replayed_is_published_and_marked(admin_client, client):
    call(**LONG)
    insert(candle_rows("100.5/101/100/101 · 101/104.5/101/104"))
    score()
    RollupFollower().catch_up()
    agent = Agent.objects.get()
    assert "Only replayed" in admin_client.get("/admin/aggregator/agent/").content.decode()
    address = f"/admin/aggregator/agent/{agent.pk}/change/"
    assert "Simulated." in admin_client.get(address).content.decode()
    assert admin_client.post(address, {"is_published": "on"}).status_code == 302
    assert "Simulated" in client.get("/record/").content.decode()
    for query in ({}, {"embed": "1"}):
        assert "Simulated." in client.get("/record/crypto/bot", query).content.decode()


def test_pages_show_the_age_of_the_last_checkpoint(client, log, seal):
    publish(decide())
    seal()
    for address in ("/record/", "/record/crypto/bot"):
        page = client.get(address).content.decode()
        assert "covers" in page
        assert "hub.example.com/log" in page
        assert log.replace("+", "&#x2B;") in page or log in page
    assert "with its proofs" in page
    assert [line["leaves"].count("\n") for line in rows_of(client, "crypto/bot")] == [2, 2, 2]


def test_the_csv_is_verified_while_open_calls_are_hidden(client, settings, log, seal, tmp_path):
    hidden_for(settings, hours=1)
    call(action="HOLD")
    publish(decide())
    for fields in ({"action": "HOLD"}, {"symbol": "XRP/USDT", "action": "HOLD"}, {"symbol": "ADA/USDT"}):
        call(**fields)
    score()
    seal()
    call(symbol="DOT/USDT", timestamp=timezone.now())  # which no checkpoint covers
    score()
    folder = download(tmp_path)

    def verified(expected):
        text = b"".join(client.get("/record/crypto/bot", {"format": "csv"}).streaming_content).decode()
        (folder / "record.csv").write_text(text, newline="")
        write(folder / "figures", client.get("/record/crypto/bot", {"format": "json"}).json())
        options = ("--log", folder, "--key", log, "--statistics", folder / "figures")
        status, line = verify("record", folder / "record.csv", *options)
        assert (status, expected in line) == (0, True), line
        return text

    text = verified(
        "all its 6 leaves of the first 11 of hub.example.com/log; 5 more are hidden for up to 1:00"
    )
    assert "SOL/USDT" not in text
    assert "HOLD" not in text
    hidden_for(settings, hours=0)
    verified("5 simulated calls: 2 closed, 1 open, 1 unpriced, 1 waiting; ")


def test_the_csv_is_the_same_in_parts(client, log, seal, monkeypatch):
    call(action="HOLD")
    publish(decide())
    call(action="HOLD")
    seal()
    rows = rows_of(client, "crypto/bot")
    monkeypatch.setattr(record_csv, "SIGNALS_AT_A_TIME", 1)
    assert rows_of(client, "crypto/bot") == rows
    assert [row["leaves"].count("\n") for row in rows] == [3, 2, 3]


def test_what_is_decided_during_a_download_is_verified(client, log, seal, monkeypatch, tmp_path):
    publish(decide())
    seal()
    monkeypatch.setattr(record_csv, "SIGNALS_AT_A_TIME", 1)
    parts = client.get("/record/crypto/bot", {"format": "csv"}).streaming_content
    text = next(parts) + next(parts)
    insert(candle_rows("101/102/97/99", T0 + timedelta(seconds=90)), instrument="SOL/USDT")
    score()
    seal()
    text += b"".join(parts)
    assert b"SOL/USDT" in text
    folder = download(tmp_path)
    (folder / "record.csv").write_text(text.decode(), newline="")
    status, line = verify("record", folder / "record.csv", "--log", folder, "--key", log)
    assert (status, "all its 7 leaves of the first 6" in line, "3 closed" in line) == (0, True, True), line


def test_of_what_no_checkpoint_covers_yet_the_verifier_says_to_download_it_again(client, log, seal, tmp_path):
    def verified():
        folder = download(tmp_path)
        text = b"".join(client.get("/record/crypto/bot", {"format": "csv"}).streaming_content).decode()
        (folder / "record.csv").write_text(text, newline="")
        return verify("record", folder / "record.csv", "--log", folder, "--key", log)

    publish(decide())
    seal()
    insert(candle_rows("101/104.5/101/104", T0 + timedelta(seconds=90)), instrument="SOL/USDT")
    score()
    status, line = verified()
    assert (status, line.split(": ", 2)[2]) == (
        1,
        "state is closed in its line, open in the log; if that is new, "
        "download the record in a minute again, and then the log",
    )
    seal()
    assert verified()[0] == 0


def test_without_a_log_pages_show_none(client):
    publish(decide())
    page = client.get("/record/crypto/bot").content.decode()
    assert "Transparency log" not in page
    assert "with its proofs" not in page
    assert {line["leaves"] for line in rows_of(client, "crypto/bot")} == {""}


def test_one_address_gets_only_so_many_records(client):
    publish(decide())
    paths = itertools.cycle(["/record/", "/record/crypto/bot", "/record/crypto/bot?embed=1"])
    # More than two minutes' turn would let through.
    answers = [client.get(path, REMOTE_ADDR="203.0.113.9") for path in itertools.islice(paths, 160)]
    assert {answer.status_code for answer in answers[:120]} == {200}
    assert answers[-1].status_code == 429
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 60
    assert client.get("/record/", REMOTE_ADDR="203.0.113.10").status_code == 200

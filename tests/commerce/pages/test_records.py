"""The public track records: `/record/`, an agent's page, its CSV, and the card to embed."""

import csv
import dataclasses
import io
from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from aggregator.models import Agent, AgentHorizon, Outcome
from tests.aggregator.track_record.recording import T0, call, candle_rows, insert, score

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


def test_open_calls_are_hidden_as_long_as_the_operator_says(client, settings):
    publish(decide())
    settings.ENVIRONMENT = dataclasses.replace(settings.ENVIRONMENT, record_delay=timedelta(hours=1))
    assert [row["state"] for row in rows_of(client, "crypto/bot")] == ["closed", "closed"]
    assert b"SOL/USDT" not in client.get("/record/crypto/bot").content
    assert client.get("/record/crypto/bot", {"format": "proofs"}).status_code == 404
    settings.ENVIRONMENT = dataclasses.replace(settings.ENVIRONMENT, record_delay=timedelta(0))
    assert b"SOL/USDT" in client.get("/record/crypto/bot").content


def test_names_of_agents_may_hold_anything(client):
    publish(decide(agent_source='=team/"<b>bot</b>" 1%'))
    page = client.get("/record/").content.decode()
    assert "<b>bot</b>" not in page
    address = page.split('href="/record/crypto/')[1].split('"')[0]
    response = client.get(f"/record/crypto/{address}")
    assert response.status_code == 200
    assert "<b>bot</b>" not in response.content.decode()
    assert rows_of(client, f"crypto/{address}")[0]["agent"].startswith("'=team")


def test_a_card_may_be_framed_and_a_page_may_not(client):
    publish(decide())
    card, page = (client.get("/record/crypto/bot", query) for query in ({"embed": "1"}, {}))
    assert "X-Frame-Options" not in card.headers
    assert "frame-ancestors *" in card.headers["Content-Security-Policy"]
    assert page.headers["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
    assert b"Win rate" in card.content


def test_an_operator_publishes_an_agent_and_sets_its_time_stop(admin_client):
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
    admin_client.post(address, {"horizon_hours": "24", "expected_cadence": ""})
    agent.refresh_from_db()
    assert agent.published_at is None


def test_pages_show_the_age_of_the_last_checkpoint(client, log, seal):
    publish(decide())
    seal()
    for address in ("/record/", "/record/crypto/bot"):
        page = client.get(address).content.decode()
        assert "covers" in page
        assert "hub.example.com/log" in page
        assert log.replace("+", "&#x2B;") in page or log in page
    assert "?format=proofs" in page
    proofs = b"".join(client.get("/record/crypto/bot", {"format": "proofs"}).streaming_content).decode()
    lines = list(csv.DictReader(io.StringIO(proofs)))
    assert {line["agent"] for line in lines} == {"crypto/bot"}
    assert [line["kind"] for line in lines[:3]] == ["signal"] * 3


def test_without_a_log_pages_show_none(client):
    publish(decide())
    page = client.get("/record/crypto/bot").content.decode()
    assert "Transparency log" not in page
    assert "?format=proofs" not in page

"""Sources in the admin: created, limited, rotated, revoked; their mapping and what they received."""

from __future__ import annotations

import html
import json
import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone

from aggregator.ledger.replay import replay
from aggregator.models import DeadLetter, Source, TradingSignal
from aggregator.sources.presets import presets
from tests.aggregator.sources.made import made

pytestmark = pytest.mark.usefixtures("unhurried_hooks")
LIST = "/admin/aggregator/source/"
MAPPING = '[fields]\nsymbol = "what"\naction = {from = "do", values = {long = "BUY", flat = "CLOSE"}}\n'


def create(page, **fields):
    given = {
        "name": "tv",
        "preset": "tradingview",
        "ecosystem": "",
        "agent": "",
        "networks": "",
        "rate": "",
        "stream": "",
    }
    response = page.post(f"{LIST}add/", given | fields)
    assert response.status_code == 200
    return response, Source.objects.first()


def copied(response):
    return [
        html.unescape(text)
        for text in re.findall(r"<code>(.*?)</code>", response.content.decode(), re.DOTALL)
    ]


def send(page, url, content):
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return page.generic("POST", url[url.index("/api/hooks/") :], body, "text/plain").status_code


def text_of(response):
    assert response.status_code == 200
    return html.unescape(re.sub(r"\s+", " ", response.content.decode()))


@pytest.mark.parametrize("agent", ["a\u200bb", "x" * 129])
def test_a_sources_agent_is_a_name_also_after_a_change(page, agent):
    _, source = create(page)
    response = page.post(
        f"{LIST}{source.pk}/change/", {"agent": agent, "agents": "", "networks": "", "rate": ""}
    )
    assert "a name is a" in text_of(response)
    source.refresh_from_db()
    assert source.agent == "tv"


def test_a_new_sources_url_is_shown_once_with_what_to_do_at_the_producer(page):
    response, source = create(page, agent="scout")
    url, *instructions = copied(response)
    assert re.fullmatch(r"http://[^/]+/api/hooks/shs_[A-Za-z0-9_-]{43}", url)
    assert url in instructions
    assert any("{{strategy.order.action}}" in each for each in instructions)
    assert "no-store" in response["Cache-Control"]
    assert (source.name, source.ecosystem, source.agent) == ("tv", "crypto", "scout")
    assert send(page, url, b"buy BTCUSDT") == 202
    token = url.rpartition("/")[2]
    for path in (
        LIST,
        f"{LIST}{source.pk}/change/",
        f"{LIST}{source.pk}/history/",
        f"{LIST}{source.pk}/edit_mapping/",
    ):
        assert token not in text_of(page.get(path)), path
    assert token not in str(list(LogEntry.objects.values()))


@pytest.mark.parametrize("preset", list(presets()))
def test_every_preset_has_a_page_of_its_own(page, preset):
    stream = "trader-1:stream" if preset == "nautilustrader" else ""
    response, source = create(page, preset=preset, stream=stream)
    assert presets()[preset].steps[0].text in text_of(response)
    assert presets()[preset].title in text_of(page.get(f"{LIST}{source.pk}/change/"))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "a b"}, "at most 64 letters"),
        ({"name": "there"}, "exists already"),
        ({"preset": "myspace"}, "not one of the available choices"),
        ({"preset": "nautilustrader"}, "reads a stream"),
        ({"networks": "192.0.2.0/33"}, "neither an address nor a network"),
        ({"rate": "often"}, "a rate is written as"),
    ],
)
def test_what_cannot_be_a_source_says_why(page, fields, words):
    made("there")
    response, _ = create(page, **fields)
    assert words in text_of(response)
    assert Source.objects.count() == 1


def test_a_source_is_limited_and_shows_what_it_is(page):
    _, source = create(page, networks="192.0.2.7\n2001:db8::/32", rate="60/minute")
    assert source.networks == ["192.0.2.7/32", "2001:db8::/32"]
    change = f"{LIST}{source.pk}/change/"
    assert "60/minute" in text_of(page.get(change))
    response = page.post(change, {"agent": "other", "networks": "192.0.2.0/24", "rate": ""})
    assert response.status_code == 302
    source.refresh_from_db()
    assert (source.agent, source.networks, source.rate, source.preset) == (
        *("other", ["192.0.2.0/24"], "", "tradingview"),
    )


def test_rotating_shows_another_url_and_revoking_ends_it(page):
    first, source = create(page)
    rotate = f"{LIST}{source.pk}/rotate/"
    assert "gets a new URL" in text_of(page.get(rotate))
    second = page.post(rotate, {"overlap": "1", "seen": ""})
    old, new = copied(first)[0], copied(second)[0]
    assert [send(page, url, b"buy BTCUSDT") for url in (old, new)] == [202, 200]
    assert page.post(rotate, {"overlap": "1", "seen": ""}).status_code == 302, (
        "a form sent twice rotates once"
    )
    revoke = f"{LIST}{source.pk}/revoke/"
    assert "can't be undone" in text_of(page.get(revoke))
    page.post(revoke)
    assert [send(page, url, b"buy BTCUSDT") for url in (old, new)] == [404, 404]
    assert "revoked" in text_of(page.get(f"{LIST}{source.pk}/change/"))
    said = set(LogEntry.objects.values_list("change_message", flat=True))
    assert {"Rotated; the old URL is valid for 1 more hours.", "Revoked."} <= said


def test_its_page_shows_what_came_in_and_what_became_of_it(page):
    source, path = made()
    bodies = [
        {"ticker": "BTCUSDT", "action": "buy", "close": 64250.10, "timenow": "2026-01-02T03:04:05Z"},
        {"ticker": "=cmd|' /C calc'!A0", "action": "<script>alert(1)</script>"},
    ]
    assert [send(page, path, body) for body in (*bodies, b"sell ETHUSDT")] == [202, 422, 202]
    assert send(page, path, b"sell ETHUSDT") == 200
    TradingSignal.objects.filter(action="SELL").update(received_at=timezone.now() - timedelta(hours=2))
    text = text_of(page.get(f"{LIST}{source.pk}/change/"))
    assert "BUY BTC/USDT" in text
    assert "dead letter: unmapped_value" in text
    assert "sell ETHUSDT" in text
    assert "SELL ETH/USDT, 1 duplicate" in text
    assert "<script>alert(1)" not in page.get(f"{LIST}{source.pk}/change/").content.decode()
    assert re.search(r"Last minute</dt><dd>1</dd>.*Last hour</dt><dd>1</dd>.*Last day</dt><dd>2</dd>", text)


def test_a_mapping_is_tried_on_a_received_body_and_saved(page):
    source, path = made("own", "custom", ecosystem="stock")
    assert send(page, path, {"what": "AAPL", "do": "long", "token": "CANARY"}) == 422
    letter = DeadLetter.objects.get()
    editor = f"{LIST}{source.pk}/edit_mapping/"
    shown = text_of(page.get(f"{editor}?body=letter-{letter.pk}"))
    assert '"what": "AAPL"' in shown
    assert "CANARY" not in shown
    preview = f"{LIST}{source.pk}/preview"
    body = '{"what": "AAPL", "do": "long"}'
    assert "no_mapping" not in text_of(page.post(preview, {"mapping": MAPPING, "body": body}))
    assert "instrument" in text_of(page.post(preview, {"mapping": MAPPING, "body": body}))
    assert "not JMESPath" in text_of(
        page.post(preview, {"mapping": '[fields]\nsymbol = "a b"', "body": body})
    )
    assert "missing_field" in text_of(page.post(preview, {"mapping": MAPPING, "body": "{}"}))
    assert not TradingSignal.objects.exists()
    assert Source.objects.get().mapping == ""
    wrong = page.post(editor, {"mapping": "fields = 1", "body": ""})
    assert "fields: a table" in text_of(wrong)
    assert page.post(editor, {"mapping": MAPPING.replace("\n", "\r\n"), "body": ""}).status_code == 302
    assert Source.objects.get().mapping == MAPPING
    replay(list(DeadLetter.objects.all()))
    assert TradingSignal.objects.get().symbol == "AAPL"


def test_the_presets_own_mapping_is_not_copied_into_the_source(page):
    source, _ = made()
    editor = f"{LIST}{source.pk}/edit_mapping/"
    own = presets()["tradingview"].mapping
    page.post(editor, {"mapping": own.replace("\n", "\r\n"), "body": ""})
    assert Source.objects.get().mapping == ""
    page.post(editor, {"mapping": own + "\n# mine\n", "body": ""})
    assert Source.objects.get().mapping.endswith("# mine\n")
    page.post(editor, {"mapping": " ", "body": ""})
    assert Source.objects.get().mapping == ""


def test_without_rights_there_is_nothing(stranger):
    source, _ = made()
    for path in (LIST, f"{LIST}add/", f"{LIST}{source.pk}/change/", f"{LIST}{source.pk}/edit_mapping/"):
        assert stranger.get(path).status_code == 403, path
    for path in (f"{LIST}{source.pk}/preview", f"{LIST}{source.pk}/rotate/", f"{LIST}{source.pk}/revoke/"):
        assert stranger.post(path, {"mapping": "", "body": "{}"}).status_code == 403, path
    assert Source.objects.get(pk=source.pk).revoked_at is None

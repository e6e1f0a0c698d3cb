"""`manage.py source`: what an operator types, and what is printed."""

import io
import json
import re

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from aggregator.models import DeadLetter, Source, TradingSignal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("unhurried_hooks")]
URL = re.compile(r"https?://[^/\s]+/api/hooks/(shs_[A-Za-z0-9_-]{43})")


def source(*arguments):
    """Run the command; return what it prints, and what it writes beside that."""
    out, err = io.StringIO(), io.StringIO()
    call_command("source", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_add_prints_the_url_once_as_its_last_line(client):
    out, err = source("add", "tv", "--preset", "tradingview")
    url = URL.fullmatch(out.strip().splitlines()[-1])
    assert url
    assert (out + err).count(url[1]) == 1
    row = Source.objects.get()
    assert (row.name, row.preset, row.ecosystem, row.agent) == ("tv", "tradingview", "crypto", "tv")
    assert url[1].encode() not in bytes(row.token_digest)
    path = url[0].partition("//")[2].partition("/")[2]
    answer = client.generic("POST", f"/{path}", b"buy BTCUSDT")
    assert answer.status_code == 202


def test_add_takes_what_the_source_is_to_be(tmp_path):
    mapping = tmp_path / "mapping.toml"
    mapping.write_text('[fields]\nsymbol = "s"\naction.default = "BUY"\n')
    source(
        *("add", "own", "--preset", "custom", "--ecosystem", "stock", "--agent", "scout"),
        *("--allow", "192.0.2.7", "--allow", "2001:db8::/32", "--allow", "::ffff:192.0.2.8"),
        *("--mapping", str(mapping)),
    )
    row = Source.objects.get()
    assert (row.ecosystem, row.agent) == ("stock", "scout")
    assert row.networks == ["192.0.2.7/32", "2001:db8::/32", "192.0.2.8/32"]
    assert row.mapping == mapping.read_text()


def test_a_source_can_be_bound_to_agents(tmp_path):
    source("add", "desk", "--preset", "unified", "--only-agent", "scout", "--only-agent", "ranger")
    row = Source.objects.get()
    assert (row.agent, row.agents) == ("scout", ["scout", "ranger"])
    body = tmp_path / "body"
    signal = {"signal_id": "1", "ecosystem": "crypto", "timestamp": "2026-01-02T03:04Z", "symbol": "BTCUSDT"}
    body.write_text(json.dumps(signal | {"action": "BUY", "agent_source": "thief"}))
    assert source("test", "desk", str(body))[0].startswith("1: a dead letter, agent_forbidden (agent_source)")


def test_the_url_is_that_of_the_public_endpoint(settings):
    from dataclasses import replace

    settings.ENVIRONMENT = replace(
        settings.ENVIRONMENT, signal_endpoint="https://hub.example.com/api/signals"
    )
    out, _ = source("add", "tv", "--preset", "tradingview")
    assert out.strip().startswith("https://hub.example.com/api/hooks/shs_")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("add", "tv", "--preset", "myspace"), "invalid choice"),
        (("add", "a b", "--preset", "tradingview"), "a name has"),
        (("add", "-x", "--preset", "tradingview"), ""),
        (("add", "there", "--preset", "tradingview"), "exists already"),
        (
            ("add", "tv", "--preset", "tradingview", "--allow", "everywhere"),
            "neither an address nor a network",
        ),
        (("add", "tv", "--preset", "nautilustrader"), "reads a stream"),
        (
            ("add", "nt", "--preset", "nautilustrader", "--stream", "core_signals:signals"),
            "is the hub's own stream",
        ),
        (("add", "tv", "--preset", "custom", "--mapping", "/nowhere/mapping.toml"), "No such file"),
        (("add", "tv", "--preset", "unified", "--agent", "a", "--only-agent", "b"), "must be among those"),
        (("add", "tv", "--preset", "unified", "--only-agent", "a\u200b"), "without invisible ones"),
        (("rotate", "nobody"), "there is no source nobody"),
        (("revoke", "nobody"), "there is no source nobody"),
        (("test", "nobody", "file"), "there is no source nobody"),
        (("test", "there", "/nowhere/body"), "No such file"),
        (("add", "tv", "--preset", "unified", "--agent", "x" * 129), "text of up to 128 characters"),
        (("add", "tv", "--preset", "unified", "--agent", "a\nb"), "without invisible ones"),
        *(
            (("rotate", "there", "--overlap", hours), "0 hours or more")
            for hours in ("-1", "nan", "inf", "1e9")
        ),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(arguments, words):
    source("add", "there", "--preset", "tradingview")
    with pytest.raises(CommandError) as raised:
        source(*arguments)
    assert words in str(raised.value)
    assert Source.objects.count() == 1


def test_rotate_prints_another_url_and_revoke_ends_both(client):
    first, _ = source("add", "tv", "--preset", "tradingview")
    second, err = source("rotate", "tv")
    assert "works until" in err
    paths = [f"/api/hooks/{URL.search(text)[1]}" for text in (first, second)]
    assert len(set(paths)) == 2
    statuses = [client.generic("POST", path, b"buy BTCUSDT").status_code for path in paths]
    assert statuses == [202, 200]
    source("revoke", "tv")
    assert [client.generic("POST", path, b"buy BTCUSDT").status_code for path in paths] == [404, 404]
    with pytest.raises(CommandError, match="is revoked"):
        source("rotate", "tv")


def test_list_has_a_line_for_each_and_no_token():
    assert "There are no sources" in source("list")[1]
    out, _ = source("add", "tv", "--preset", "tradingview")
    source("add", "bot", "--preset", "freqtrade", "--agent", "scout")
    source("revoke", "bot")
    Source.objects.filter(name="tv").update(last_used_at=timezone.now())
    listed, _ = source("list")
    assert [line.split("\t")[:6] for line in listed.splitlines()] == [
        ["bot", "freqtrade", "crypto", "scout", "hook", "revoked"],
        ["tv", "tradingview", "crypto", "tv", "hook", "active"],
    ]
    assert URL.search(out)[1] not in listed


def test_test_says_what_a_file_would_become_and_records_nothing(tmp_path):
    source("add", "tv", "--preset", "tradingview")
    body = tmp_path / "body"
    body.write_text(json.dumps([{"ticker": "BTCUSDT", "action": "buy", "close": 1.5}, {"ticker": "X"}]))
    out, _ = source("test", "tv", str(body))
    assert out.startswith("1: a signal\n")
    assert '"action": "BUY"' in out
    assert '"instrument": "BTC/USDT"' in out
    assert "2: a dead letter, missing_field (action): action is required" in out
    body.write_bytes(b"x" * 65_537)
    with pytest.raises(CommandError, match="at most 65536 bytes"):
        source("test", "tv", str(body))
    assert not TradingSignal.objects.exists()
    assert not DeadLetter.objects.exists()
    assert Source.objects.get().last_used_at is None

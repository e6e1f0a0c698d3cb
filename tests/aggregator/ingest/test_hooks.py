"""`POST /api/hooks/<token>`: what producers that cannot sign are answered, and what is kept."""

import itertools
import json
import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection, connections
from django.test import Client
from django.utils import timezone

from aggregator.ingest import hooks
from aggregator.ledger.replay import replay
from aggregator.models import DeadLetter, HookBody, Source, TradingSignal
from aggregator.sources import tokens
from aggregator.sources.arrival_times import forget_arrivals
from tests.aggregator.sources.made import made

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("unhurried_hooks", "redis_client"),
]
NOW = "2026-01-02T03:04:05Z"


@pytest.fixture
def post(client):
    """POST to a hook; what is no bytes is sent as JSON."""

    def send(path, content, content_type="application/json", **meta):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return client.generic("POST", path, body, content_type, **meta)

    return send


def alert(**fields):
    return {"ticker": "BTCUSDT", "exchange": "BINANCE", "action": "buy", "timenow": NOW} | fields


def letters():
    return [(letter.code, bytes(letter.raw), letter.times) for letter in DeadLetter.objects.order_by("pk")]


def test_an_alert_is_recorded_with_its_source_and_its_whole_body(post):
    source, path = made(agent="scout")
    answer = post(
        path, b'{"ticker": "BTCUSDT", "action": "buy", "close": 64250.10, "timenow": "2026-01-02T03:04:05Z"}'
    )
    assert answer.status_code == 202
    assert answer.json() == {"status": "accepted", "accepted": 1, "duplicates": 0, "rejected": []}
    row = TradingSignal.objects.get()
    assert (row.transport, row.sender, row.agent_source) == ("webhook", "source:tv", "scout")
    assert (row.instrument, row.action, str(row.entry_price)) == ("BTC/USDT", "BUY", "64250.1")
    assert row.signal_id.startswith("tv:")
    assert row.raw_payload == {"ticker": "BTCUSDT", "action": "buy", "close": 64250.1, "timenow": NOW}
    source.refresh_from_db()
    assert timezone.now() - source.last_used_at < timedelta(minutes=2)


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "text/plain; charset=utf-8",
        "application/x-www-form-urlencoded",
        "",
        "a/b; charset",
    ],
)
def test_the_body_is_read_whatever_its_type_says(post, content_type):
    _, path = made()
    for content in (json.dumps(alert()).encode(), b"ticker=ETHUSDT&action=sell", b"buy SOLUSDT 1.5"):
        assert post(path, content, content_type).status_code == 202
    rows = {row.symbol: row.raw_payload for row in TradingSignal.objects.all()}
    assert rows == {
        "BINANCE:BTCUSDT": alert(),
        "ETHUSDT": {"ticker": "ETHUSDT", "action": "sell"},
        "SOLUSDT": {"text": "buy SOLUSDT 1.5"},
    }


def test_an_array_is_several_signals(post):
    _, path = made()
    answer = post(path, [alert(), alert(action="sell"), alert(action="?"), alert()])
    assert (answer.status_code, answer.json()["accepted"], answer.json()["duplicates"]) == (202, 2, 1)
    assert [(each["index"], each["code"]) for each in answer.json()["rejected"]] == [(2, "unmapped_value")]
    assert letters() == [("unmapped_value", json.dumps(alert(action="?")).encode(), 1)]


def test_a_body_with_a_time_of_its_own_is_the_same_whenever_it_comes(post):
    _, path = made()
    assert post(path, alert()).status_code == 202
    HookBody.objects.update(arrived_at=timezone.now() - timedelta(hours=1))
    answer = post(path, alert())
    assert (answer.status_code, answer.json()["status"]) == (200, "duplicate")


def arrive_earlier(seconds):
    HookBody.objects.update(arrived_at=timezone.now() - timedelta(seconds=seconds))


def test_a_body_without_a_time_is_the_same_for_a_minute_and_then_another_signal(post):
    _, path = made()
    text = b"buy BTCUSDT"
    statuses = [post(path, text).status_code]
    statuses.append(post(path, text).status_code)
    first = TradingSignal.objects.get()
    assert timezone.now() - first.timestamp < timedelta(minutes=1)
    arrive_earlier(61)
    statuses += [post(path, text).status_code, post(path, text).status_code]
    assert statuses == [202, 200, 202, 200]
    ids = list(TradingSignal.objects.values_list("signal_id", flat=True))
    assert len(set(ids)) == 2
    assert all(each.startswith("tv:") for each in ids)
    arrive_earlier(3600)
    assert forget_arrivals() == 1


def test_one_body_is_another_at_another_source(post):
    (_, first), (_, second) = made("one"), made("two")
    assert [post(path, b"buy BTCUSDT").status_code for path in (first, second)] == [202, 202]
    assert set(TradingSignal.objects.values_list("sender", flat=True)) == {"source:one", "source:two"}


def test_the_same_text_at_once_gives_one_row():

    _, path = made()
    barrier = threading.Barrier(6)
    statuses = []

    def send():
        barrier.wait()
        statuses.append(Client().generic("POST", path, b"buy BTCUSDT", "text/plain").status_code)
        connections.close_all()

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200, 200, 200, 200, 200, 202]
    assert TradingSignal.objects.count() == 1


@pytest.mark.parametrize(
    ("content", "status", "code", "kept"),
    [
        (b'{"ticker": "BTCUSDT", ', 400, "not_json", True),
        (b'{"ticker": "\xff"}', 400, "not_utf8", True),
        (b'{"a":' * 40 + b"1" + b"}" * 40, 400, "json_too_deep", True),
        (b" \n ", 400, "empty", False),
        (b"[]", 400, "empty", False),
        (b"[" + b"1," * 1000 + b"1]", 413, "too_many_signals", False),
        (b"hello world", 422, "invalid", True),
        (json.dumps(alert(action="?")).encode(), 422, "invalid", True),
        (json.dumps(alert(close=-1)).encode(), 422, "invalid", True),
        (json.dumps(alert(ticker="A" * 65)).encode(), 422, "invalid", True),
    ],
)
def test_what_cannot_be_mapped_is_a_dead_letter_with_its_bytes(post, content, status, code, kept):
    _, path = made()
    answer = post(path, content)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer["Content-Type"] == "application/problem+json"
    assert [raw for _, raw, _ in letters()] == ([content] if kept else [])
    assert set(DeadLetter.objects.values_list("sender", "ecosystem")) <= {("source:tv", "crypto")}
    assert not TradingSignal.objects.exists()


def test_a_body_that_is_not_json_object_of_a_json_preset_is_400(post):
    _, path = made(preset="unified")
    for content in (b"null", b"7", b"buy BTCUSDT"):
        assert post(path, content).status_code == 400


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"CONTENT_LENGTH": ""}, 411),
        ({"CONTENT_LENGTH": "65537"}, 413),
        ({"HTTP_CONTENT_ENCODING": "gzip"}, 415),
        ({"CONTENT_TYPE": "application/json; charset=utf-16"}, 415),
        ({"CONTENT_TYPE": "text/plain; charset=shift_jis"}, 415),
        ({"HTTP_CONTENT_ENCODING": "identity"}, 202),
        ({"CONTENT_LENGTH": "0"}, 400),
    ],
)
def test_the_head_is_checked_before_the_body(post, headers, status):
    _, path = made()
    assert post(path, alert(), **headers).status_code == status


def test_64_kib_are_taken_and_no_byte_more(post):
    _, path = made()
    room = hooks.MAX_HOOK_BYTES - len(json.dumps(alert(note="")))
    assert post(path, alert(note="x" * room)).status_code == 202
    assert post(path, alert(note="x" * (room + 1))).status_code == 413


def test_no_other_method_than_post(client):
    _, path = made()
    for method in ("GET", "PUT", "OPTIONS", "HEAD"):
        answer = client.generic(method, path)
        assert (answer.status_code, answer["Allow"]) == (405, "POST")


def test_an_address_that_is_no_hook_of_this_client_is_404_with_one_text(post):
    _, path = made(networks=["192.0.2.0/24", "2001:db8::/32"])
    spare, other = made("spare")
    tokens.revoke(spare)
    inside = {"REMOTE_ADDR": "192.0.2.7"}
    texts = set()
    for wrong, meta in [
        (path, {"REMOTE_ADDR": "198.51.100.1"}),
        (path, {"REMOTE_ADDR": "2001:db9::1"}),
        (path, {"REMOTE_ADDR": "192.0.2.7, 198.51.100.1"}),
        (other, {}),
        (path[:-1] + ("a" if path[-1] != "a" else "b"), inside),
        (path + "/", inside),
        (path + "%00", inside),
        ("/api/hooks/", inside),
        ("/api/hooks/shs_", inside),
    ]:
        answer = post(wrong, alert(), **meta)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), wrong
        texts.add(answer.json()["detail"])
    assert len(texts) == 1
    for allowed in ("192.0.2.7", "2001:db8::1", "::ffff:192.0.2.9"):
        assert post(path, alert(), REMOTE_ADDR=allowed).status_code in {200, 202}
    assert letters() == []
    assert Source.objects.get(name="spare").last_used_at is None


def test_guessing_is_limited_by_address_and_locks_nobody_out(post, settings):
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, webhook_failed_rate="3/minute")
    _, path = made()
    guesses = [post(f"/api/hooks/shs_{'x' * 42}{number}", alert()) for number in range(5)]
    assert [answer.status_code for answer in guesses] == [404, 404, 404, 429, 429]
    assert int(guesses[-1]["Retry-After"]) > 0
    assert post(path, alert()).status_code == 202
    assert post("/api/hooks/" + "x" * 47, alert(), REMOTE_ADDR="192.0.2.9").status_code == 404


def test_a_source_has_a_rate_of_its_own(post, settings):
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, webhook_rate="2/minute")
    (_, limited), (_, own) = made("limited"), made("own", rate="4/minute")
    counter = itertools.count()
    statuses = {
        path: [post(path, alert(comment=next(counter))).status_code for _ in range(5)]
        for path in (limited, own)
    }
    assert statuses == {limited: [202, 202, 429, 429, 429], own: [202, 202, 202, 202, 429]}


def test_a_rotated_token_works_on_for_the_overlap(post):
    source, old = made()
    new = tokens.rotate(source).url("")
    assert [post(path, alert(id=path[-9:])).status_code for path in (old, new)] == [202, 202]
    Source.objects.update(previous_until=timezone.now())
    assert [post(path, alert(id=path[-9:])).status_code for path in (old, new)] == [404, 200]
    at_once = tokens.rotate(source, timedelta(0)).url("")
    assert [post(path, alert()).status_code for path in (old, new, at_once)] == [404, 404, 202]


def test_the_secret_of_telegrams_header_is_needed_where_it_was_given(post):
    _, path = made(preset="telegram", header_digest=tokens.digest_of("s3cret"))
    update = {"update_id": 1, "channel_post": {"message_id": 1, "date": 1767323045, "chat": {"id": -1}}}
    update["channel_post"]["text"] = "BUY BTCUSDT"
    assert post(path, update).status_code == 404
    assert post(path, update, HTTP_X_TELEGRAM_BOT_API_SECRET_TOKEN="s3cre").status_code == 404
    assert post(path, update, HTTP_X_TELEGRAM_BOT_API_SECRET_TOKEN="s3cret").status_code == 202


@pytest.mark.parametrize("moment", [-99_999_999_999, "-99999999999999999999", 10**300])
def test_a_time_that_no_calendar_has_is_a_dead_letter(post, moment):
    _, path = made()
    answer = post(path, alert(timenow=moment))
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "timestamp")
    assert len(letters()) == 1


def test_a_wrong_mapping_loses_nothing_and_replay_uses_the_corrected_one(post):
    _, path = made("own", "custom", ecosystem="stock", agent="scout")
    bodies = [
        b'{"what": "AAPL", "do": "long", "token": "CANARY"}',
        b'[{"what": "MSFT", "do": "flat"}, {"what": "IBM", "do": "long"}]',
        b"what=TSLA&do=flat",
        b'{"what": "AAPL", "do": "sideways"}',
    ]
    assert [post(path, body).status_code for body in bodies] == [422] * 4
    arrive_earlier(3600)
    assert post(path, bodies[0]).status_code == 422
    assert DeadLetter.objects.count() == 5, "the same text an hour later is another alert"
    assert b"CANARY" not in b"".join(raw for _, raw, _ in letters())
    Source.objects.update(
        mapping='[fields]\nsymbol = "what"\naction = {from = "do", values = {long = "BUY", flat = "CLOSE"}}'
    )
    replay(list(DeadLetter.objects.all()))
    rows = TradingSignal.objects.order_by("timestamp", "symbol").values_list(
        "symbol", "action", "agent_source"
    )
    assert sorted(rows) == [
        ("AAPL", "BUY", "scout"),
        ("AAPL", "BUY", "scout"),
        ("IBM", "BUY", "scout"),
        ("MSFT", "CLOSE", "scout"),
        ("TSLA", "CLOSE", "scout"),
    ]
    arrived = [letter.first_at for letter in DeadLetter.objects.filter(resolved_at__isnull=False)]
    assert len(arrived) == 5, "the one that is refused for another reason now is another letter"
    assert [code for code, _, _ in letters()][-1:] == ["unmapped_value"]
    assert set(TradingSignal.objects.values_list("sender", flat=True)) == {"source:own"}
    replay(list(DeadLetter.objects.all()))
    assert (TradingSignal.objects.count(), DeadLetter.objects.filter(resolved_at=None).count()) == (5, 1)


def test_a_body_of_two_signals_that_is_replayed_came_no_more_often(post):
    _, path = made("own", "custom", mapping='each = "[a, b]"\n[fields]\nsymbol = "what"\naction = "do"')
    body = b'{"a": {"what": "AAPL", "do": "up"}, "b": {"what": "AAPL", "do": "up"}}'
    assert post(path, body).status_code == 422
    before = letters()
    replay(list(DeadLetter.objects.all()))
    assert letters() == before


def test_a_conflict_with_what_is_on_record_is_kept_and_said(post):
    _, path = made("ft", "freqtrade")
    entry = {"type": "entry", "trade_id": "7", "pair": "BTC/USDT", "direction": "Long", "order_type": "limit"}
    assert post(path, entry | {"open_date": NOW, "open_rate": "1.5"}).status_code == 202
    answer = post(path, entry | {"open_date": NOW, "open_rate": "2.5"})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert [code for code, _, _ in letters()] == ["conflict"]


def test_a_source_that_is_bound_to_agents_is_refused_others(post):
    source, path = made("desk", "unified", agents=["scout", "ranger"])
    signal = {"signal_id": "1", "ecosystem": "crypto", "timestamp": NOW, "symbol": "BTCUSDT", "action": "BUY"}
    assert post(path, [signal | {"agent_source": "ranger"}]).status_code == 202
    for other in ("Scout", "scout2"):
        answer = post(path, signal | {"signal_id": f"of-{other}", "agent_source": other})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
        assert [each["code"] for each in answer.json()["errors"]] == ["agent_forbidden"]
    assert post(path, signal | {"signal_id": "own", "agent_source": None}).status_code == 202
    agents = TradingSignal.objects.order_by("pk").values_list("agent_source", flat=True)
    assert list(agents) == ["ranger", "scout"]
    replay(list(DeadLetter.objects.all()))
    assert list(agents.all()) == ["ranger", "scout"], "replaying asks again"
    Source.objects.filter(pk=source.pk).update(agents=[])
    replay(list(DeadLetter.objects.all()))
    assert list(agents.all()) == ["ranger", "scout", "Scout", "scout2"]


def test_a_producers_secret_is_nowhere_in_the_database(post):
    (_, commas), (_, pine) = made("bot", "3commas"), made("mt5", "pineconnector")
    for content in (
        b'{"secret": "CANARY", "action": "enter_long", "tv_instrument": "BTCUSDT"}',
        b'{"secret": "CANARY", "action": "nonsense"}',
        b'{"secret": "CANARY", ',
    ):
        post(commas, content)
    for content in (b"CANARY,buy,EURUSD", b"CANARY,nonsense,EURUSD", b"CANARY"):
        post(pine, content)
    assert (TradingSignal.objects.count(), DeadLetter.objects.count()) == (2, 4)
    with connection.cursor() as cursor:
        for table in ("trading_signals", "dead_letters", "hook_bodies", "sources"):
            cursor.execute(f"SELECT row_to_json(each)::text FROM {table} AS each")
            text = "".join(row for (row,) in cursor.fetchall())
            assert "CANARY" not in text
            assert b"CANARY".hex() not in text

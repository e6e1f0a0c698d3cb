"""Dead letters in the admin: groups, raw content, replay, resolving, who did it."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from aggregator.models import Agent, ApiKey, ArrivalHour, ArrivalMinute, DeadLetter, TradingSignal
from tests.aggregator.conftest import signal
from tests.aggregator.sources.made import made

LIST = "/admin/aggregator/deadletter/"


def letter(raw, code="invalid_value", **fields):
    """Return a letter as if `raw` had been refused by an earlier version."""
    now = timezone.now()
    given = {"transport": "webhook", "detail": "was wrong", "agent_source": "momentum", "times": 3}
    return DeadLetter.objects.create(
        fingerprint=raw[:16] + bytes([DeadLetter.objects.count() % 256]), code=code, raw=raw,
        first_at=now, last_at=now, **given | fields,
    )  # fmt: skip


def step(client, query, cursor=f"0-{2**40}", action="replay"):
    response = client.post(f"{LIST}{action}?{query}", {"cursor": cursor})
    assert response.status_code == 200
    return response.json()


def test_the_list_groups_what_waits_by_code_and_agent(page, record):
    record(*({"action": "HODL"} for _ in range(3)), {"agent_source": "value", "action": "HODL"}, b"{")
    seen = page.get(LIST).content.decode()
    rows = re.findall(r'<th scope="row" data-label="Code">.*?</tr>', seen, re.DOTALL)
    shown = [re.findall(r'data-label="\w+"[^>]*>(?:<a[^>]*>)?([^<]*)', row)[:4] for row in rows]
    assert ["invalid_value", "momentum", "crypto", "3"] in shown
    assert ["invalid_value", "value", "crypto", "1"] in shown
    assert len(shown) == 3
    [one] = re.findall(r'<a href="(\?code=invalid_value&amp;agent=value[^"]*)"', seen)
    assert page.get(LIST + one.replace("&amp;", "&")).content.decode().count("field-code") == 1


def test_raw_content_is_shown_and_downloaded_safely(page, record):
    raw = b'\xff\x00{"a": "\xe2\x80\xae<script>alert(1)</script>"}'
    record(raw)
    found = DeadLetter.objects.get()
    seen = page.get(f"{LIST}{found.pk}/change/").content.decode()
    assert "\\xff\\u0000{" in seen
    assert "\\u202e&lt;script&gt;" in seen
    assert "<script>alert" not in seen
    assert f"{len(raw)} bytes" in seen
    file = page.get(f"{LIST}{found.pk}/download/")
    assert (file.content, file["Content-Type"]) == (raw, "application/octet-stream")
    assert file["Content-Disposition"].startswith("attachment")


def test_a_letter_that_was_cut_says_so_and_why_it_is_not_replayed(page, record):
    record(b"{" * 70_000)
    found = DeadLetter.objects.get()
    seen = page.get(f"{LIST}{found.pk}/change/").content.decode()
    assert "the entry had 70,000 bytes" in seen
    assert bytes(found.sha256).hex() in seen
    assert step(page, f"ids={found.pk}")["results"]["skipped"] == 1
    message = LogEntry.objects.get(object_id=str(found.pk)).change_message
    assert message == "Not replayed: only a part of the entry was kept."


def test_replay_resolves_what_is_recorded_now(page, record):
    known = signal(signal_id="known")
    record(known)
    good, twice = letter(signal(signal_id="good")), letter(known)
    record({"signal_id": "bad", "action": "HODL"})
    bad = DeadLetter.objects.get(signal_id="bad")
    lost = letter(b"{}", code="trimmed_unread")
    done = step(page, "")
    assert done["results"] == {"recorded": 1, "already recorded": 1, "refused again": 1, "skipped": 1}
    assert (done["count"], done["cursor"]) == (4, None)
    assert TradingSignal.objects.get(signal_id="good").transport == "webhook"
    for each in (good, twice, bad, lost):
        each.refresh_from_db()
    assert good.resolved_at
    assert twice.resolved_at
    assert (bad.resolved_at, bad.times, lost.resolved_at) == (None, 1, None)


def test_a_replay_makes_no_agent_look_alive_and_nothing_late(page, record, count_arrivals):
    record({"signal_id": "late", "action": "HODL"}, transport="redis")
    yesterday = timezone.now() - timedelta(days=1)
    # As if it had come yesterday, and the hub had learned the action since.
    DeadLetter.objects.update(raw=signal(signal_id="late"), last_at=yesterday)
    Agent.objects.update(last_seen=yesterday)
    assert step(page, "")["results"]["recorded"] == 1
    count_arrivals()
    agent = Agent.objects.get()
    assert (agent.last_seen, agent.signals) == (yesterday, 1)
    assert not any(sum(minute.lags) for minute in ArrivalMinute.objects.all())


def test_what_is_refused_for_another_reason_is_another_letter(page, db):
    old = letter(signal(action="HODL"), code="database_refused")
    assert step(page, f"ids={old.pk}")["results"]["refused again"] == 1
    assert not ArrivalHour.objects.exists(), "nothing came in: no agent has sent too much that is refused"
    old.refresh_from_db()
    assert old.resolved_at
    assert DeadLetter.objects.get(resolved_at=None).code == "invalid_value"


def test_a_replay_goes_on_step_by_step_by_a_filter(page, monkeypatch):
    monkeypatch.setattr("aggregator.admin.dead_letter_actions.MAX_STEP_LETTERS", 4)
    for number in range(10):
        letter(signal(signal_id=f"m{number}"))
    letter(signal(signal_id="other"), agent_source="value")
    seen = page.get(f"{LIST}replay?code=invalid_value&agent=momentum").content.decode()
    assert 'data-total="10"' in seen
    assert "Replay 10 dead letters? Accepted ones are marked resolved." in seen
    assert in_steps(page, "code=invalid_value&agent=momentum") == [4, 4, 2]
    assert DeadLetter.objects.filter(resolved_at=None).count() == 1
    assert not TradingSignal.objects.filter(signal_id="other").exists()


def in_steps(client, query):
    """Do what the page's script does; return how many letters each step replayed."""
    seen = client.get(f"{LIST}replay?{query}").content.decode()
    cursor, counts = re.search(r'data-cursor="([^"]+)"', seen)[1], []
    while cursor:
        done = step(client, query, cursor)
        counts.append(done["count"])
        cursor = done["cursor"]
    return counts


def test_replaying_gives_a_key_no_more_than_it_has(page, db):
    key = ApiKey.objects.create(
        key_id="desk", digest=b"d", scopes=["publish"], ecosystems=["stock"], created_at=timezone.now()
    )
    held = letter(signal(signal_id="held"), code="ecosystem_forbidden", sender="key:desk")
    assert step(page, "")["results"]["recorded"] == 0
    assert not TradingSignal.objects.exists()
    key.ecosystems = []
    key.save()
    assert step(page, "state=all")["results"]["recorded"] >= 1
    held.refresh_from_db()
    assert held.resolved_at
    other = letter(signal(signal_id="other"), code="agent_forbidden", sender="key:desk")
    key.agents = ["scout"]
    key.save()
    assert step(page, "")["results"]["recorded"] == 0
    key.agents = ["scout", "momentum"]
    key.save()
    assert step(page, "")["results"]["recorded"] == 1
    other.refresh_from_db()
    assert other.resolved_at


MAPPING = 'skip = "note"\n[fields]\nsymbol = "what"\naction = "do"'


def test_a_source_named_like_an_address_has_its_own_letters_only(page):
    made("192.0.2.7", "custom", ecosystem="stock", mapping=MAPPING)
    letter(b'{"what": "AAPL", "do": "BUY"}', sender="source:192.0.2.7")
    letter(signal(signal_id="signed"), sender="192.0.2.7")
    assert step(page, "")["results"]["recorded"] == 2
    senders = TradingSignal.objects.values_list("sender", flat=True)
    assert sorted(senders) == ["192.0.2.7", "source:192.0.2.7"]


def test_a_row_that_names_a_source_as_its_sender_is_replayed_as_a_row(page):
    made("own", "custom", ecosystem="stock", mapping=MAPPING)
    raw = signal(signal_id="row")
    letter(raw, transport="database", sender="source:own", entry_id="17")
    assert step(page, "")["results"]["recorded"] == 1
    assert TradingSignal.objects.get().signal_id == "row"


def test_a_letter_that_its_mapping_skips_now_is_said_to_contain_no_signal(page):
    made("own", "custom", ecosystem="stock", mapping=MAPPING)
    found = letter(b'{"note": "closed for the day"}', sender="source:own")
    assert step(page, "")["results"]["skipped"] == 1
    message = LogEntry.objects.get(object_id=str(found.pk)).change_message
    assert message == "Not replayed: it contains no signal."


def test_a_conflict_shows_both_senders(page, record):
    record({"signal_id": "it"}, sender="role:scout")
    record({"signal_id": "it", "action": "SELL"}, sender="key:desk")
    found = DeadLetter.objects.get()
    seen = page.get(f"{LIST}{found.pk}/change/").content.decode()
    assert "key:desk" in seen
    assert re.search(rf"tradingsignal/{TradingSignal.objects.get().pk}/change/.* by role:scout", seen)
    assert "key:desk" in page.get(LIST).content.decode()


def test_a_selection_is_replayed_or_resolved(page):
    first, second = letter(signal()), letter(signal())
    chosen = {"action": "replay_selected", "_selected_action": [first.pk, second.pk]}
    response = page.post(LIST, chosen)
    assert response.status_code == 302
    assert 'data-total="2"' in page.get(response["Location"]).content.decode()
    response = page.post(LIST, chosen | {"action": "resolve_selected"})
    assert 'data-total="2"' in page.get(response["Location"]).content.decode()
    assert DeadLetter.objects.filter(resolved_at=None).count() == 2
    assert step(page, response["Location"].partition("?")[2], action="resolve")["results"] == {"resolved": 2}
    assert not DeadLetter.objects.filter(resolved_at=None).exists()
    assert not TradingSignal.objects.exists()


@pytest.mark.parametrize("query", ["q=desk-7", "agent=momentum&ecosystem=-", "code=late", "transport=redis"])
def test_what_the_list_shows_is_what_is_selected(page, query):
    wanted = letter(signal(), sender="desk-7", code="late", transport="redis")
    letter(signal(), ecosystem="crypto")
    seen = page.get(f"{LIST}?{query}").content.decode()
    assert seen.count("field-code") == 1
    assert f'href="{LIST}replay?{query.replace("&", "&amp;")}"' in seen
    assert 'data-total="1"' in page.get(f"{LIST}replay?{query}").content.decode()
    assert (
        "Resolve 1 dead letter without recording it?" in page.get(f"{LIST}resolve?{query}").content.decode()
    )
    assert step(page, query, action="resolve")["results"] == {"resolved": 1}
    assert DeadLetter.objects.get(resolved_at__isnull=False) == wanted


def test_without_matches_there_is_nothing_to_press(page, db):
    seen = page.get(f"{LIST}replay?code=late").content.decode()
    assert "No matches" in seen
    assert "hub-bulk-action" not in seen.partition("</script>")[2]


def test_an_unknown_filter_selects_nothing(page, db):
    letter(signal())
    assert page.get(f"{LIST}replay?nonsense=1").status_code == 400


def test_the_list_does_not_read_what_is_in_the_letters(page):
    for _ in range(3):
        letter(b"{" * 1000)
    with CaptureQueriesContext(connection) as captured:
        page.get(LIST)
    assert not [each["sql"] for each in captured if '"raw"' in each["sql"]]


def test_a_step_holds_no_more_than_memory_bears(page, monkeypatch):
    monkeypatch.setattr("aggregator.admin.dead_letter_actions.MAX_STEP_BYTES", 2500)
    for number in range(5):
        letter(b"%d" % number * 1000)
    assert in_steps(page, "") == [2, 2, 1]


def test_two_operators_at_once_record_once(page, operator, db):
    for number in range(200):
        letter(signal(signal_id=f"m{number}"))
    clients = [page, Client(headers={"host": "localhost"})]
    clients[1].force_login(operator)

    def replay(client):
        try:
            return step(client, "")["results"]
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as threads:
        results = list(threads.map(replay, clients))
    assert TradingSignal.objects.count() == 200
    assert sum(each["recorded"] for each in results) == 200
    assert DeadLetter.objects.filter(resolved_at=None).count() == 0


def test_the_history_says_who_did_what(page, operator):
    found = letter(signal())
    step(page, f"ids={found.pk}")
    entry = LogEntry.objects.get(object_id=str(found.pk))
    assert (entry.user, entry.get_change_message()) == (operator, "Replayed: recorded.")
    seen = page.get(f"{LIST}{found.pk}/history/").content.decode()
    assert "Replayed: recorded." in seen
    assert "9999999" not in seen, "links to pages that do not exist"


@pytest.mark.parametrize("path", ["replay", "{}/download/", "{}/change/", ""])
def test_strangers_see_no_letters(stranger, path):
    found = letter(signal())
    assert stranger.get(LIST + path.format(found.pk)).status_code == 403


@pytest.mark.parametrize("action", ["replay", "resolve"])
def test_strangers_replay_and_resolve_nothing(stranger, action):
    found = letter(signal())
    cursor = {"cursor": f"0-{found.pk}"}
    assert stranger.post(f"{LIST}{action}?ids={found.pk}", cursor).status_code == 403
    assert stranger.get(f"{LIST}{found.pk}/{action}_one/").status_code == 403
    found.refresh_from_db()
    assert found.resolved_at is None


@pytest.mark.parametrize("form", [{}, {"cursor": "x-1"}, {"cursor": "-1-" + "9" * 40}])
def test_a_step_without_its_cursor_is_a_400(page, form):
    assert page.post(f"{LIST}replay", form).status_code == 400

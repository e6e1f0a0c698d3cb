"""examples/follow_feed.py"""

import json
import sys

import pytest

from commerce.models import UsageDay
from tests.aggregator.track_record.recording import call, candle_rows, insert, score
from tests.commerce.feed.reading import grant, record
from tests.commerce.streaming.stream_client import granian
from tests.servers import PROJECT, free_port, serve

pytestmark = pytest.mark.django_db(transaction=True)
EXAMPLE = str(PROJECT / "examples" / "follow_feed.py")


@pytest.fixture
def url(shared_hub):
    return shared_hub()


@pytest.fixture
def follow(run_program, url, tmp_path):
    """Follow the feed to its end; returns the exit status and what the program said."""

    def run(key, file="signals.jsonl"):
        command = [sys.executable, EXAMPLE, "--once", url, str(tmp_path / file)]
        program = run_program(command, SIGNAL_HUB_KEY=key)
        return program.wait(), program.text

    return run


def ids(file):
    return [json.loads(line)["signal_id"] for line in file.read_text().splitlines()]


def test_it_goes_on_where_its_file_ends(follow, tmp_path):
    key = grant().value
    record("a", "b")
    assert follow(key)[0] == 0
    record("c")
    assert follow(key)[0] == 0
    assert ids(tmp_path / "signals.jsonl") == ["a", "b", "c"]


def test_a_line_that_was_not_finished_is_read_again(follow, tmp_path):
    key = grant().value
    record("a", "b")
    follow(key)
    file = tmp_path / "signals.jsonl"
    whole = file.read_bytes()
    for cut in (1, len(whole) // 2 + 5, len(whole) - 1):
        file.write_bytes(whole[:cut])
        follow(key)
        assert file.read_bytes() == whole


def test_it_says_why_the_hub_refuses(follow):
    status, text = follow("shk_nobody")
    assert status == 1
    assert "the hub refuses: A valid API key is needed." in text


def test_it_says_that_it_did_not_reach_the_end(follow, run_program, tmp_path):
    record("a", "b")
    limited = grant(requests_per_day=1).value
    assert follow(limited)[0] == 0
    status, text = follow(limited)
    assert status == 1
    assert "not read to the end: the hub asks to come back in " in text
    nowhere = [sys.executable, EXAMPLE, "--once", f"http://127.0.0.1:{free_port()}", str(tmp_path / "none")]
    program = run_program(nowhere, SIGNAL_HUB_KEY=limited)
    assert program.wait() == 1
    assert "not read to the end: " in program.text


def test_outcomes_which_it_does_not_keep_use_nothing_of_the_day(run_program, url, tmp_path):
    key, file = grant(simulated=True).value, tmp_path / "signals.jsonl"
    stream = serve(run_program, granian, free_port())
    program = run_program([sys.executable, EXAMPLE, "--stream", stream, url, str(file)], SIGNAL_HUB_KEY=key)
    expected = [call(entry_price=100, stop_loss=98, take_profit=104)]
    program.until(lambda: ids(file) == expected)
    insert(candle_rows("100.5/101/100/101 · 101/104.5/101/104"))
    score()
    for signal_id in ("b", "c"):
        record(signal_id)
        expected.append(signal_id)
        program.until(lambda: ids(file) == expected)
    assert UsageDay.objects.get().signals == 3

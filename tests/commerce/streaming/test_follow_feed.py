"""examples/follow_feed.py"""

import json
import sys

import pytest

from tests.commerce.feed.reading import grant, record
from tests.servers import PROJECT

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

"""The include file for MetaTrader 5, whose compiler runs on Windows alone: here a C++ compiler takes it."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from aggregator.ingest.source_preview import preview
from aggregator.models import Source, TradingSignal
from ecosystems.signal import RULES
from tests.aggregator.sources.made import made
from tests.guides import blocks
from tests.servers import PROJECT, answers, free_port, web

HERE = Path(__file__).parent
TEXT = (PROJECT / "clients" / "metatrader5" / "SignalHub.mqh").read_text()
BODIES = [json.loads(line) for line in re.findall(r"^//\s+(\{.*\})$", TEXT, re.M)]


def become(body):
    source = Source(name="ea", preset="unified", ecosystem="forex", agent="ea")
    [found] = preview(source, json.dumps(body).encode())
    assert found.signal, found.refusal
    return found.signal


def test_the_bodies_that_it_shows_are_a_call_its_amendment_and_its_end():
    call, change, end = map(become, BODIES)
    assert [each.action for each in (call, change, end)] == ["BUY", "BUY", "CLOSE"]
    assert (call.refers_to, change.refers_to, end.refers_to) == (None, call.signal_id, call.signal_id)
    assert all(each.agent_source == "ea" and "extra" not in each.raw_payload for each in (call, change, end))


def test_the_page_shows_the_same_use_as_the_file():
    (block,) = blocks("connect.md", "cpp")
    lines = [line.strip() for line in block.text.splitlines() if line and not line.startswith("//")]
    shown = " ".join(TEXT.replace("//    ", "").split())
    for line in lines:
        assert " ".join(line.partition("//")[0].split()) in shown, line


def test_it_writes_the_fields_that_it_shows():
    written = set(re.findall(r'(?:\\"|Price\(")([a-z_]+)(?=\\":|",)', TEXT))
    assert written == {name for body in BODIES for name in body} <= set(RULES)


@pytest.fixture(scope="module")
def expert(tmp_path_factory):
    """The program of `expert.cpp`. MQL5 is C++ but for its arrays."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if not compiler:
        pytest.skip("no C++ compiler")
    folder = tmp_path_factory.mktemp("mql5")
    arrays = re.compile(r"^(\s*)(char|string)(\s.*\[\].*;)$", re.M)
    code = arrays.sub(lambda found: f"{found[1]}Array<{found[2]}>{found[3].replace('[]', '')}", TEXT)
    (folder / "SignalHub.hpp").write_text(code)
    program = folder / "expert"
    options = ["-std=c++17", "-Wall", "-Werror", "-Wno-deprecated-declarations", f"-I{folder}"]
    subprocess.run([compiler, *options, "-o", str(program), str(HERE / "expert.cpp")], check=True)
    return program


@pytest.fixture
def say(expert, tmp_path):
    """Start the program; gives what calls it and returns the lines that it prints."""
    command = [str(expert)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def call(line):
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
            found = []
            for answer in process.stdout:
                found.append(answer.strip())
                if re.fullmatch(rf"{line.split()[0]} [01] \d+", found[-1]):
                    return found
            raise AssertionError(f"it ended: {found}")

        yield call
        process.stdin.close()


@pytest.mark.django_db(transaction=True)
def test_what_the_hub_does_not_take_is_sent_again_unchanged_and_in_order(say, run_program):
    port = free_port()
    _, path = made("ea", "unified", ecosystem="forex", agent="ea")
    hook = f"http://127.0.0.1:{port}{path}"
    assert say("init https://hub.example.com")[-1] == "init 0 0"
    assert say(f"init {hook}") == ["init 1 0"]
    say("tester 1")
    assert say("entry 80 EURUSD BUY 1.1 0 0 0") == ["entry 1 0"]
    say("tester 0")
    say("allowed 0")
    line, result = say("entry 81 EURUSD BUY 1.0845 1.081 1.095 0.1")
    assert "Tools, Options, Expert Advisors, Allow WebRequest" in line
    assert result == "entry 0 1"
    say("allowed 1")
    assert say("modify 81 EURUSD BUY 1.0845 1.095") == ["modify 0 2"]  # not tried before a pause
    say("skip 60000")
    assert say("flush") == ["Signal Hub: the hub does not answer, error 5203", "flush 0 2"]
    program = run_program(web(port))
    program.until(lambda: answers(f"http://127.0.0.1:{port}/livez"))

    def deliver(line):
        """Call, and flush until nothing is pending: a hub under load answers 503 after a second."""
        found = say(line)
        while not found[-1].endswith(" 0"):
            say("skip 60000")
            found += say("flush")
        return found

    deliver("flush")
    odd = '\\"\u00e9\U0001f600'
    assert deliver("exit 81 EURUSD")[-1][-4:] == " 1 0"
    found = deliver(f"entry 82 {odd} JUMP inf 0 nan 0")
    assert "the hub answered 422: " in found[-2]
    assert found[-1][-4:] == " 0 0"
    found += deliver(f"entry 83 {odd} SELL 0 0 0 0")
    assert found[-1][-4:] == " 1 0"
    assert path.rpartition("/")[2] not in "".join(found)
    rows = list(TradingSignal.objects.order_by("position"))
    assert [(row.action, row.symbol, row.refers_to) for row in rows] == [
        ("BUY", "EURUSD", None),
        ("BUY", "EURUSD", "mt5-5012345-81"),
        ("CLOSE", "EURUSD", "mt5-5012345-81"),
        ("SELL", odd, None),
    ]
    assert (str(rows[0].entry_price), str(rows[0].volume), rows[0].agent_source) == ("1.0845", "0.1", "ea")
    assert (str(rows[1].stop_loss), str(rows[1].take_profit)) == ("1.0845", "1.095")

"""The TypeScript client, packed as for npm, in Node against a running hub."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from aggregator.models import TradingSignal
from commerce.feed import cursors
from commerce.models import UsageDay
from tests.aggregator.track_record.recording import call, candle_rows, insert, score
from tests.commerce.feed.reading import grant, record
from tests.commerce.streaming.stream_client import granian
from tests.commerce.webhooks.pushing import customer, dispatch, endpoint, local
from tests.guides import blocks
from tests.servers import PROJECT, WEBHOOK_SECRET, answers, eventually, free_port, is_port_free, serve, web

pytestmark = pytest.mark.django_db(transaction=True)
CLIENT = PROJECT / "clients" / "typescript"
README = "../clients/typescript/README.md"
SCRIPTS = Path(__file__).parent / "node"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which the package is installed, with the tests' scripts and the examples of its README."""
    if not shutil.which("npm") or not (CLIENT / "node_modules").is_dir():
        pytest.skip("no npm, or not the compiler: `make tests` installs it where there is npm")
    place = tmp_path_factory.mktemp("typescript")
    pack = ["npm", "pack", "--silent", "--pack-destination", str(place)]
    name = subprocess.run(pack, cwd=CLIENT, check=True, capture_output=True, text=True).stdout.split()[-1]
    (place / "unpacked").mkdir()
    subprocess.run(["tar", "-xzf", name, "-C", "unpacked"], cwd=place, check=True)  # noqa: S607
    (place / "node_modules").mkdir()
    (place / "unpacked" / "package").rename(place / "node_modules" / "signal-hub-client")
    for script in SCRIPTS.iterdir():
        shutil.copy(script, place)
    for block in blocks(README, "typescript"):
        (place / str(block.file)).write_text(block.text)
    (place / "package.json").write_text('{"type": "module"}')
    compiler = [str(CLIENT / "node_modules" / ".bin" / "tsc"), "--strict", "--exactOptionalPropertyTypes"]
    options = ["--module", "nodenext", "--target", "es2022", "--types", "node"]
    types = ["--typeRoots", str(CLIENT / "node_modules" / "@types")]
    command = [*compiler, *options, *types, *place.glob("*.ts")]
    done = subprocess.run(command, cwd=place, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    return place


@pytest.fixture
def start(run_program, folder):
    """Start one of the scripts."""
    return lambda script, *arguments: run_program(["node", str(folder / script), *arguments])


@pytest.fixture
def example(run_program, folder):
    """Start an example of the README, with other values in the place of some of its texts."""

    def run(name, **values):
        code = (folder / f"{name}.js").read_text()
        for old, new in values.items():
            code, changed = re.subn(re.escape(EXAMPLE[old]), str(new), code)
            assert changed
        (folder / f"{name}-changed.mjs").write_text(code)
        return run_program(["sh", "-c", 'cd "$0" && exec node "$1"', str(folder), f"{name}-changed.mjs"])

    return run


EXAMPLE = {
    "url": "https://hub.example.com",
    "secret": "whsec_…",
    "api_key": '"…"',
    "key": "shk_…",
    "port": "9000",
}
"""The texts of the README that a reader replaces."""


@pytest.fixture
def url(shared_hub):
    return shared_hub(CORE_API_KEYS="ts:key-1|fast:key-2", CORE_WEBHOOK_RATE="100/minute")


def signals(program):
    return re.findall(r"^signal (\S+)$", program.text, re.M)


def test_it_is_a_package_without_dependencies_and_with_types(folder):
    package = json.loads((folder / "node_modules" / "signal-hub-client" / "package.json").read_text())
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert package["version"] == project["version"]
    assert not package.keys() & {"dependencies", "peerDependencies", "optionalDependencies"}
    files = {str(path.relative_to(folder)) for path in folder.glob("node_modules/signal-hub-client/**/*.*")}
    assert {name.rpartition("/")[2].partition(".")[2] for name in files} == {"js", "d.ts", "json", "md"}


def test_answers_signatures_and_bad_input(start, url):
    program = start("answers.mjs", f"{url}/api/signals", WEBHOOK_SECRET)
    assert program.wait() == 0, program.text
    seen = json.loads(program.text)
    [bad] = seen["several"].pop("rejected")
    assert seen["several"] == {"accepted": 1, "duplicates": 0}
    assert (bad["index"], bad["signal_id"]) == (1, "bad")
    assert seen["again"] == {"accepted": 0, "duplicates": 1, "rejected": []}
    assert (seen["conflict"]["error"], seen["conflict"]["problem"]["status"]) == ("HubError", 409)
    assert (seen["invalid"]["problem"]["status"], seen["invalid"]["problem"]["code"]) == (422, "invalid")
    assert seen["invalid"]["problem"]["errors"][0]["signal_id"] == "no"
    assert seen["many"]["accepted"] == 1500
    assert seen["made"]["accepted"] == 1
    assert seen["number"] | {"error": "TypeError", "text": "entry_price is NaN"} == seen["number"]
    assert seen["stranger"]["problem"]["status"] == 401
    assert (seen["elsewhere"]["error"], seen["unsent"]["error"]) == ("Unsent", "Unsent")
    assert "200 from a server that is not a hub" in seen["elsewhere"]["text"]
    assert "ECONNREFUSED" in seen["unsent"]["text"] or "bad port" in seen["unsent"]["text"]
    assert seen["unsent"]["signals"][0].keys() > {"signal_id", "timestamp"}
    for shown in (seen["secret"]["text"], seen["key"]["text"], seen["shown"]):
        assert "secret%" not in shown
        assert "\nsecret" not in shown
        assert WEBHOOK_SECRET not in shown
        assert "key-1" not in shown
    assert seen["signed"] is True
    assert [seen["good"], *seen["edges"], seen["rotated"], seen["list"], seen["bytes"]] == [2432232314] * 6
    assert {each["error"] for each in seen["wrong"]} == {"InvalidSignature"}
    assert TradingSignal.objects.count() == 1502


def test_the_examples_of_the_readme(example, url, settings, folder):
    local(settings)
    published = example("publish", url=url, secret=WEBHOOK_SECRET, api_key='"key-1"')
    assert published.wait() == 0, published.text
    assert "accepted 1, known before 0" in published.text
    owner, port = customer(), free_port()
    key = owner.issue_key("laptop").value
    followed = example("follow", url=url, key=key)
    followed.until(lambda: "BTC/USDT BUY 64250.1" in followed.text)
    cursor = cursors.encode(TradingSignal.objects.get().position)
    eventually(lambda: (folder / "cursor").exists() and (folder / "cursor").read_text() == cursor)
    _, secret = endpoint(owner, f"http://127.0.0.1:{port}/")
    received = example("receive", secret=secret, port=port)
    received.until(lambda: not is_port_free(port), what="listens")
    dispatch()
    received.until(lambda: "signal.recorded breakout-btc-20260115T0930" in received.text)


def test_nothing_is_lost_or_doubled_when_the_servers_are_killed(start, run_program):
    ports, keys = (free_port(), free_port()), grant(streams=1)
    hub, stream = (f"http://127.0.0.1:{port}" for port in ports)

    def run(command, port):
        program = run_program(command(port))
        program.until(lambda: answers(f"http://127.0.0.1:{port}/livez"), what="/livez")
        return program

    servers = [run(web, ports[0]), run(granian, ports[1])]
    options = {"url": hub, "streamUrl": stream, "key": keys.value}
    follower = start("follow.mjs", json.dumps(options), "{}")
    publisher = start("publish.mjs", f"{hub}/api/signals", WEBHOOK_SECRET, "300")
    for server, command, witness, enough in ((0, web, publisher, 40), (1, granian, follower, 120)):
        follower.until(lambda enough=enough: len(signals(follower)) >= enough)
        servers[server].kill()
        witness.until(lambda witness=witness: "again: " in witness.text)
        run(command, ports[server])
    assert publisher.wait() == 0, publisher.text
    expected = [f"ts-{number}" for number in range(300)]
    follower.until(lambda: len(signals(follower)) >= 300)
    assert signals(follower) == expected
    rows = TradingSignal.objects.order_by("position").values_list("signal_id", flat=True)
    assert list(rows) == expected


def test_a_cursor_that_the_ledger_has_not_reached(start, url):
    record("a", "b", "c")
    options = {"url": url, "key": grant().value, "pollMs": 50}
    ahead = json.dumps({"after": cursors.encode(10**18)})
    program = start("follow.mjs", json.dumps(options), ahead)
    assert program.wait() == 0
    assert program.text.startswith("CursorAhead: 410 cursor_ahead: ")
    program = start("follow.mjs", json.dumps(options), ahead, "a", "c")
    program.until(lambda: signals(program) == ["b"])
    record("d")
    program.until(lambda: signals(program) == ["b", "d"])


def test_outcomes_which_it_does_not_yield_use_nothing_of_the_day(start, url, run_program):
    stream = serve(run_program, granian, free_port())
    options = {"url": url, "streamUrl": stream, "key": grant(simulated=True).value}
    program = start("follow.mjs", json.dumps(options), "{}")
    expected = [call(entry_price=100, stop_loss=98, take_profit=104)]
    program.until(lambda: signals(program) == expected)
    insert(candle_rows("100.5/101/100/101 · 101/104.5/101/104"))
    score()
    for signal_id in ("b", "c"):
        record(signal_id)
        expected.append(signal_id)
        program.until(lambda: signals(program) == expected)
    assert UsageDay.objects.get().signals == 3


def test_limits_are_waited_for_and_a_refusal_ends_it(start, url):
    fast = start("publish.mjs", f"{url}/api/signals", WEBHOOK_SECRET, "250", "key-2")
    fast.until(lambda: re.search(r"^again: 429 rate_limited: .* \(\d+000 ms\)$", fast.text, re.M))
    assert fast.process.poll() is None
    TradingSignal.objects.all().delete()
    record("a", "b")
    record("c", action="SELL")
    last = cursors.encode(TradingSignal.objects.get(signal_id="c").position)
    options = {"url": url, "key": grant(requests_per_day=1).value, "pollMs": 50}
    program = start("follow.mjs", json.dumps(options), json.dumps({"action": "BUY"}))
    program.until(lambda: "again: 429 " in program.text)
    assert signals(program) == ["a", "b"]
    assert re.findall("handled|hidden .*", program.text) == ["handled", "handled", f"hidden {last}"]
    assert program.process.poll() is None
    program = start("follow.mjs", json.dumps(options | {"key": "shk_nobody"}), "{}")
    assert program.wait() == 0
    assert program.text.startswith("HubError: 401 ")

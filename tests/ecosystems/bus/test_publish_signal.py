import io
import os
import sys
from collections.abc import Iterator

import psycopg
import pytest
from django.core.management import CommandError, call_command

from ecosystems.bus import Outbox
from ecosystems.signal import Signal, parse
from tests.ecosystems.bus.receiver import Receiver, problem
from tests.ecosystems.examples import a_signal
from tests.servers import manage

MINIMAL = ("--ecosystem", "crypto", "--symbol", "BTC/USDT", "--action", "BUY")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """The webhook of the environment; no database is set."""
    with Receiver() as receiver:
        for name in ("CORE_DB_URL", "CORE_FOREX_DB_URL"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("CORE_EVENT_BUS_BACKEND", "webhook")
        monkeypatch.setenv("CORE_EVENT_WEBHOOK_URL", receiver.url)
        yield receiver


def publish(*arguments: str) -> str:
    output = io.StringIO()
    call_command("publish_signal", *arguments, stdout=output)
    return output.getvalue()


def sent(hub: Receiver) -> Signal:
    (request,) = hub.requests
    signal = parse(request.body)
    assert isinstance(signal, Signal)
    return signal


def test_three_options_are_enough(hub):
    assert publish(*MINIMAL) == "webhook: confirmed 1, refused 0, pending 0\n"
    signal = sent(hub)
    assert (signal.ecosystem, signal.symbol, signal.action) == ("crypto", "BTC/USDT", "BUY")
    assert signal.agent_source == "publish_signal"


def test_each_run_makes_a_signal_of_its_own(hub):
    publish(*MINIMAL)
    publish(*MINIMAL)
    assert len(set(hub.ids)) == 2


def test_every_field_is_an_option(hub):
    publish(
        *("--signal-id", "s-1", "--ecosystem", "crypto", "--timestamp", "2026-01-02T03:04:05.678901Z"),
        *("--symbol", "BTC/USDT", "--action", "buy", "--signal-type", "LIMIT"),
        *("--entry-price", "64000.123456789012345678", "--stop-loss", "63000", "--take-profit", "66000.5"),
        *("--refers-to", "s-0"),
        *("--volume", "0.25", "--confidence", "0.75", "--agent-source", "tester"),
        *("--tag", "ema", "--tag", "1h", "--raw-payload", '{"ema": {"fast": 12, "slow": 26}}'),
    )
    assert sent(hub) == a_signal(refers_to="s-0")


def test_json_from_a_file_or_stdin(hub, tmp_path, monkeypatch):
    file = tmp_path / "signals.json"
    file.write_bytes(b"[" + a_signal("a").to_json() + b"," + a_signal("b").to_json() + b"]")
    assert publish("--json", str(file)) == "webhook: confirmed 2, refused 0, pending 0\n"

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(a_signal("c").to_json())))
    publish("--json", "-")
    assert hub.ids == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "--ecosystem and --symbol and --action or --json is needed"),
        (("--ecosystem", "bonds"), "invalid choice: 'bonds'"),
        (
            (*MINIMAL[:4], "--action", "SHORT"),
            "not valid: action must be BUY, SELL, HOLD or CLOSE",
        ),
        ((*MINIMAL, "--entry-price", "a lot"), "entry_price must be null (or 0), or a decimal above 0"),
        ((*MINIMAL, "--confidence", "high"), "--confidence: the text is not JSON"),
        ((*MINIMAL, "--raw-payload", "{"), "--raw-payload: the text is not JSON"),
        ((*MINIMAL, "--agent-source", "Latin-1 \udce9"), "an option is not UTF-8"),
        ((*MINIMAL, "--raw-payload", "[]"), "raw_payload must be a JSON object"),
        (("--json", "/nowhere"), "--json: /nowhere: No such file or directory"),
        (("--json", "-", "--symbol", "X"), "leave out --symbol"),
    ],
)
def test_what_is_no_signal_is_one_line_and_nothing_is_sent(hub, arguments, reason):
    with pytest.raises(CommandError) as caught:
        publish(*arguments)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not hub.requests


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[]", "the array is empty"),
        ("no json", "the text is not JSON"),
        ('{"a": 1}', "signal_id is required"),
    ],
)
def test_json_that_holds_no_signal(hub, tmp_path, content, reason):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(CommandError, match=reason):
        publish("--json", str(tmp_path / "x.json"))


def test_the_hubs_reason_is_shown(hub):
    hub.script.append(problem(401, "unauthenticated", "A valid signature is needed."))
    with pytest.raises(CommandError, match="unauthenticated: A valid signature is needed") as caught:
        publish(*MINIMAL)
    assert caught.value.returncode == 1


def test_memory_alone_reaches_no_one_and_reports_it(hub):
    with pytest.raises(CommandError, match="no one receives this"):
        publish(*MINIMAL, "--backend", "memory")


def test_an_override_without_its_variables(hub, monkeypatch):
    monkeypatch.delenv("CORE_REDIS_URL")
    with pytest.raises(CommandError, match=r"asks for redis, but CORE_REDIS_URL is not set$"):
        publish(*MINIMAL, "--backend", "redis")


def test_a_bad_variable_is_named(hub, monkeypatch):
    monkeypatch.setenv("CORE_EVENT_BUS_BACKEND", "pigeon")
    with pytest.raises(CommandError, match="CORE_EVENT_BUS_BACKEND holds 'pigeon'"):
        publish(*MINIMAL)


def test_an_outbox_keeps_what_cannot_be_sent_and_the_next_run_delivers_it(hub, tmp_path):
    path = tmp_path / "cli.sqlite3"
    hub.script.append(problem(503, "unavailable", "Later."))
    with pytest.raises(CommandError, match=r"503: Later\. \(kept in the outbox\)"):
        publish(*MINIMAL, "--signal-id", "first", "--outbox", str(path))

    assert "confirmed 2" in publish(*MINIMAL, "--signal-id", "second", "--outbox", str(path))
    assert hub.ids == ["first", "first", "second"]
    outbox = Outbox(path, owner=False)
    assert list(outbox.entries()) == []
    outbox.close()


def test_an_agents_server_needs_no_variable_of_the_hub(run_program, hub):
    """The real command in a process that has only what the webhook needs."""
    needed = {"PATH", "CORE_EVENT_BUS_BACKEND", "CORE_EVENT_WEBHOOK_URL", "CORE_EVENT_WEBHOOK_SECRET"}
    environment = {name: value for name, value in os.environ.items() if name in needed}
    unset = [f"--unset={name}" for name in os.environ if name not in environment]
    command = ["env", *unset, "SIGNAL_HUB_DOTENV=off", *manage("publish_signal", *MINIMAL)]
    program = run_program(command, **environment)

    assert program.wait() == 0, program.text
    assert "EventBus backend=webhook" in program.text
    assert "webhook: confirmed 1" in program.text
    assert len(hub.requests) == 1


@pytest.mark.django_db(transaction=True, databases=["default", "forex"])
def test_each_transport_reaches_the_real_hub(
    live_hub, run_manage, program_environment, redis_client, tmp_path
):
    """The same signal over all three transports is one row; the other two are sightings."""
    url = live_hub()
    (tmp_path / "signal.json").write_bytes(a_signal().to_json())
    for backend in ("webhook", "redis", "database"):
        program = run_manage(
            *("publish_signal", "--json", str(tmp_path / "signal.json"), "--backend", backend),
            CORE_EVENT_WEBHOOK_URL=f"{url}/api/signals",
        )
        assert program.wait() == 0, program.text
        assert f"{backend}: confirmed 1" in program.text
    assert run_manage("consume_streams", "--once").wait() == 0
    assert run_manage("consume_databases", "--once").wait() == 0

    with psycopg.connect(program_environment["CORE_DB_URL"]) as connection:
        rows = connection.execute("SELECT signal_id, transport, position FROM trading_signals").fetchall()
    assert rows == [("s-1", "webhook", rows[0][2])]
    assert rows[0][2] is not None


def test_a_redis_that_is_down_is_one_line_and_status_1(run_program, hub, free_port):
    environment = dict(os.environ) | {"CORE_REDIS_URL": f"redis://127.0.0.1:{free_port}/0"}
    program = run_program(manage("publish_signal", *MINIMAL, "--backend", "redis"), **environment)
    assert program.wait() == 1
    assert "CommandError: redis did not confirm 1 signal: Error" in program.text
    assert "Traceback" not in program.text

import io
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from ecosystems.bus import EventBus, Outbox
from ecosystems.bus import outbox_command_line as command
from ecosystems.bus.transport import CONFIRMED, Entry, Refused
from ecosystems.bus.webhook import WebhookTransport
from tests.ecosystems.bus.receiver import Receiver, accepted
from tests.ecosystems.examples import a_signal, signals
from tests.servers import PROJECT

CONFLICT = {"index": 1, "signal_id": "s-1", "code": "conflict", "detail": "another content"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An outbox with `s-1` refused and `s-3` pending."""
    path = tmp_path / "agent.sqlite3"
    with Receiver() as hub:
        hub.script.append(accepted(3, CONFLICT))
        with EventBus([WebhookTransport(hub.url, "secret")], outbox=Outbox(path), background=False) as bus:
            bus.publish_many(signals(3))
            bus.flush()
            bus.publish(a_signal("s-3"))
    return path


def run(path: Path, *arguments: str) -> list[str]:
    output = io.StringIO()
    call_command("outbox", "--path", str(path), *arguments, stdout=output, stderr=output)
    return output.getvalue().splitlines()


def test_list_shows_what_is_inside_and_why(path):
    first, second, *totals = run(path, "list")
    assert first.startswith("2  webhook refused  ")
    assert first.endswith("  crypto/s-1  BUY BTC/USDT  conflict: another content")
    assert second.startswith("4  webhook pending  ")
    assert totals == ["webhook: 1 pending", "webhook: 1 refused"]
    assert run(path, "list", "--state", "pending")[0] == second


def test_show_gives_the_signal_in_full(path):
    assert run(path, "show", "2")[1].encode() == a_signal("s-1").to_json()


def test_retry_by_id_or_all_that_were_refused(path):
    assert run(path, "retry", "2") == ["1 made pending; a running agent sends them within seconds"]
    assert run(path, "retry", "--refused")[0].startswith("0 made pending")
    assert run(path, "list")[-1] == "webhook: 2 pending"


def test_drop_prints_what_it_deletes(path):
    assert run(path, "drop", "--refused") == [a_signal("s-1").to_json().decode()]
    assert run(path, "drop", "4") == [a_signal("s-3").to_json().decode()]
    assert run(path, "list") == ["The outbox is empty."]


def test_what_another_transport_will_deliver_is_not_dropped_as_refused(tmp_path):
    path = tmp_path / "agent.sqlite3"
    outbox = Outbox(path)
    for name in ("s-1", "s-2"):
        outbox.put(
            [Entry("crypto", name, "signals", a_signal(name).to_json())], {"crypto": ["redis", "webhook"]}
        )
        number = [item.id for item in outbox.entries()][-1]
        outbox.record("webhook", [(number, Refused("conflict", "another content"))])
    outbox.record("redis", [(number, CONFIRMED)])
    outbox.close()

    output, stays = run(path, "drop", "--refused")
    assert output == a_signal("s-2").to_json().decode()
    assert stays == "1 kept: refused by one transport, but waiting for another"
    assert run(path, "list")[-2:] == ["redis: 1 pending", "webhook: 1 refused"]
    assert run(path, "drop", "1") == [a_signal("s-1").to_json().decode()]


PROGRAM = "import sys; from ecosystems.bus.outbox_command_line import outbox_main; sys.exit(outbox_main())"


@pytest.mark.parametrize("program", [["-c", PROGRAM], ["manage.py", "outbox"]], ids=["wheel", "django"])
def test_what_cannot_be_printed_is_not_deleted(path, program):
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, *program, "--path", str(path), "drop", "--refused"]
        done = subprocess.run(command, cwd=PROJECT, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode != 0
    assert "the output cannot be written (No space left on device): the rest stays" in done.stderr
    assert "Traceback" not in done.stderr
    assert run(path, "list")[-1] == "webhook: 1 refused"


def test_it_works_while_the_agent_runs(path):
    with EventBus([WebhookTransport("http://127.0.0.1:1/", "s")], outbox=Outbox(path), background=False):
        assert "webhook: 1 pending" in run(path, "list")
        assert run(path, "retry", "2")


def test_a_damaged_signal_is_listed_as_one(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("UPDATE signals SET payload = x'ff00' WHERE id = 2")
    assert "crypto/s-1  damaged" in run(path, "list")[0]
    run(path, "show", "2")


@pytest.mark.parametrize("action", ["show", "retry", "drop"])
def test_an_id_that_is_not_there(path, action):
    with pytest.raises(CommandError, match="there is no signal 99 in"):
        run(path, action, "99")


def test_no_outbox_and_no_selection(path, tmp_path):
    with pytest.raises(CommandError, match="there is no outbox at"):
        run(tmp_path / "none", "list")
    with pytest.raises(CommandError, match="one of the arguments --refused ID is required"):
        run(path, "drop")


def test_without_a_path_the_only_outbox_of_the_default_folder_is_used(path, monkeypatch, tmp_path):
    monkeypatch.setattr(command, "OUTBOX_FOLDER", tmp_path)
    output = io.StringIO()
    call_command("outbox", "list", stdout=output, stderr=output)
    assert "crypto/s-1" in output.getvalue()

    (tmp_path / "second.sqlite3").touch()
    with pytest.raises(CommandError, match=r"choose an outbox with --path: .* agent.sqlite3, second.sqlite3"):
        call_command("outbox", "list")

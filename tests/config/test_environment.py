"""The start of the hub's programs: invalid variables, the database's settings, the bus's backend."""

import os
import subprocess
import sys

import pytest
from kombu import Connection

from tests.servers import PROJECT, manage


def test_options_in_a_database_url_pass_through_and_win():
    from config.settings import database

    url = "postgres://postgres.ref:p%2Fw@db.example:6543/hub?sslmode=verify-full&connect_timeout=1"
    settings = database(url)
    assert {name: settings[name] for name in ("USER", "PASSWORD", "HOST", "PORT", "NAME")} == {
        "USER": "postgres.ref",
        "PASSWORD": "p/w",
        "HOST": "db.example",
        "PORT": "6543",
        "NAME": "hub",
    }
    assert settings["OPTIONS"]["sslmode"] == "verify-full"
    assert int(settings["OPTIONS"]["connect_timeout"]) == 1


def test_sentinels_by_ipv6_address_are_the_brokers_too():
    from config.settings import broker_url

    broker = Connection(broker_url("redis+sentinel://:pass@[::1]:26379,[fd00::2]/mymaster/3"))
    assert broker.alt == ["sentinel://:pass@[::1]:26379/3", "sentinel://:pass@[fd00::2]:26379/3"]
    assert (broker.hostname, broker.port) == ("::1", 26379)


@pytest.fixture
def hub_environment():
    return {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"CORE_DB_URL": ""}, "CORE_DB_URL is not set: it may hold postgres://"),
        ({"CORE_AUTH_SECRET": ""}, "CORE_AUTH_SECRET is not set: it may hold a long random text"),
        ({"DJANGO_SECRET_KEY": ""}, "DJANGO_SECRET_KEY is not set: it may hold a long random text"),
        ({"CORE_AUTH_SECRET": "x"}, "CORE_AUTH_SECRET is too short: it may hold 8 characters or more"),
        (
            {"CORE_API_KEYS": "a:long-enough|b:2"},
            "CORE_API_KEYS has a value that is too short: each may hold 4",
        ),
        ({"CORE_API_KEYS": "a:the-same|b:the-same"}, "CORE_API_KEYS has one value for two ids"),
        ({"CORE_REDIS_URL": "http://u:hunter2@r"}, "CORE_REDIS_URL holds http://****@r: it may hold"),
    ],
)
def test_the_hub_refuses_to_start_with_one_line(hub_environment, wrong, line):
    stopped(manage("check"), hub_environment | wrong, line)


@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, "-c", "import config.wsgi"],
        [sys.executable, "-m", "celery", "-A", "config", "worker"],
        [sys.executable, "-m", "celery", "-A", "config", "beat"],
    ],
    ids=["wsgi", "worker", "beat"],
)
def test_so_does_every_other_process(hub_environment, command):
    line = "CORE_EVENT_BUS_BACKEND holds 'kafka': it may hold memory, redis or webhook"
    stopped(command, hub_environment | {"CORE_EVENT_BUS_BACKEND": "kafka"}, line)


def stopped(command, environment, line):
    result = subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 2
    assert result.stderr.startswith(f"signal-hub: {line}")
    assert result.stderr.count("\n") == 1
    assert "hunter2" not in result.stdout + result.stderr


def test_the_web_server_stops_too(run_program, free_port):
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--port", str(free_port)]
    program = run_program([*command, "config.wsgi:application"], CORE_WEBHOOK_RATE="often")
    assert program.wait() != 0
    assert program.text.count("signal-hub: CORE_WEBHOOK_RATE holds 'often'") == 1
    assert "Traceback" not in program.text


def test_without_a_secret_key_debug_is_needed(hub_environment):
    environment = hub_environment | {"DJANGO_SECRET_KEY": "", "DJANGO_DEBUG": "1"}
    subprocess.run(manage("check"), cwd=PROJECT, env=environment, check=True, capture_output=True, timeout=60)


def test_a_fallback_is_logged_when_the_hub_starts(hub_environment):
    environment = hub_environment | {"CORE_EVENT_BUS_BACKEND": "redis", "CORE_REDIS_URL": ""}
    output = subprocess.run(
        [sys.executable, "-c", "import config.wsgi"],
        cwd=PROJECT,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    ).stderr
    logged = [line for line in output.splitlines() if "EventBus" in line]
    assert len(logged) == 2
    assert "CORE_REDIS_URL is not set; using memory instead" in logged[0]
    assert "EventBus backend=memory" in logged[1]


@pytest.mark.django_db(transaction=True, databases=["default", "forex"])
@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, "-c", "import config.asgi"],
        *(manage(name, "--once") for name in ("consume_streams", "consume_databases", "run_worker")),
    ],
    ids=lambda command: command[-2],
)
def test_so_is_the_backend_whatever_program_starts(run_program, redis_client, command):
    program = run_program(command)
    assert program.wait(40) == 0, program.text
    assert program.text.count("EventBus backend=memory") == 1


@pytest.mark.parametrize("what", [["worker", "--pool", "solo"], ["beat", "--schedule", "{folder}/schedule"]])
def test_and_whatever_celery_logs_otherwise(run_program, tmp_path, what):
    words = [word.format(folder=tmp_path) for word in what]
    program = run_program([sys.executable, "-m", "celery", "-A", "config", *words])
    program.until(lambda: "EventBus backend=memory" in program.text, 40)
    program.stop(40)

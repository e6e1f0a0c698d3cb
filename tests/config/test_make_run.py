"""`make run`, for real: a copy of the project, its own servers, ports and data."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import psutil
import psycopg
import pytest
import requests
from dotenv import dotenv_values

from config.local import Postgres, free_port, processes
from tests.servers import PROJECT, eventually, renamed
from tests.temporary_home import temporary_home

NOT_COPIED = shutil.ignore_patterns(".*", "tests", "*.pyc.*")
"""Compiled modules are copied: to compile them anew takes each run seconds."""


class Run:
    """One `python -m config.local` in a copy of the project."""

    def __init__(self, project, data, log, **variables):
        self.project = project
        self.log = log
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(data),
            "PORT": str(free_port()),
            "SIGNAL_HUB_DATA": str(data),
        } | variables
        command = [sys.executable, "-m", "config.local"]
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=project,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def text(self):
        return self.log.read_text()

    def until(self, condition, seconds=180):
        def met():
            value = condition()
            assert value or self.process.poll() is None, f"ended with {self.process.returncode}"
            return value

        try:
            return eventually(met, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.text}") from None

    def until_said(self, words):
        return self.until(lambda: re.search(words, self.text))

    def end(self, seconds=120):
        """Wait for the end; return the exit status."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"does not end:\n{self.text}") from None

    def manage(self, *arguments):
        """Run `manage.py` as an operator would by hand: with the `.env` file and nothing else."""
        environment = {name: self.environment[name] for name in ("PATH", "HOME")}
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=self.project,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def processes(self):
        """What runs on behalf of this project: its programs by their mark, its servers by their folder."""
        mark, data = str(self.project), self.environment["SIGNAL_HUB_DATA"]
        found = []
        for process in psutil.process_iter():
            try:
                ours = process.environ().get("SIGNAL_HUB_RUN") == mark or process.cwd().startswith(data)
            except psutil.Error:
                continue
            if ours:
                found.append(process)
        return found


@pytest.fixture
def project(tmp_path):
    copy = tmp_path / "project"
    shutil.copytree(PROJECT, copy, ignore=NOT_COPIED)
    return copy


@pytest.fixture
def run(project, tmp_path):
    """Start runs that share one copy and its data; what is left of them is killed afterwards."""
    started = []

    @contextmanager
    def killing():
        try:
            yield
        finally:
            for one in started:
                for process in [*one.processes(), *([one.process] if one.process.poll() is None else [])]:
                    process.kill()

    def start(**variables):
        one = Run(project, home, tmp_path / f"run-{len(started)}.log", **variables)
        started.append(one)
        return one

    with temporary_home() as home, killing():
        start.home = home
        yield start


def arrivals(url):
    """Which ecosystem arrived over which transport, and how many signals were recorded."""
    try:
        with psycopg.connect(url) as connection:
            rows = connection.execute(
                "SELECT ecosystem, transport, count(*) FROM trading_signals WHERE position IS NOT NULL"
                " GROUP BY ecosystem, transport"
            ).fetchall()
    except psycopg.Error:
        return {}
    return {(ecosystem, transport): count for ecosystem, transport, count in rows}


def log_in(run):
    """Log in as the announcement says; return the dashboard's answer."""
    dashboard = re.search(r"http://\S+/admin/", run.text)[0]
    password = re.search(r"Password +(\S+)", run.text)[1]
    with requests.Session() as session:
        session.trust_env = False
        session.get(f"{dashboard}login/", timeout=60)
        form = {"username": "operator", "password": password}
        form["csrfmiddlewaretoken"] = session.cookies["csrftoken"]
        return session.post(f"{dashboard}login/?next=/admin/", data=form, timeout=60)


def test_a_fresh_hub_shows_arrivals_over_every_transport_and_keeps_them(run):
    first = run()
    first.until_said("Signal Hub is running")
    dotenv = first.project / ".env"
    assert dotenv.stat().st_mode & 0o777 == 0o600
    url = dotenv_values(dotenv)["CORE_DB_URL"]
    everywhere = {("crypto", "database"), ("forex", "redis"), ("stock", "webhook")}
    first.until(lambda: arrivals(url).keys() == everywhere)

    answer = log_in(first)
    assert answer.status_code == 200
    assert answer.url.endswith("/admin/")
    assert first.manage("check").returncode == 0

    second = run()
    assert second.end() == 1
    assert f"already running here (process {first.process.pid})" in second.text

    os.killpg(first.process.pid, signal.SIGINT)
    assert first.end() == 0, first.text
    assert "Traceback" not in first.text, first.text
    assert first.processes() == []

    before = dotenv_values(dotenv)
    again = run(DEMO="off")
    again.until_said("Signal Hub is running")
    assert re.search(r"Password +\S+", again.text)[0] == re.search(r"Password +\S+", first.text)[0]
    assert dotenv_values(dotenv) | {"AGG_SIGNAL_ENDPOINT": ""} == before | {"AGG_SIGNAL_ENDPOINT": ""}
    assert arrivals(url).keys() == everywhere

    again.process.terminate()
    assert again.end() == 0, again.text
    assert "Traceback" not in again.text, again.text
    assert again.processes() == []


@pytest.fixture(scope="module")
def given():
    """Servers that the user names: those of this run, with a database that the first test finds empty."""
    url = renamed(os.environ["CORE_DB_URL"], "postgres")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS named_by_user WITH (FORCE)")
        connection.execute("CREATE DATABASE named_by_user")
        yield {"CORE_DB_URL": renamed(url, "named_by_user"), "CORE_REDIS_URL": os.environ["CORE_REDIS_URL"]}
        connection.execute("DROP DATABASE named_by_user WITH (FORCE)")


def test_servers_that_the_user_names_are_used(run, project, given):
    (project / "Procfile").write_text("web: exec python -c \"print('no luck'); raise SystemExit(3)\"\n")
    hub = run(DEMO="off", **given)
    assert hub.end() == 1
    assert re.search(r"web ended with status 3; its last lines:\n +no luck", hub.text)
    with psycopg.connect(given["CORE_DB_URL"]) as connection:
        assert connection.execute("SELECT count(*) FROM trading_signals").fetchone() == (0,)
    assert "Starting Postgres" not in hub.text
    assert not {"CORE_DB_URL", "CORE_REDIS_URL"} & dotenv_values(project / ".env").keys()


def test_programs_of_a_killed_run_are_ended_by_the_next(run, project, given):
    (project / "Procfile").write_text("sleeper: exec sleep 300\n")
    killed = run(DEMO="off", **given)
    killed.until_said(r"sleeper started \(pid=")
    left = psutil.Process(int(re.search(r"pid=(\d+)", killed.text)[1]))
    killed.process.kill()
    killed.end()
    assert left.is_running()

    following = run(DEMO="off", **given)
    following.until_said(r"sleeper started \(pid=")
    assert not left.is_running()
    following.process.send_signal(signal.SIGHUP)
    assert following.end() == 0


def test_a_demo_agent_may_be_stopped_and_the_hub_goes_on(run, project, given):
    (project / "Procfile").write_text("sleeper: exec sleep 300\n")
    (project / "Procfile.demo").write_text("demo-one: exec sleep 301\n")
    hub = run(**given)
    hub.until_said(r"demo-one started \(pid=")
    hub.until_said(r"sleeper started \(pid=")
    os.kill(int(re.search(r"demo-one started \(pid=(\d+)", hub.text)[1]), signal.SIGKILL)
    hub.until_said("demo-one has ended; the hub goes on without it")
    sleeper = psutil.Process(int(re.search(r"sleeper started \(pid=(\d+)", hub.text)[1]))
    assert sleeper.is_running()
    sleeper.terminate()
    assert hub.end() == 1
    assert "sleeper ended with status" in hub.text


def test_a_taken_port_is_passed_over_and_the_endpoint_follows(run, project, given):
    (project / "Procfile").write_text("web: exec python -m http.server --bind 127.0.0.1 $PORT\n")
    (project / "livez").write_text("ok")
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        hub = run(DEMO="off", PORT=str(port), PYTHONIOENCODING="latin-1", **given)
        hub.until_said("Signal Hub is running")
    taken = int(re.search(r"127\.0\.0\.1:(\d+)/admin/", hub.text)[1])
    assert taken > port
    endpoint = dotenv_values(project / ".env")["AGG_SIGNAL_ENDPOINT"]
    assert endpoint == f"http://127.0.0.1:{taken}/api/signals"
    hub.process.terminate()
    assert hub.end() == 0


def test_a_password_that_a_full_disk_left_empty_is_made_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "DATA", tmp_path)
    given = []
    monkeypatch.setattr(processes, "manage", lambda environment, *_: given.append(environment))
    (tmp_path / "operator.password").touch()
    password = processes.operator_password({})
    assert len(password) > 10
    assert given == [{"DJANGO_SUPERUSER_PASSWORD": password}]
    assert (tmp_path / "operator.password").read_text() == password


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"PORT": "http"}, "signal-hub: PORT holds 'http': it may hold a port number"),
        (
            {"CORE_DB_URL": "postgres://nobody@127.0.0.1:1/none"},
            "signal-hub: manage.py migrate: .*connection failed",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(run, given, variables, message):
    hub = run(DEMO="off", **given | variables)
    assert hub.end() == 1
    assert re.search(message, hub.text)
    assert "Traceback" not in hub.text, hub.text


def test_data_of_before_the_first_release_is_left_alone(run):
    """One line says which folder to move away."""
    data = run.home
    with Postgres(data) as postgres, psycopg.connect(postgres.create_database("signal_hub")) as connection:
        connection.execute(
            "CREATE TABLE django_migrations"
            " (id bigserial PRIMARY KEY, app text, name text, applied timestamptz)"
        )
        connection.execute(
            "INSERT INTO django_migrations (app, name, applied) VALUES ('aggregator', %s, now())",
            ["0001_trading_signals"],
        )
    hub = run(DEMO="off")
    assert hub.end() == 1
    assert re.search(rf"signal-hub: the data in {data} is of .*: mv {data} {data}\.before$", hub.text, re.M)
    assert "Traceback" not in hub.text, hub.text

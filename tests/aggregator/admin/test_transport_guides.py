"""The commands of the transport guides, run unchanged."""

from __future__ import annotations

import dataclasses
import html
import os
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from django.test import Client

from aggregator.http import api_keys
from aggregator.ingest.streams import configured_consumer
from aggregator.ledger import inserted_rows
from aggregator.models import ApiKey, TradingSignal
from tests.servers import WEBHOOK_SECRET


@pytest.fixture
def shown(operator, shared_hub, redis_client):
    """Return the commands that a running hub shows, by their titles: `shown(**variables)`."""

    def ask(**variables):
        host = shared_hub(**variables).removeprefix("http://")
        client = Client(headers={"host": host})
        client.force_login(operator)
        seen = client.get("/admin/").content.decode()
        found = re.findall(r'aria-label="([^"]+)"><code>(.*?)</code>', seen, re.DOTALL)
        return {title: html.unescape(text) for title, text in found}

    return ask


@pytest.mark.parametrize("title", ["With a database client", "Over Redis"])
def test_on_the_hubs_machine_without_any_client(shown, program_environment, title):
    """In the folder of a hub, which has a virtual environment and the hub's variables."""
    command = shown()[f"{title}, on the hub itself"]
    python, rest = command.split(" ", 1)
    assert python == ".venv/bin/python"
    sent = run(["/bin/sh", "-c", f"{sys.executable} {rest}"], **program_environment)
    assert "confirmed 1" in sent


def run(program, answers="", **variables):
    environment = {"PATH": os.environ["PATH"], **variables}
    done = subprocess.run(
        program, input=answers, capture_output=True, text=True, timeout=120, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(
    not all(map(shutil.which, ("bash", "curl", "openssl"))), reason="needs bash, curl and openssl"
)
def test_over_https(shown, settings):
    sent = run(["bash", "-c", shown()["Over HTTPS"]], f"{WEBHOOK_SECRET}\n")
    assert '"accepted":1' in sent
    assert TradingSignal.objects.get().instrument == "AAPL"

    manager = api_keys.auth_manager(settings.ENVIRONMENT)
    manager.issue(ApiKey(key_id="reader", scopes=["read"]))
    older = manager.issue(ApiKey(key_id="desk", scopes=["publish"], ecosystems=["crypto"]))
    ApiKey.objects.filter(key_id="desk").update(created_at=older.key.created_at - timedelta(days=1))
    command = shown()["Over HTTPS"]
    assert "Value of key desk" in command
    assert '"accepted":1' in run(["bash", "-c", command], f"{older.value}\n{older.signing_secret}\n")


@pytest.mark.skipif(not shutil.which("redis-cli"), reason="needs redis-cli")
def test_over_redis(shown, settings):
    password = urlsplit(os.environ["CORE_REDIS_URL"]).password or ""
    command = shown()["Over Redis"]
    assert not password or password not in command
    run(["/bin/sh", "-c", command], f"{password}\n")
    with closing(configured_consumer()) as consumer:
        while not consumer.run_once(wait=False):
            pass
    assert TradingSignal.objects.get().instrument == "EUR/USD"


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("redis://127.0.0.1:1/2", "-u redis://127.0.0.1:1/2 XADD"),
        ("redis://a%24b:hush@[::1]:1/0?db=3", "-u redis://[::1]:1/0 -n 3 --user 'a$b' --askpass XADD"),
        ("redis://[::1]:1?username=ada&password=hush", "-u redis://[::1]:1 --user ada --askpass XADD"),
        ("unix://:hush@/run/the%20hub/redis.sock?db=1", "-s '/run/the hub/redis.sock' -n 1 --askpass XADD"),
    ],
)
def test_a_url_of_redis_is_shown_as_redis_cli_reads_it(page, settings, url, options):
    settings.ENVIRONMENT = dataclasses.replace(settings.ENVIRONMENT, redis_url=url)
    seen = html.unescape(page.get("/admin/").content.decode())
    assert f"redis-cli {options}" in seen
    assert "hush" not in seen


@pytest.mark.skipif(not shutil.which("psql"), reason="needs psql")
def test_from_a_database_client(shown, program_environment, settings):
    url = program_environment["CORE_DB_URL"]  # the settings' own is that of the database before the tests'
    settings.ENVIRONMENT = dataclasses.replace(settings.ENVIRONMENT, core_db_url=url)
    password = urlsplit(url).password or "none"
    command = shown()["With a database client"]
    assert password not in command
    # It asks a terminal for the password; who has none sets it.
    assert "INSERT 0 1" in run(["/bin/sh", "-c", command], PGPASSWORD=password)
    assert [result.fate for result in inserted_rows.record_inserted_rows(10)] == ["accepted"]
    assert TradingSignal.objects.get().transport == "database"


@pytest.mark.parametrize(
    ("url", "options"),
    [
        (
            "postgres://hub:hush@db.example:5432/hub?sslmode=verify-full&sslpassword=hush",
            "user=hub dbname=hub host=db.example port=5432 sslmode=verify-full",
        ),
        ("postgres:///hub?host=/run/postgresql&password=hush", "dbname=hub host=/run/postgresql"),
        ("postgres://a%20b:hush@[::1]/hub", "user='a b' dbname=hub host=::1"),
    ],
)
def test_a_url_of_postgres_is_shown_as_psql_reads_it_without_its_secrets(page, settings, url, options):
    settings.ENVIRONMENT = dataclasses.replace(settings.ENVIRONMENT, core_db_url=url)
    seen = html.unescape(page.get("/admin/").content.decode())
    assert f"psql {shlex.quote(options)} -c" in seen
    assert "hush" not in seen

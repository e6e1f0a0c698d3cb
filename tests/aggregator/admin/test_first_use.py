"""The commands of the first-use page, run as they stand."""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
import sys
from urllib.parse import urlsplit

import pytest
from django.db import connection
from django.test import Client

from aggregator import adoption
from aggregator.doors.streams import StreamConsumer
from aggregator.models import TradingSignal
from tests.servers import WEBHOOK_SECRET


@pytest.fixture
def commands(operator, live_hub, redis_client):
    """The commands that a running hub shows, by their titles."""
    host = live_hub().removeprefix("http://")
    client = Client(headers={"host": host})
    client.force_login(operator)
    seen = client.get("/admin/").content.decode()
    found = re.findall(r'aria-label="([^"]+)"><code>(.*?)</code>', seen, re.DOTALL)
    return {title: html.unescape(text) for title, text in found}


@pytest.mark.parametrize("title", ["From a database client", "Over Redis"])
def test_on_the_hubs_machine_without_any_client(commands, program_environment, title):
    """In the folder of a hub, which has a virtual environment and the hub's variables."""
    command = commands[f"{title}, on the hub itself"]
    python, rest = command.split(" ", 1)
    assert python == ".venv/bin/python"
    told = run(f"{sys.executable} {rest}", **program_environment)
    assert "confirmed 1" in told


def run(text, **variables):
    environment = {"PATH": os.environ["PATH"], **variables}
    done = subprocess.run(
        ["/bin/sh"], input=text, capture_output=True, text=True, timeout=60, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not shutil.which("curl") or not shutil.which("openssl"), reason="needs curl and openssl")
def test_over_https(commands):
    told = run(commands["Over HTTPS"].replace("SECRET=  #", f"SECRET={WEBHOOK_SECRET}  #"))
    assert '"accepted":1' in told
    assert TradingSignal.objects.get().instrument == "AAPL"


@pytest.mark.skipif(not shutil.which("redis-cli"), reason="needs redis-cli")
def test_over_redis(commands, settings):
    password = urlsplit(os.environ["CORE_REDIS_URL"]).password or ""
    command = commands["Over Redis"]
    assert not password or password not in command
    run(command.replace("REDISCLI_AUTH=  #", f"REDISCLI_AUTH={password}  #"))
    consumer = StreamConsumer.from_environment(settings.ENVIRONMENT)
    while not consumer.run_once(wait=False):
        pass
    assert TradingSignal.objects.get().instrument == "EUR/USD"


@pytest.mark.skipif(not shutil.which("psql"), reason="needs psql")
def test_from_a_database_client(commands):
    password = connection.settings_dict["PASSWORD"] or "none"
    command = commands["From a database client"]
    assert password not in command
    assert "INSERT 0 1" in run(command.replace("PGPASSWORD=  #", f"PGPASSWORD={password}  #"))
    assert [verdict.fate for verdict in adoption.adopt(10)] == ["accepted"]
    assert TradingSignal.objects.get().transport == "database"

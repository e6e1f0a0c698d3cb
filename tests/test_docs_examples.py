"""The documents' examples: each is run, or compared with the code, as it is written."""

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection

from ecosystems.market.symbols import instrument
from ecosystems.signal import Signal, parse
from tests.guides import blocks
from tests.servers import PROJECT, WEBHOOK_SECRET

DOCS = PROJECT / "docs"


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a block with bash, in an environment without the hub's variables."""
    clean = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    shell = ["bash", "-euo", "pipefail", "-c", script]
    return subprocess.run(shell, cwd=folder, env=clean, capture_output=True, text=True)


def test_the_first_signal_of_the_readme_is_accepted(live_hub, tmp_path):
    url = live_hub() + "/api/signals"
    (tmp_path / ".env").write_text(f"CORE_EVENT_WEBHOOK_SECRET={WEBHOOK_SECRET}\nAGG_SIGNAL_ENDPOINT={url}\n")
    (block,) = blocks("../README.md", "bash")
    done = run(block.text, tmp_path)
    assert " 202 " in done.stdout.splitlines()[0], done
    (promised,) = blocks("../README.md", "json")
    assert done.stdout.splitlines()[-1] == promised.text.strip()


def test_the_curl_of_the_webhooks_page(live_hub, tmp_path):
    url = live_hub(CORE_API_KEYS="docs:value-of-the-key") + "/api/signals"
    (block,) = blocks("webhook.md", "bash")
    given = {"url": url, "secret": WEBHOOK_SECRET, "key": "value-of-the-key"}
    script = block.text
    for name, value in given.items():
        script, changed = re.subn(rf'^{name}="[^"]*"', f"{name}={shlex.quote(value)}", script, flags=re.M)
        assert changed == 1
    assert " 202 " in run(script, tmp_path).stdout.splitlines()[0]
    without = run(script.replace("value-of-the-key", ""), tmp_path)
    assert " 401 " in without.stdout.splitlines()[0]


def test_the_webhooks_page_shows_a_body_of_every_answer():
    bodies = [json.loads(block.text) for block in blocks("webhook.md", "json")]
    shown = {body["status"] for body in bodies if isinstance(body["status"], int)} | {200, 202}
    section = (DOCS / "webhook.md").read_text().partition("## Answers")[2]
    rows = re.findall(r"^\| ([0-9, ]+) \|", section, re.MULTILINE)
    assert {int(number) for row in rows for number in row.split(",")} == shown


def test_the_examples_of_signals_are_signals():
    call, close = (parse(block.text.encode()) for block in blocks("signals.md", "json"))
    assert isinstance(call, Signal)
    assert isinstance(close, Signal)
    assert "extra" not in call.raw_payload
    assert close.refers_to == call.signal_id


def test_instruments_are_as_the_table_says():
    rows = re.findall(r"^\| (crypto|forex|stock) \| (.*) \| `(\S+)`", (DOCS / "signals.md").read_text(), re.M)
    assert len(rows) > 5
    for ecosystem, spellings, name in rows:
        for symbol in re.findall("`([^`]+)`", spellings):
            assert instrument(ecosystem, symbol) == name


def test_codes_are_those_of_the_code():
    sources = ["ecosystems/signal.py", "aggregator/ledger/entries.py", "aggregator/ledger/record.py"]
    sources += ["aggregator/ingest/streams.py", "aggregator/ingest/trimming.py"]
    code = "\n".join((PROJECT / name).read_text() for name in sources)
    section = (DOCS / "signals.md").read_text().partition("## Codes of refusals")[2]
    documented = {
        name for row in re.findall(r"^\| (`.*?) \|", section, re.M) for name in re.findall(r"`(\w+)`", row)
    }
    used = set(re.findall(r'(?:_Refused|Refusal)\(\s*"(\w+)"', code)) - {"busy"}  # that one is a 503
    assert len(used) > 10
    assert used <= documented
    assert {name for name in documented if f'"{name}"' not in code} == set()


@pytest.mark.django_db
def test_the_sql_of_the_database_page():
    *ours, supabase = blocks("database.md", "sql")
    with connection.cursor() as cursor:
        for block in ours:
            cursor.execute(block.text)
        cursor.execute("SELECT count(*) FROM trading_signals WHERE signal_id LIKE 'psql-%%'")
        assert cursor.fetchone() == (2,)
        cursor.execute("CREATE ROLE anon; CREATE ROLE authenticated")
        cursor.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO anon, authenticated")
        cursor.execute("ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO anon, authenticated")
        cursor.execute(supabase.text.replace("ROLE postgres", "ROLE current_user"))
        cursor.execute("CREATE TABLE made_later (id int)")
        call_command("migrate", verbosity=0)
        cursor.execute(
            "SELECT rolname, relname FROM pg_class, pg_roles WHERE rolname IN ('anon', 'authenticated') "
            "AND relkind = 'r' AND relnamespace = 'public'::regnamespace "
            "AND has_table_privilege(rolname, pg_class.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')"
        )
        assert cursor.fetchall() == []

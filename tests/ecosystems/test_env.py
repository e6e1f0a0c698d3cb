"""The environment: what each variable may hold, and how it is read."""

import ast
import logging
import os
import subprocess
import sys
from ipaddress import ip_network

import pytest

from ecosystems import env
from ecosystems.bus import EventBus
from tests.ecosystems.bus.receiver import Receiver
from tests.ecosystems.examples import a_signal
from tests.servers import PROJECT

WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SECRETS_AND_URLS = {
    "CORE_DB_URL": ("core_db_url", "postgres://u:pw@db/hub?sslmode=verify-full"),
    "CORE_REDIS_URL": ("redis_url", "rediss://:pw@redis:6380/1"),
    "CORE_EVENT_WEBHOOK_URL": ("event_webhook_url", "https://hub.example/api/signals"),
    "CORE_EVENT_WEBHOOK_SECRET": ("event_webhook_secret", WHSEC),
    "CORE_AUTH_SECRET": ("auth_secret", "$alt"),
    "AGG_SIGNAL_ENDPOINT": ("signal_endpoint", "https://hub.example/api/signals"),
    "DJANGO_SECRET_KEY": ("django_secret_key", "sesame"),
}


@pytest.fixture
def load(monkeypatch):
    """Load the environment that holds these variables and no others."""

    def load_only(**variables):
        monkeypatch.setattr(os, "environ", {"SIGNAL_HUB_DOTENV": "off"} | variables)
        return env.load()

    return load_only


@pytest.fixture
def refusal(load):
    """The one line with which these variables are refused."""

    def refused(**variables):
        with pytest.raises(env.InvalidEnvironment) as caught:
            load(**variables)
        assert "\n" not in str(caught.value)
        assert caught.value.__cause__ is None or isinstance(caught.value.__cause__, OSError | ValueError)
        return str(caught.value)

    return refused


def test_the_defaults_are_the_contracts(load):
    defaults = {
        "core_db_url": None,
        "ecosystem_db_urls": {},
        "event_bus_backend": "memory",
        "redis_url": None,
        "event_webhook_url": None,
        "event_webhook_secret": None,
        "api_keys": (),
        "auth_secret": None,
        "signal_endpoint": None,
        "stream_prefix": "core_signals",
        "stream_topics": ("signals",),
        "stream_maxlen": 1_000_000,
        "stream_max_bytes": 1_048_576,
        "webhook_require_key": False,
        "webhook_allow_legacy": True,
        "webhook_max_bytes": 1_048_576,
        "webhook_max_signals": 1000,
        "webhook_rate": None,
        "webhook_failed_rate": "300/minute",
        "trusted_proxies": (),
        "django_secret_key": None,
        "django_debug": False,
        "django_allowed_hosts": (),
        "keep_days": {
            "arrival_minutes": 35,
            "arrival_hours": 400,
            "dead_letters": 90,
            "unresolved_dead_letters": 365,
            "sightings": 90,
            "candles": None,
            "agents": 90,
            "symbol_aliases": 90,
        },
    }
    loaded = load()
    assert {name: getattr(loaded, name) for name in defaults} == defaults


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        *((name, value, field, value) for name, (field, value) in SECRETS_AND_URLS.items()),
        ("CORE_DB_URL", "postgresql:///hub", "core_db_url", "postgresql:///hub"),
        ("CORE_FOREX_DB_URL", "postgres://f/f", "ecosystem_db_urls", {"forex": "postgres://f/f"}),
        *(
            ("CORE_DB_URL", url, "core_db_url", url)
            for url in (
                "postgres://u:p@a:1,b:2/db?target_session_attrs=read-write",
                "postgres://u:p@a:1,[::1]:2/db",
                "postgres://u:%40%23%2F%3F%25@db/x",
                "postgres://db/x?options=-csearch_path%3Da@b",
            )
        ),
        ("CORE_DB_URL", "postgres://u:p@d/x?pgbouncer=true", "core_db_url", "postgres://u:p@d/x"),
        (
            "CORE_DB_URL",
            "postgres://u:p@d/x?pgbouncer=true&sslmode=require",
            "core_db_url",
            "postgres://u:p@d/x?sslmode=require",
        ),
        *(
            ("CORE_DB_URL", url, "core_db_url", url)
            for url in ("postgres://?service=hub", "postgres://u:p@a,b:2/db?connect_timeout=3")
        ),
        ("CORE_EVENT_BUS_BACKEND", "Redis", "event_bus_backend", "redis"),
        *(
            ("CORE_REDIS_URL", url, "redis_url", url)
            for url in (
                "redis://r:1/0?password=a@b",
                "redis://u:%23%3F%2F@r:1/0",
                "redis://[::1]:1/0?client_name=a@b",
            )
        ),
        ("CORE_REDIS_URL", "unix:///run/redis.sock?db=2", "redis_url", "unix:///run/redis.sock?db=2"),
        *(
            ("CORE_REDIS_URL", url, "redis_url", url)
            for url in (
                "redis+sentinel://a:1,b:2/hub",
                "redis+sentinel://u:pw@a,[::1]:3/hub/4?socket_timeout=5",
            )
        ),
        ("CORE_EVENT_WEBHOOK_SECRET", "any text, ä", "event_webhook_secret", "any text, ä"),
        ("CORE_API_KEYS", "a:1|b:x:y", "api_keys", (("a", "1"), ("b", "x:y"))),
        ("CORE_EVENT_STREAM_PREFIX", "mine", "stream_prefix", "mine"),
        (
            "CORE_EVENT_STREAM_TOPICS",
            "signals, executed_trades",
            "stream_topics",
            ("signals", "executed_trades"),
        ),
        ("CORE_EVENT_STREAM_MAXLEN", "10", "stream_maxlen", 10),
        ("CORE_WEBHOOK_REQUIRE_KEY", "on", "webhook_require_key", True),
        ("CORE_WEBHOOK_ALLOW_LEGACY", "off", "webhook_allow_legacy", False),
        ("CORE_WEBHOOK_MAX_BYTES", "1", "webhook_max_bytes", 1),
        ("CORE_WEBHOOK_MAX_SIGNALS", "2", "webhook_max_signals", 2),
        ("CORE_WEBHOOK_RATE", "600/minute", "webhook_rate", "600/minute"),
        ("CORE_KEEP_ARRIVAL_HOURS", "Forever", "keep_arrival_hours", None),
        ("STRIPE_API_BASE", "https://stripe.example/", "stripe_api_base", "https://stripe.example"),
        ("OANDA_ENVIRONMENT", "Live", "oanda_environment", "live"),
        ("CORE_WEBHOOK_FAILED_RATE", "5/second", "webhook_failed_rate", "5/second"),
        (
            "CORE_TRUSTED_PROXIES",
            "10.0.0.0/8,2001:db8::1",
            "trusted_proxies",
            (ip_network("10.0.0.0/8"), ip_network("2001:db8::1")),
        ),
        (
            "CORE_TRUSTED_PROXIES",
            "::ffff:192.0.2.1,::ffff:10.0.0.0/104",
            "trusted_proxies",
            (ip_network("192.0.2.1"), ip_network("10.0.0.0/8")),
        ),
        ("DJANGO_DEBUG", "TRUE", "django_debug", True),
        ("DJANGO_ALLOWED_HOSTS", "a.example,.b.example", "django_allowed_hosts", ("a.example", ".b.example")),
    ],
)
def test_every_variable_is_read(load, name, text, field, value):
    assert getattr(load(**{name: text}), field) == value
    assert getattr(load(**{name: f" {text}\n"}), field) == value
    assert getattr(load(**{name: ""}), field) == getattr(load(), field)


@pytest.mark.parametrize("name", [*SECRETS_AND_URLS, "CORE_CRYPTO_DB_URL", "CORE_API_KEYS"])
def test_every_secret_and_url_may_come_from_a_file_which_wins(load, tmp_path, name):
    field, value = {
        "CORE_CRYPTO_DB_URL": ("ecosystem_db_urls", "postgres://c/c"),
        "CORE_API_KEYS": ("api_keys", "id:value"),
        **SECRETS_AND_URLS,
    }[name]
    (file := tmp_path / "secret").write_text(f"{value}\n")
    from_file = load(**{f"{name}_FILE": str(file), name: "https://overridden.example"})
    assert getattr(from_file, field) == getattr(load(**{name: value}), field)


def test_files_may_begin_with_a_byte_order_mark(load, tmp_path):
    (tmp_path / "secret").write_text("of the file", "utf-8-sig")
    (tmp_path / ".env").write_text("CORE_EVENT_STREAM_PREFIX=mine\n", "utf-8-sig")
    loaded = load(SIGNAL_HUB_DOTENV=str(tmp_path / ".env"), CORE_AUTH_SECRET_FILE=str(tmp_path / "secret"))
    assert (loaded.auth_secret, loaded.stream_prefix) == ("of the file", "mine")


def test_a_file_that_cannot_be_read_is_named(refusal, tmp_path):
    path = str(tmp_path / "absent")
    assert refusal(CORE_AUTH_SECRET_FILE=path) == (
        f"CORE_AUTH_SECRET_FILE holds {path!r}: it may hold the path of a readable text file"
    )
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    assert "CORE_DB_URL_FILE" in refusal(CORE_DB_URL_FILE=str(tmp_path / "binary"))
    assert "CORE_DB_URL_FILE" in refusal(CORE_DB_URL_FILE=str(tmp_path))


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("CORE_EVENT_BUS_BACKEND", "kafka", "'kafka': it may hold memory, redis or webhook"),
        ("CORE_DB_URL", "mysql://u:hunter2@db/x", "mysql://****@db: it may hold a postgres:// URL"),
        ("CORE_DB_URL", "postgres://u:hunter2@db:port/x", "****: it may hold a postgres:// URL"),
        ("CORE_DB_URL", "postgres://u:hunter2/x@db:5432/x", "****: it may hold a postgres:// URL"),
        ("CORE_DB_URL", "postgres://u:hunter2#x@db:5432/x", "****: it may hold a postgres:// URL"),
        ("CORE_REDIS_URL", "redis://u:123/hunter2@r:6379/0", "****: it may hold a redis://"),
        ("CORE_DB_URL", "postgres://u:hunt er2@db/x", "postgres://****@db: it may hold a postgres:// URL"),
        ("CORE_STOCK_DB_URL", "hunter2", "****: it may hold a postgres:// URL"),
        ("CORE_DB_URL", "postgres:hunter2", "****: it may hold a postgres:// URL"),
        ("CORE_DB_URL", "postgres://u:hunter2%@db/x", "postgres://****@db: it may hold a postgres:// URL ("),
        (
            "CORE_CRYPTO_DB_URL",
            "postgres://u:hunter2@db/x?connection_limit=hunter2",
            "postgres://****@db: it may hold a postgres:// URL (libpq does not know its option connection_",
        ),
        (
            "CORE_DB_URL",
            "postgres://u:hunter2@db/x?sslmode=verify_full",
            "postgres://****@db: it may hold a postgres:// URL (sslmode is disable, allow, prefer, require, ",
        ),
        *(
            ("CORE_DB_URL", f"postgres://u:hunter2@{rest}", f"postgres://****@db{shown}")
            for rest, shown in (
                ("db:5432", ":5432: it may hold a postgres:// URL (it names no database)"),
                ("db:5432/?connect_timeout=5", ":5432: it may hold a postgres:// URL (it names no database)"),
                ("db:0/x", ":0: it may hold a postgres:// URL (a port is a number from 1 to 65535)"),
                ("db/x?connect_timeout=5s", ": it may hold a postgres:// URL (connect_timeout is a number"),
                (
                    "db/x?target_session_attrs=rw",
                    ": it may hold a postgres:// URL (target_session_attrs is any",
                ),
            )
        ),
        (
            "CORE_DB_URL",
            "postgres://u:hunter2@a:1,b:99999/x",
            "****: it may hold a postgres:// URL (a port is",
        ),
        *(
            (
                "CORE_REDIS_URL",
                f"redis://u:12{mark}hunter2@r:6379/0",
                "****: it may hold a redis://, rediss:// o",
            )
            for mark in "#?/"
        ),
        *(
            ("CORE_REDIS_URL", f"{url}=hunter2", "rediss://****@r: it may hold a redis://, rediss:// or unix")
            for url in ("rediss://r?db", "rediss://r?bogus", "rediss://r/0?ssl_cert_reqs", "rediss://r?port")
        ),
        (
            "CORE_REDIS_URL",
            "unix:/run/hunter2.sock",
            "****: it may hold a redis://, rediss:// or unix:// URL",
        ),
        (
            "CORE_REDIS_URL",
            "unix://",
            "****: it may hold a redis://, rediss:// or unix:// URL, or redis+sentinel://host:port,host:port/"
            "service (it has no path",
        ),
        ("CORE_REDIS_URL", "redis://", "****: it may hold a redis://, rediss:// or unix:// URL"),
        ("CORE_REDIS_URL", "redis://:hunter2@r/hunter2", "redis://****@r: it may hold"),
        ("CORE_REDIS_URL", "redis://:hunter2", "****: it may hold"),
        *(
            ("CORE_REDIS_URL", f"redis+sentinel://:hunter2@{rest}", "redis+sentinel://****@a")
            for rest in ("a/", "a:1", "a/hub/hunter2", "a/hub?hunter2=1")
        ),
        *(
            (
                "CORE_REDIS_URL",
                f"redis+sentinel://u{mark}hunter2@a/hub",
                "****: it may hold a redis://, rediss",
            )
            for mark in ("#", ":12#", ":12?", ":12/")
        ),
        ("EMAIL_URL", "smtp://u:hunter2@mail?ssl=true", "smtp://****@mail: it may hold an smtp://"),
        ("EMAIL_URL", "imap://u:hunter2@mail", "imap://****@mail: it may hold an smtp://"),
        ("OANDA_ENVIRONMENT", "demo", "'demo': it may hold practice or live"),
        (
            "CORE_KEEP_ARRIVAL_MINUTES",
            "30",
            "'30': it may hold a number of days from 31 to 36500",
        ),
        ("CORE_DELIVERY_DAYS", "forever", "'forever': it may hold a number of days from 1 to 9999"),
        ("CORE_EVENT_WEBHOOK_URL", "ftp://x?k=hunter2", "ftp://****@x: it may hold an http:// or https://"),
        ("AGG_SIGNAL_ENDPOINT", "hub.example/hunter2", "****: it may hold"),
        ("AGG_SIGNAL_ENDPOINT", "https://hub..example/hunter2", "https://****@hub..example: it may hold"),
        ("CORE_EVENT_WEBHOOK_SECRET", "whsec_hunter2!", "****: it may hold whsec_<base64>"),
        ("CORE_EVENT_WEBHOOK_SECRET", "whsec_", "****: it may hold whsec_<base64>"),
        ("CORE_API_KEYS", "hunter2", "****: it may hold id:value|id:value"),
        ("CORE_API_KEYS", "id:", "****: it may hold id:value|id:value"),
        ("CORE_API_KEYS", "|", "****: it may hold id:value|id:value (it has no key)"),
        # As os.environ gives bytes that are no UTF-8: here Latin-1's a with an umlaut.
        (
            "CORE_EVENT_WEBHOOK_SECRET",
            "hunter2\udce4",
            "****: it may hold whsec_<base64>, or any other text (it",
        ),
        ("CORE_AUTH_SECRET", "hunter2\udce4", "****: it may hold any text (it is not UTF-8)"),
        ("CORE_EVENT_STREAM_PREFIX", "a b", "'a b': it may hold"),
        ("CORE_EVENT_STREAM_TOPICS", "a,b c", "'a,b c': it may hold"),
        ("CORE_EVENT_STREAM_TOPICS", ",", "',': it may hold"),
        ("CORE_EVENT_STREAM_MAXLEN", "0", "'0': it may hold a whole number above 0"),
        ("CORE_RECORD_DELAY", "999999d", "'999999d': it may hold 0, or a length of time such as 90s, 15m"),
        ("CORE_DB_CONNECTIONS", "1", "'1': it may hold a whole number above 1"),
        ("CORE_WEBHOOK_MAX_BYTES", "1e6", "'1e6': it may hold a whole number above 0"),
        ("CORE_WEBHOOK_MAX_SIGNALS", "-1", "'-1': it may hold"),
        ("CORE_WEBHOOK_RATE", "600/fortnight", "'600/fortnight': it may hold a rate such as 600/minute"),
        ("CORE_WEBHOOK_FAILED_RATE", "0/minute", "'0/minute': it may hold a rate"),
        ("CORE_WEBHOOK_REQUIRE_KEY", "maybe", "'maybe': it may hold on or off"),
        ("CORE_WEBHOOK_ALLOW_LEGACY", "2", "'2': it may hold on or off"),
        ("CORE_TRUSTED_PROXIES", "10.0.0.0/33", "'10.0.0.0/33': it may hold"),
        ("DJANGO_DEBUG", "x\ny", "'x\\ny': it may hold on or off"),
    ],
)
def test_a_bad_value_is_refused_in_one_line_without_its_secrets(refusal, name, text, shown):
    line = refusal(**{name: text})
    assert line.startswith(f"{name} holds {shown}")
    assert "hunter2" not in line


def test_a_webhook_target_falls_back_to_the_endpoint(load):
    endpoint = "https://hub.example/api/signals"
    assert load(AGG_SIGNAL_ENDPOINT=endpoint).event_webhook_url == endpoint
    both = load(AGG_SIGNAL_ENDPOINT=endpoint, CORE_EVENT_WEBHOOK_URL="https://other.example/")
    assert (both.event_webhook_url, both.signal_endpoint) == ("https://other.example/", endpoint)


def test_configured_keys_are_required_unless_it_is_switched_off(load):
    assert load(CORE_API_KEYS="id:value").webhook_require_key
    assert not load(CORE_API_KEYS="id:value", CORE_WEBHOOK_REQUIRE_KEY="off").webhook_require_key


def test_an_agent_sends_the_first_keys_value(load):
    with Receiver() as hub:
        secret = {"CORE_EVENT_WEBHOOK_SECRET": "s", "CORE_API_KEYS": "a:first|b:second"}
        environment = load(CORE_EVENT_BUS_BACKEND="webhook", AGG_SIGNAL_ENDPOINT=hub.url, **secret)
        with EventBus.from_environment(environment) as bus:
            bus.publish(a_signal())
    assert [request.headers["authorization"] for request in hub.requests] == ["Bearer first"]


def test_an_ecosystem_without_a_database_uses_the_core_one(load):
    loaded = load(CORE_DB_URL="postgres://core/x", CORE_CRYPTO_DB_URL="postgres://crypto/x")
    assert loaded.database_url("crypto") == "postgres://crypto/x"
    assert loaded.database_url("stock") == "postgres://core/x"


REDIS = {"CORE_REDIS_URL": "redis://r"}
WEBHOOK = {"CORE_EVENT_WEBHOOK_URL": "https://hub.example", "CORE_EVENT_WEBHOOK_SECRET": "s"}


@pytest.mark.parametrize(
    ("asked", "given", "used", "missing"),
    [
        ("memory", REDIS | WEBHOOK, "memory", None),
        ("redis", REDIS, "redis", None),
        ("redis", WEBHOOK, "memory", "CORE_REDIS_URL is not set"),
        ("webhook", WEBHOOK, "webhook", None),
        ("webhook", {"AGG_SIGNAL_ENDPOINT": "https://h", "CORE_EVENT_WEBHOOK_SECRET": "s"}, "webhook", None),
        (
            "webhook",
            {"CORE_EVENT_WEBHOOK_URL": "https://h"} | REDIS,
            "memory",
            "CORE_EVENT_WEBHOOK_SECRET is not set",
        ),
        ("webhook", {"CORE_EVENT_WEBHOOK_SECRET": "s"}, "memory", "CORE_EVENT_WEBHOOK_URL"),
    ],
)
def test_a_fallback_is_logged_once_and_the_backend_always(load, caplog, asked, given, used, missing):
    caplog.set_level(logging.INFO, "signal_hub.bus")
    assert load(CORE_EVENT_BUS_BACKEND=asked, **given).announce_bus() == used
    *warnings, last = caplog.records
    assert last.getMessage() == f"EventBus backend={used}"
    assert [record.levelname for record in warnings] == (["WARNING"] if missing else [])
    for warning in warnings:
        assert f"asks for {asked}" in warning.getMessage()
        assert missing in warning.getMessage()
        assert f"using {used} instead" in warning.getMessage()


def test_a_dotenv_fills_what_the_environment_leaves_out(load, tmp_path):
    (tmp_path / ".env").write_text("CORE_AUTH_SECRET='from file'\nCORE_EVENT_STREAM_PREFIX=file\n")
    loaded = load(SIGNAL_HUB_DOTENV=str(tmp_path / ".env"), CORE_EVENT_STREAM_PREFIX="real")
    assert (loaded.auth_secret, loaded.stream_prefix) == ("from file", "real")


def test_a_file_that_a_dotenv_names_does_not_win_over_the_real_environment(load, tmp_path):
    (tmp_path / "secret").write_text("of the file")
    lines = [f"{name}_FILE={tmp_path}/secret\n" for name in ("CORE_AUTH_SECRET", "DJANGO_SECRET_KEY")]
    (tmp_path / ".env").write_text("".join(lines))
    loaded = load(SIGNAL_HUB_DOTENV=str(tmp_path / ".env"), CORE_AUTH_SECRET="real")
    assert (loaded.auth_secret, loaded.django_secret_key) == ("real", "of the file")


def test_a_dotenv_that_cannot_be_read_is_refused_in_one_line(refusal, tmp_path):
    (tmp_path / ".env").write_bytes(b"CORE_AUTH_SECRET=\xff\n")
    assert refusal(SIGNAL_HUB_DOTENV=str(tmp_path / ".env")).startswith(f"{tmp_path}/.env cannot be read")


def test_what_is_loaded_does_not_show_its_secrets(load):
    given = {name: text for name, (_, text) in SECRETS_AND_URLS.items()}
    shown = repr(load(CORE_API_KEYS="id:hunter2", **given))
    assert "stream_prefix='core_signals'" in shown
    assert not [text for text in ["hunter2", *given.values()] if text in shown]


def test_agents_read_it_without_django():
    program = "import sys, ecosystems.env; ecosystems.env.load(); print(sorted(sys.modules))"
    printed = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PROJECT,
        env=os.environ,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    loaded = ast.literal_eval(printed)
    assert "ecosystems.env" in loaded
    assert not [name for name in loaded if name.split(".")[0] == "django"]


@pytest.mark.parametrize("character", "@#/?%")
def test_a_password_that_is_not_encoded_gets_an_error_that_says_how_to(refusal, character):
    shown = refusal(CORE_DB_URL=f"postgres://u:hunter{character}2@db:5432/x")
    assert "percent-encode the password: %40 for @" in shown
    assert "hunter" not in shown

"""The environment of the hub and of its agents, as one table of variables.

A field of `Environment` is a row of the table: `load` fills it from the environment, `config.variable_docs`
writes `docs/configuration.md` and `.env.example` from it. Imports no Django, so that agents can use it.
"""

import logging
import os
from dataclasses import dataclass, fields
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Literal

from dotenv import load_dotenv

from ecosystems import ROOT
from ecosystems.env_formats import (
    API_KEYS,
    BASE_URL,
    DATABASE_URL,
    DELAY,
    ED25519_KEYS,
    EMAIL_URL,
    FEES,
    FOLDER,
    HTTP_URL,
    HTTP_URLS,
    NAMES,
    NETWORKS,
    ON_OFF,
    PATH,
    POSITIVE,
    RATE,
    REDIS_URL,
    SECRET,
    SEVERAL,
    TEXT,
    TOKEN,
    Network,
    days,
    host_name,
    one_of,
    parse_network,
)
from ecosystems.env_variable import HIDDEN, InvalidEnvironment, Section, Variable

__all__ = [
    "HIDDEN",
    "VARIABLES",
    "Environment",
    "InvalidEnvironment",
    "Network",
    "Variable",
    "host_name",
    "load",
    "parse_network",
]

Backend = Literal["memory", "redis", "webhook"]

_REQUIRED = Section("Required by the hub")
_ADDRESS = Section("The address of the hub")
_DATABASES = Section("Databases", readers="both")
_BUS = Section("Event bus and Redis", readers="both")
_WEBHOOK = Section("Webhook", readers="both")
_SENDERS = Section("Limits of senders")
_RETENTION = Section("Retention")
_LOG = Section("Transparency log")
_ALERTS = Section("Alerts")
_EMAIL = Section("E-mail")
_SALES = Section("Selling the feed")
_RECORD = Section("Track record")
_MARKETS = Section("Market data", readers="agents")

logger = logging.getLogger("signal_hub.bus")


@dataclass(frozen=True, eq=False)
class Environment:
    """The value of every variable; compared by identity."""

    # Each row: name, format, meaning, example, options. The layout keeps rows short and alike.
    # fmt: off
    core_db_url: str | None = _REQUIRED.variable("CORE_DB_URL", DATABASE_URL,
        "The shared Postgres, 13 or later, with the ledger and all tables of the hub; options such as "
        "`?sslmode=verify-full` pass through to libpq. On agents: where they insert their signals",
        "postgres://hub:password@db.example.com:5432/signal_hub?sslmode=verify-full", readers="both")
    auth_secret: str | None = _REQUIRED.variable("CORE_AUTH_SECRET", TEXT,
        "Salts the hashes of API keys; signing secrets and the key for stored addresses derive from it. At "
        "least 8 characters",
        "a-long-random-text", secret=True)
    django_secret_key: str | None = _REQUIRED.variable("DJANGO_SECRET_KEY", TEXT,
        "Signs sessions and forms; not required with `DJANGO_DEBUG`", "another-long-random-text", secret=True)

    signal_endpoint: str | None = _ADDRESS.variable("AGG_SIGNAL_ENDPOINT", HTTP_URL,
        "The hub's public URL for signals (`http://` for a trial). The hub allows its host, shows it in "
        "the dashboard and probes it; agents use it as their target",
        "https://hub.example.com/api/signals", readers="both")
    django_allowed_hosts: tuple[str, ...] = _ADDRESS.variable("DJANGO_ALLOWED_HOSTS", NAMES,
        "Host names that the hub answers to, beside that of `AGG_SIGNAL_ENDPOINT` and loopback",
        "hub.example.com,hub.internal")
    trusted_proxies: tuple[Network, ...] = _ADDRESS.variable("CORE_TRUSTED_PROXIES", NETWORKS,
        "Proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed", "127.0.0.1,10.0.0.0/8")
    django_debug: bool = _ADDRESS.variable("DJANGO_DEBUG", ON_OFF,
        "Shows errors in the browser; never on a server", "off", default="off")

    db_connections: int = _DATABASES.variable("CORE_DB_CONNECTIONS", SEVERAL,
        "The most connections that each process of web and worker opens to a database; the receiver and the "
        "stream open 2", "10", default="5", readers="hub")
    crypto_db_url: str | None = _DATABASES.variable("CORE_CRYPTO_DB_URL", DATABASE_URL,
        "A database for the signals of crypto agents alone",
        "postgres://hub:password@crypto-db.example.com:5432/signals", default_note="`CORE_DB_URL`")
    forex_db_url: str | None = _DATABASES.variable("CORE_FOREX_DB_URL", DATABASE_URL,
        "The same for forex",
        "postgres://hub:password@forex-db.example.com:5432/signals", default_note="`CORE_DB_URL`")
    stock_db_url: str | None = _DATABASES.variable("CORE_STOCK_DB_URL", DATABASE_URL,
        "The same for stock",
        "postgres://hub:password@stock-db.example.com:5432/signals", default_note="`CORE_DB_URL`")

    event_bus_backend: Backend = _BUS.variable(  # noqa: RUF009 - it returns a field
        "CORE_EVENT_BUS_BACKEND", one_of("memory", "redis", "webhook"),
        "How agents publish, beside a database that is set", "redis", default="memory")
    redis_url: str | None = _BUS.variable("CORE_REDIS_URL", REDIS_URL,
        "Redis 6.2 or later, or Valkey: streams, Celery's broker, shared rate limits, the cache. Sentinels "
        "are `redis+sentinel://host:port,host:port/service`",
        "rediss://hub:password@redis.example.com:6380/0")
    stream_prefix: str = _BUS.variable("CORE_EVENT_STREAM_PREFIX", TOKEN,
        "Streams are named `<prefix>:<topic>`", "core_signals", default="core_signals")
    stream_topics: tuple[str, ...] = _BUS.variable("CORE_EVENT_STREAM_TOPICS", NAMES,
        "The topics that the hub consumes", "signals", default="signals")
    stream_maxlen: int = _BUS.variable("CORE_EVENT_STREAM_MAXLEN", POSITIVE,
        "About how many entries a publisher leaves in a stream",
        "1000000", default="1000000", readers="agents")
    stream_max_bytes: int = _BUS.variable("CORE_STREAM_MAX_BYTES", POSITIVE,
        "A larger stream entry becomes a dead letter, of which the first 64 KiB are kept",
        "1048576", default="1048576", readers="hub")

    event_webhook_url: str | None = _WEBHOOK.variable("CORE_EVENT_WEBHOOK_URL", HTTP_URL,
        "Where agents POST their signals",
        "https://hub.example.com/api/signals", default_note="`AGG_SIGNAL_ENDPOINT`", readers="agents")
    event_webhook_secret: str | None = _WEBHOOK.variable("CORE_EVENT_WEBHOOK_SECRET", SECRET,
        "The shared HMAC secret. The UTF-8 bytes of any other text are the key",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", secret=True)
    api_keys: tuple[tuple[str, str], ...] = _WEBHOOK.variable("CORE_API_KEYS", API_KEYS,
        "API keys beside those made in the admin, each value of at least 4 characters; an agent sends the "
        "value of the first one",
        "crypto-agent:a-long-random-value|forex-agent:another-long-random-value", secret=True)
    webhook_require_key: bool = _WEBHOOK.variable("CORE_WEBHOOK_REQUIRE_KEY", ON_OFF,
        "Whether a request needs a valid API key beside its signature",
        "on", default_note="on when `CORE_API_KEYS` is set", readers="hub")
    webhook_allow_legacy: bool = _WEBHOOK.variable("CORE_WEBHOOK_ALLOW_LEGACY", ON_OFF,
        "Whether `X-Signature`, which has no timestamp, is accepted", "on", default="on", readers="hub")
    webhook_max_bytes: int = _WEBHOOK.variable("CORE_WEBHOOK_MAX_BYTES", POSITIVE,
        "Maximum size of a request's body", "1048576", default="1048576")
    webhook_max_signals: int = _WEBHOOK.variable("CORE_WEBHOOK_MAX_SIGNALS", POSITIVE,
        "Maximum number of signals in a request", "1000", default="1000")
    webhook_rate: str | None = _WEBHOOK.variable("CORE_WEBHOOK_RATE", RATE,
        "Requests that a sender may make; a sender is its key, else its address. The period is "
        "`second`, `minute`, `hour` or `day`",
        "600/minute", default_note="unlimited", readers="hub")
    webhook_failed_rate: str = _WEBHOOK.variable("CORE_WEBHOOK_FAILED_RATE", RATE,
        "Failed authentications that an address may make, here and on the customers' API",
        "300/minute", default="300/minute", readers="hub")

    sender_new_names: int = _SENDERS.variable("CORE_SENDER_NEW_NAMES", POSITIVE,
        "New agents and symbols that a sender may bring in an hour. Signals beyond are recorded all the "
        "same, and counted under `(other)`", "5000", default="1000")
    sender_dead_letter_bytes: int = _SENDERS.variable("CORE_SENDER_DEAD_LETTER_BYTES", POSITIVE,
        "Bytes of dead letters that a sender may fill in a day; what comes beyond keeps its reason, length "
        "and hash only",
        "104857600", default="104857600")

    keep_arrival_minutes: int | None = _RETENTION.variable(  # cadences look back 30 days
        "CORE_KEEP_ARRIVAL_MINUTES", days(31, forever=True),
        "Rows of `arrival_minutes`, from which cadences are learned", "60", default="35")
    keep_arrival_hours: int | None = _RETENTION.variable(  # the usual rate looks back 7 days
        "CORE_KEEP_ARRIVAL_HOURS", days(8, forever=True),
        "Rows of `arrival_hours`, from which the usual rate is computed", "forever", default="400")
    keep_resolved_dead_letters: int | None = _RETENTION.variable(
        "CORE_KEEP_RESOLVED_DEAD_LETTERS", days(1, forever=True),
        "Rows of `dead_letters`, counted from when they were resolved", "30", default="90")
    keep_dead_letters: int | None = _RETENTION.variable(
        "CORE_KEEP_DEAD_LETTERS", days(1, forever=True),
        "Unresolved rows of `dead_letters`, counted from when they came last",
        "forever", default="365")
    keep_candles: int | None = _RETENTION.variable("CORE_KEEP_CANDLES", days(60, forever=True),
        "Rows of `candles` that no open call needs; earlier calls are not scored again",
        "400", default="forever")
    keep_sightings: int | None = _RETENTION.variable("CORE_KEEP_SIGHTINGS", days(1, forever=True),
        "Rows of `sightings`: how often and over which transport a signal came again, counted from then",
        "365", default="90")
    keep_agents: int | None = _RETENTION.variable("CORE_KEEP_AGENTS", days(31, forever=True),
        "Rows of `agents` and `symbol_aliases`, counted from when they were last seen; not those that an "
        "operator has set, published or mapped", "365", default="90")

    log_dir: Path = _LOG.variable("CORE_LOG_DIR", PATH,  # noqa: RUF009
        "Where the log keeps its signing key and a copy of the last checkpoint, outside Postgres; for its "
        "owner alone (mode 700)", "/var/lib/signal-hub/log", default=".data/log")
    log_signing_key: str | None = _LOG.variable("CORE_LOG_SIGNING_KEY", ED25519_KEYS,
        "The log's signing key, in place of the one in `CORE_LOG_DIR`; `\\n` may stand for the end of a line",
        r"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n"
        "-----END PRIVATE KEY-----", secret=True)
    log_tsa_urls: tuple[str, ...] = _LOG.variable("CORE_LOG_TSA_URLS", HTTP_URLS,
        "Time-stamping authorities (RFC 3161) that are asked each hour for a timestamp of the checkpoint",
        "https://tsa.example.com/rfc3161")

    alert_networks: tuple[Network, ...] = _ALERTS.variable("CORE_ALERT_NETWORKS", NETWORKS,
        "Networks that are not public in which alert channels are allowed all the same", "10.20.0.0/16")

    email_url: str | None = _EMAIL.variable("EMAIL_URL", EMAIL_URL,
        "Server for the hub's e-mail to customers, as `scheme://user:password@host:port`: `smtp+tls` is "
        "STARTTLS, `submission` STARTTLS on port 587. Alerts have channels of their own",
        "submission://hub%40example.com:password@smtp.example.com", default_note="none: nothing is sent")
    email_from: str = _EMAIL.variable("EMAIL_FROM", TEXT,
        "The sender of that e-mail", "Signal Hub <hub@example.com>", default="signal-hub@localhost")

    delivery_networks: tuple[Network, ...] = _SALES.variable("CORE_DELIVERY_NETWORKS", NETWORKS,
        "Networks that are not public in which customers' endpoints are allowed all the same", "10.20.0.0/16")
    delivery_days: int = _SALES.variable("CORE_DELIVERY_DAYS", days(1, most=9999),
        "How long messages to endpoints are kept, with their attempts", "30", default="30")
    templates_dir: Path | None = _SALES.variable("CORE_TEMPLATES_DIR", FOLDER,  # noqa: RUF009
        "Templates that replace the hub's own of the same path: texts of chats, mails and customers' pages",
        "/etc/signal-hub/templates")
    stripe_api_key: str | None = _SALES.variable("STRIPE_API_KEY", TOKEN,
        "Key of Stripe's API", "sk_test_key", default_note="none: no payments", secret=True)
    stripe_webhook_secret: str | None = _SALES.variable("STRIPE_WEBHOOK_SECRET", TOKEN,
        "Signing secret of the webhook that Stripe calls", "whsec_from_stripe", secret=True)
    stripe_api_base: str | None = _SALES.variable("STRIPE_API_BASE", BASE_URL,
        "Replaces Stripe's own address, for tests", "https://api.stripe.com")

    fee_bps: tuple[tuple[str, Decimal], ...] = _RECORD.variable("CORE_FEE_BPS", FEES,
        "Fees of each side in hundredths of a percent, for calls that are recorded from then on",
        "crypto=10,forex=1,stock=2", default="crypto=10,forex=1,stock=2")
    record_delay: timedelta = _RECORD.variable("CORE_RECORD_DELAY", DELAY,  # noqa: RUF009
        "How long the public record hides calls that are still open", "15m", default="0")

    ccxt_exchange: str = _MARKETS.variable("CCXT_EXCHANGE", TOKEN,
        "The exchange of crypto agents, by its name in ccxt", "binance", default="binance")
    ccxt_url: str | None = _MARKETS.variable("CCXT_URL", BASE_URL,
        "Replaces the exchange's own address", "https://ccxt-proxy.example.com")
    oanda_token: str | None = _MARKETS.variable("OANDA_TOKEN", TOKEN,
        "Token of OANDA's v20 API", "token", secret=True)
    oanda_environment: Literal["practice", "live"] = _MARKETS.variable(
        "OANDA_ENVIRONMENT", one_of("practice", "live"),
        "The kind of OANDA account", "practice", default="practice")
    oanda_url: str | None = _MARKETS.variable("OANDA_URL", BASE_URL,
        "Replaces OANDA's own address", "https://oanda-proxy.example.com")
    alpaca_api_key: str | None = _MARKETS.variable("ALPACA_API_KEY", TOKEN,
        "Key of Alpaca's API", "key", secret=True)
    alpaca_secret_key: str | None = _MARKETS.variable("ALPACA_SECRET_KEY", TOKEN,
        "The key's secret", "secret", secret=True)
    alpaca_environment: Literal["paper", "live"] = _MARKETS.variable(
        "ALPACA_ENVIRONMENT", one_of("paper", "live"),
        "The kind of Alpaca account", "paper", default="paper")
    alpaca_data_feed: Literal["iex", "sip", "delayed_sip"] = _MARKETS.variable(
        "ALPACA_DATA_FEED", one_of("iex", "sip", "delayed_sip"),
        "Alpaca's data feed", "iex", default="iex")
    alpaca_data_url: str | None = _MARKETS.variable("ALPACA_DATA_URL", BASE_URL,
        "Replaces Alpaca's own address for data", "https://alpaca-data-proxy.example.com")
    alpaca_trading_url: str | None = _MARKETS.variable("ALPACA_TRADING_URL", BASE_URL,
        "Replaces Alpaca's own address for trading", "https://alpaca-trading-proxy.example.com")
    # fmt: on

    @property
    def ecosystem_db_urls(self) -> dict[str, str]:
        """The databases of ecosystems that have one of their own."""
        urls = {"crypto": self.crypto_db_url, "forex": self.forex_db_url, "stock": self.stock_db_url}
        return {ecosystem: url for ecosystem, url in urls.items() if url}

    @property
    def keep_days(self) -> dict[str, int | None]:
        """For how many days rows of a table are kept, by its name; None for ever."""
        return {
            "arrival_minutes": self.keep_arrival_minutes,
            "arrival_hours": self.keep_arrival_hours,
            "dead_letters": self.keep_resolved_dead_letters,
            "unresolved_dead_letters": self.keep_dead_letters,
            "sightings": self.keep_sightings,
            "candles": self.keep_candles,
            "agents": self.keep_agents,
            "symbol_aliases": self.keep_agents,
        }

    def database_url(self, ecosystem: str) -> str | None:
        """Return where rows of `ecosystem` go: its own database, else the core one, else None."""
        return self.ecosystem_db_urls.get(ecosystem, self.core_db_url)

    def bus_backend(self) -> tuple[Backend, str | None]:
        """Return the bus's backend by the fallback order, and a warning if another one was asked for."""
        needed = {
            "memory": {},
            "redis": {"CORE_REDIS_URL": self.redis_url},
            "webhook": {
                "CORE_EVENT_WEBHOOK_URL (or AGG_SIGNAL_ENDPOINT)": self.event_webhook_url,
                "CORE_EVENT_WEBHOOK_SECRET": self.event_webhook_secret,
            },
        }[self.event_bus_backend]
        if missing := [name for name, value in needed.items() if not value]:
            return "memory", (
                f"EventBus: CORE_EVENT_BUS_BACKEND asks for {self.event_bus_backend}, "
                f"but {' and '.join(missing)} is not set; using memory instead"
            )
        return self.event_bus_backend, None

    def announce_bus(self) -> Backend:
        """Log the bus's backend, with one warning where it fell back; return its name."""
        backend, warning = self.bus_backend()
        if warning:
            logger.warning(warning)
        logger.info("EventBus backend=%s", backend)
        return backend

    def require_hub(self) -> None:
        """Raise InvalidEnvironment unless every variable that the hub requires is set."""
        if not self.core_db_url:
            raise InvalidEnvironment(
                "CORE_DB_URL is not set: it may hold postgres://user:password@host:5432/name; "
                "`make run` starts an embedded Postgres and sets it"
            )
        if not self.auth_secret:
            raise InvalidEnvironment(f"CORE_AUTH_SECRET is not set: it may hold {RANDOM_TEXT}")
        if len(self.auth_secret) < MIN_SECRET_LENGTH:
            raise InvalidEnvironment(
                f"CORE_AUTH_SECRET is too short: it may hold {MIN_SECRET_LENGTH} characters or more, "
                f"{RANDOM_TEXT}"
            )
        values = [value for _, value in self.api_keys]
        if any(len(value) < MIN_KEY_LENGTH for value in values):
            raise InvalidEnvironment(
                "CORE_API_KEYS has a value that is too short: each may hold "
                f"{MIN_KEY_LENGTH} characters or more, {RANDOM_TEXT}"
            )
        if len(set(values)) < len(values):
            raise InvalidEnvironment("CORE_API_KEYS has one value for two ids: each id may hold its own")
        if not self.django_secret_key and not self.django_debug:
            raise InvalidEnvironment(
                f"DJANGO_SECRET_KEY is not set: it may hold {RANDOM_TEXT} (DJANGO_DEBUG=1 does without)"
            )


RANDOM_TEXT = "a long random text, such as `openssl rand -base64 32` makes"
MIN_SECRET_LENGTH, MIN_KEY_LENGTH = 8, 4
"""In characters. Keys that agents have already may be short; what this stops is a placeholder."""

VARIABLES: dict[str, Variable] = {field.name: field.metadata["variable"] for field in fields(Environment)}
"""The table, by the names of the fields."""


def load() -> Environment:
    """Read the environment, and a `.env` file for what it leaves out.

    That is the one in ROOT, or the one that `SIGNAL_HUB_DOTENV` names, or none if that is `off`. Raises
    InvalidEnvironment with one line that names the variable, what it holds and what it may hold.
    """
    _load_dotenv(os.environ.get("SIGNAL_HUB_DOTENV") or str(ROOT / ".env"))
    values = {name: variable.read() for name, variable in VARIABLES.items()}
    if values["event_webhook_url"] is None:
        values["event_webhook_url"] = values["signal_endpoint"]
    if values["webhook_require_key"] is None:
        values["webhook_require_key"] = bool(values["api_keys"])
    return Environment(**values)


def _load_dotenv(path: str) -> None:
    try:
        if path != "off" and Path(path).is_file():
            real = set(os.environ)
            load_dotenv(path, encoding="utf-8-sig")
            # A NAME_FILE wins over NAME, but one of the file not over a NAME of the real environment.
            for name in set(os.environ) - real:
                if name.removesuffix("_FILE") in real:
                    del os.environ[name]
    except (ValueError, OSError) as error:
        raise InvalidEnvironment(
            f"{path} cannot be read: it may hold lines of NAME=value in UTF-8"
        ) from error

"""The typed environment: the one place that reads variables, for the hub and for agents alike.

Imports no Django, so that an agent may use it. Every variable is also accepted as `NAME_FILE`, the path of
a file that holds the value (the convention of Docker secrets and systemd credentials); the file wins.
An empty value counts as not set. A `.env` beside `manage.py` is read first and never overrides the real
environment; `SIGNAL_HUB_DOTENV` names another file, or `off`.
"""

import base64
import ipaddress
import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import unquote, urlsplit

from dotenv import load_dotenv
from environs import FileAwareEnv

T = TypeVar("T")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Backend = Literal["memory", "redis", "webhook"]

ROOT = Path(__file__).resolve().parent.parent
HIDDEN = "****"
EMAIL_SCHEMES = {"smtp", "smtp+tls", "smtp+ssl", "submission", "console"}
"""What `dj_email_url` reads: plain SMTP, STARTTLS, TLS, STARTTLS on port 587, and the log."""

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
"""libpq's (https://www.postgresql.org/docs/current/libpq-ssl.html)."""

logger = logging.getLogger("signal_hub.bus")


class InvalidEnvironment(Exception):
    """A variable is missing or holds what it may not; the text is one line made for an operator."""


@dataclass(frozen=True, eq=False)
class Environment:
    """What the environment says; compared by identity. Secrets and URLs stay out of `repr`."""

    core_db_url: str | None = field(repr=False)
    ecosystem_db_urls: dict[str, str] = field(repr=False)
    """Only the ecosystems that have a database of their own."""
    event_bus_backend: Backend
    redis_url: str | None = field(repr=False)
    event_webhook_url: str | None = field(repr=False)
    event_webhook_secret: str | None = field(repr=False)
    api_keys: tuple[tuple[str, str], ...] = field(repr=False)
    """Pairs of (id, value)."""
    auth_secret: str | None = field(repr=False)
    signal_endpoint: str | None = field(repr=False)
    stream_prefix: str
    stream_topics: tuple[str, ...]
    stream_maxlen: int
    webhook_require_key: bool
    webhook_allow_legacy: bool
    webhook_max_bytes: int
    webhook_max_signals: int
    webhook_rate: str | None
    webhook_failed_rate: str
    trusted_proxies: tuple[Network, ...]
    django_secret_key: str | None = field(repr=False)
    django_debug: bool
    django_allowed_hosts: tuple[str, ...]
    keep_days: dict[str, int | None]
    """For how many days rows of a table are kept, by its name; None for ever."""
    delivery_networks: tuple[Network, ...]
    """Networks that are not public where customers' endpoints may be all the same."""
    delivery_days: int
    """How long deliveries and their attempts are kept."""
    templates_dir: Path | None
    """What is in it replaces the hub's own templates of the same path."""
    stripe_api_key: str | None = field(repr=False)
    stripe_webhook_secret: str | None = field(repr=False)
    stripe_api_base: str | None = field(repr=False)
    email_url: str | None = field(repr=False)
    email_from: str

    def database_url(self, ecosystem: str) -> str | None:
        """Where rows of `ecosystem` go: its own database, else the core one, else nowhere."""
        return self.ecosystem_db_urls.get(ecosystem, self.core_db_url)

    def bus_backend(self) -> tuple[Backend, str | None]:
        """Return the bus's backend by the fallback order, and a warning if that is not what was asked for."""
        asked = self.event_bus_backend
        if asked == "redis" and not self.redis_url:
            return "memory", fallback_warning(asked, "CORE_REDIS_URL")
        if asked == "webhook":
            missing = [
                name
                for name, value in (
                    ("CORE_EVENT_WEBHOOK_URL (or AGG_SIGNAL_ENDPOINT)", self.event_webhook_url),
                    ("CORE_EVENT_WEBHOOK_SECRET", self.event_webhook_secret),
                )
                if not value
            ]
            if missing:
                return "memory", fallback_warning(asked, " and ".join(missing))
        return asked, None

    def announce_bus(self) -> Backend:
        """Log the bus's backend, with one warning where it fell back; return its name."""
        backend, warning = self.bus_backend()
        if warning:
            logger.warning(warning)
        logger.info("EventBus backend=%s", backend)
        return backend

    def require_hub(self) -> None:
        """Raise InvalidEnvironment unless everything is there that the hub cannot do without."""
        if not self.core_db_url:
            raise InvalidEnvironment(
                "CORE_DB_URL is not set: it may hold postgres://user:password@host:5432/name; "
                "`make run` starts an embedded Postgres and sets it"
            )
        if not self.auth_secret:
            raise InvalidEnvironment("CORE_AUTH_SECRET is not set: it may hold any long random text")
        if not self.django_secret_key and not self.django_debug:
            raise InvalidEnvironment(
                "DJANGO_SECRET_KEY is not set: it may hold any long random text (DJANGO_DEBUG=1 does without)"
            )


def fallback_warning(asked: str, missing: str) -> str:
    return (
        f"EventBus: CORE_EVENT_BUS_BACKEND asks for {asked}, but {missing} is not set; using memory instead"
    )


def load() -> Environment:
    """Read the environment.

    Raises InvalidEnvironment with one line that names the variable, what it holds and what it may hold.
    """
    _load_dotenv(os.environ.get("SIGNAL_HUB_DOTENV") or str(ROOT / ".env"))
    api_keys: tuple[tuple[str, str], ...] = read(
        "CORE_API_KEYS", _api_keys, "id:value|id:value", (), secret=True
    )
    endpoint = read("AGG_SIGNAL_ENDPOINT", http_url, "an http:// or https:// URL", None, secret=True)
    return Environment(
        core_db_url=_database_url("CORE_DB_URL"),
        ecosystem_db_urls={
            name: url
            for name in ("crypto", "forex", "stock")
            if (url := _database_url(f"CORE_{name.upper()}_DB_URL"))
        },
        event_bus_backend=read("CORE_EVENT_BUS_BACKEND", _backend, "memory, redis or webhook", "memory"),
        redis_url=read(
            "CORE_REDIS_URL", _redis_url, "a redis://, rediss:// or unix:// URL", None, secret=True
        ),
        event_webhook_url=read(
            "CORE_EVENT_WEBHOOK_URL", http_url, "an http:// or https:// URL", endpoint, secret=True
        ),
        event_webhook_secret=read(
            "CORE_EVENT_WEBHOOK_SECRET", _secret, "whsec_<base64>, or any other text", None, secret=True
        ),
        api_keys=api_keys,
        auth_secret=read("CORE_AUTH_SECRET", str, "any text", None, secret=True),
        signal_endpoint=endpoint,
        stream_prefix=read(
            "CORE_EVENT_STREAM_PREFIX", name_text, "printable ASCII without spaces", "core_signals"
        ),
        stream_topics=read("CORE_EVENT_STREAM_TOPICS", _names, "a comma list of topic names", ("signals",)),
        stream_maxlen=read("CORE_EVENT_STREAM_MAXLEN", _positive, "a whole number above 0", 1_000_000),
        webhook_require_key=read("CORE_WEBHOOK_REQUIRE_KEY", _boolean, "on or off", bool(api_keys)),
        webhook_allow_legacy=read("CORE_WEBHOOK_ALLOW_LEGACY", _boolean, "on or off", True),
        webhook_max_bytes=read("CORE_WEBHOOK_MAX_BYTES", _positive, "a whole number above 0", 1_048_576),
        webhook_max_signals=read("CORE_WEBHOOK_MAX_SIGNALS", _positive, "a whole number above 0", 1000),
        webhook_rate=read("CORE_WEBHOOK_RATE", _rate, "a rate such as 600/minute", None),
        webhook_failed_rate=read(
            "CORE_WEBHOOK_FAILED_RATE", _rate, "a rate such as 300/minute", "300/minute"
        ),
        trusted_proxies=read(
            "CORE_TRUSTED_PROXIES", _networks, "a comma list of addresses or CIDR blocks", ()
        ),
        django_secret_key=read("DJANGO_SECRET_KEY", str, "any text", None, secret=True),
        django_debug=read("DJANGO_DEBUG", _boolean, "on or off", False),
        django_allowed_hosts=read("DJANGO_ALLOWED_HOSTS", _names, "a comma list of host names", ()),
        keep_days={
            "arrival_minutes": _keep_days("CORE_KEEP_ARRIVAL_MINUTES", 35, least=31),  # cadences: 30 days
            "arrival_hours": _keep_days("CORE_KEEP_ARRIVAL_HOURS", 400, least=8),  # the usual rate: 7 days
            "dead_letters": _keep_days("CORE_KEEP_RESOLVED_DEAD_LETTERS", 90, least=1),
            "sightings": _keep_days("CORE_KEEP_SIGHTINGS", None, least=1),
        },
        delivery_networks=read(
            "CORE_DELIVERY_NETWORKS", _networks, "a comma list of addresses or CIDR blocks", ()
        ),
        delivery_days=read("CORE_DELIVERY_DAYS", _days, "a number of days from 1 to 9999", 30),
        templates_dir=read("CORE_TEMPLATES_DIR", _folder, "the absolute path of a folder", None),
        stripe_api_key=read("STRIPE_API_KEY", name_text, "a key of Stripe's API", None, secret=True),
        stripe_webhook_secret=read(
            "STRIPE_WEBHOOK_SECRET", name_text, "the signing secret of a Stripe webhook", None, secret=True
        ),
        stripe_api_base=read("STRIPE_API_BASE", http_url, "an http:// or https:// URL", None, secret=True),
        email_url=read(
            "EMAIL_URL",
            _email_url,
            "an smtp://, smtp+tls://, smtp+ssl://, submission:// or console: URL",
            None,
            secret=True,
        ),
        email_from=read("EMAIL_FROM", str, "the sender of the hub's e-mail", "signal-hub@localhost"),
    )


def _load_dotenv(path: str) -> None:
    try:
        if path != "off" and Path(path).is_file():
            real = set(os.environ)
            load_dotenv(path)
            # A NAME_FILE wins over NAME, but one of the file not over a NAME of the real environment.
            for name in set(os.environ) - real:
                if name.removesuffix("_FILE") in real:
                    del os.environ[name]
    except (ValueError, OSError) as error:
        raise InvalidEnvironment(
            f"{path} cannot be read: it may hold lines of NAME=value in UTF-8"
        ) from error


def read(name: str, parse: Callable[[str], T], may_hold: str, default: T, *, secret: bool = False) -> T:
    try:
        text = FileAwareEnv(strip_whitespace=True).str(name, "").strip()
    except (ValueError, OSError) as error:
        path = os.environ.get(f"{name}_FILE")
        raise InvalidEnvironment(
            f"{name}_FILE holds {path!r}: it may hold the path of a readable text file"
        ) from error
    if not text:
        return default
    try:
        return parse(_utf8(text))
    except ValueError as error:
        holds = masked(text) if secret else repr(text)
        # `from None`: a chained error would carry the unmasked value into a traceback.
        raise InvalidEnvironment(f"{name} holds {holds}: it may hold {may_hold}{_reason(error)}") from None


def _utf8(text: str) -> str:
    """Python lets other bytes of the environment through as lone surrogates, which no use of it survives."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("why: it is not UTF-8") from None
    return text


def _reason(error: ValueError) -> str:
    """Parsers explain themselves with a `why:` text; other errors' words may quote the value."""
    text = str(error)
    return f" ({text.removeprefix('why: ')})" if text.startswith("why: ") else ""


def masked(text: str) -> str:
    """Show a URL's scheme and host alone, and nothing at all of any other secret."""
    match = re.match(
        r"([a-z][a-z0-9+.-]*)://(?:[^@/?#]*@)?((?:[\w.-]+|\[[0-9a-f:.]+\])(?::[0-9]+)?)(?=[/?#]|$)",
        text,
        re.ASCII,
    )
    # An @ further on: what looks like the host may be the start of a password with a / in it.
    return f"{match[1]}://{HIDDEN}@{match[2]}" if match and "@" not in text[match.end() :] else HIDDEN


def _database_url(name: str) -> str | None:
    def parse(text: str) -> str:
        url = _url(text, {"postgres", "postgresql"}, host=False)
        _check_with_libpq(url)
        return url

    return read(name, parse, "a postgres:// URL", None, secret=True)


def _check_with_libpq(url: str) -> None:
    """Raise ValueError for what libpq says at the first connection, where it would look like an outage."""
    # Imported late, as Redis's client: an agent needs neither for what it does not use.
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        options = conninfo_to_dict(url)
    except psycopg.ProgrammingError:  # whose text may quote a password
        raise ValueError("why: libpq does not understand it, or does not know one of its options") from None
    if options.get("sslmode", "prefer") not in SSL_MODES:
        raise ValueError(f"why: sslmode is {', '.join(SSL_MODES[:-1])} or {SSL_MODES[-1]}")


def _redis_url(text: str) -> str:
    of_socket = text.startswith("unix:")
    url = _url(text, {"redis", "rediss", "unix"}, host=not of_socket)
    path = urlsplit(url).path.strip("/")
    if of_socket and not path:
        raise ValueError("why: it has no path")
    if not of_socket and path and not re.fullmatch(r"[0-9]+", path):
        raise ValueError("why: the path is the number of a database")
    _check_with_redis(url)
    return url


def _check_with_redis(url: str) -> None:
    """Raise ValueError for options that Redis's client stumbles over when it is to connect."""
    import redis

    try:
        redis.ConnectionPool.from_url(url).make_connection()  # makes the object and connects nowhere
    except (TypeError, ValueError, redis.RedisError):  # whose texts quote the options
        raise ValueError("why: redis-py does not know one of its options, or not that value") from None


def http_url(text: str) -> str:
    url = _url(text, {"http", "https"}, host=True)
    host_name(urlsplit(url).hostname or "")
    return url


def host_name(host: str) -> str:
    """Return a URL's host as clients write it into a Host header. Raises ValueError for what is none."""
    if ":" in host:
        return f"[{host}]"
    return host.rstrip(".").encode("idna").decode()


def _email_url(text: str) -> str:
    return _url(text, EMAIL_SCHEMES, host=not text.startswith("console:"))


def _url(text: str, schemes: set[str], *, host: bool) -> str:
    if re.search(r"[\x00-\x20\x7f]", text):
        raise ValueError("why: it has a space or a control character")
    parts = urlsplit(text)
    if parts.scheme not in schemes or (parts.scheme != "console" and "://" not in text):
        raise ValueError
    if host and not parts.hostname:
        raise ValueError("why: it has no host")
    _ = parts.port  # raises ValueError when it is no port number
    unquote(parts.path, errors="strict")
    return text


def _secret(text: str) -> str:
    if text.startswith("whsec_"):
        encoded = text.removeprefix("whsec_")
        if not base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True):
            raise ValueError
    return text


def _api_keys(text: str) -> tuple[tuple[str, str], ...]:
    pairs = []
    for part in filter(None, (piece.strip() for piece in text.split("|"))):
        key_id, colon, value = part.partition(":")
        if not colon or not re.fullmatch(r"[!-~]{1,64}", key_id) or not re.fullmatch(r"[!-~]+", value):
            raise ValueError("why: each key is id:value in printable ASCII without spaces")
        pairs.append((key_id, value))
    if not pairs:  # no key at all would leave the webhook open to senders without one
        raise ValueError("why: it has no key")
    return tuple(pairs)


def _backend(text: str) -> Backend:
    match text.lower():
        case "memory" | "redis" | "webhook" as name:
            return name
    raise ValueError


def _boolean(text: str) -> bool:
    if text.lower() in {"1", "on", "true", "yes"}:
        return True
    if text.lower() in {"0", "off", "false", "no"}:
        return False
    raise ValueError


def _positive(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text) or int(text) == 0:
        raise ValueError
    return int(text)


def _keep_days(name: str, default: int | None, least: int) -> int | None:
    def parse(text: str) -> int | None:
        if text.lower() == "forever":
            return None
        # Below what still is read; and what a date can be reckoned back.
        if not least <= _positive(text) <= 36_500:
            raise ValueError
        return int(text)

    return read(name, parse, f"a number of days from {least} on, or forever", default)


def _days(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,3}", text):
        raise ValueError
    return int(text)


def _folder(text: str) -> Path:
    if not Path(text).is_absolute():
        raise ValueError
    return Path(text)


def _rate(text: str) -> str:
    if not re.fullmatch(r"[1-9][0-9]{0,8}/(second|minute|hour|day)", text):
        raise ValueError("why: the period is second, minute, hour or day")
    return text


def name_text(text: str) -> str:
    if not re.fullmatch(r"[!-~]+", text):
        raise ValueError
    return text


def _names(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(filter(None, (piece.strip() for piece in text.split(",")))))
    if not names:
        raise ValueError
    return tuple(name_text(name) for name in names)


def _networks(text: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(name, strict=False) for name in _names(text))

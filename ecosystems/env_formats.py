"""Formats of variables: each says what a variable may hold and turns its text into a value."""

import base64
import ipaddress
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ecosystems import ECOSYSTEMS
from ecosystems.market.candles import TIMEFRAME_UNITS
from ecosystems.signing import key_of

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

CHOICES = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
}
"""What options of libpq may hold (https://www.postgresql.org/docs/current/libpq-connect.html)."""


class Reason(ValueError):
    """A value is refused for a reason that may be shown: unlike other errors' texts, it quotes nothing."""


@dataclass(frozen=True)
class Format:
    """What a variable may hold, in words, and the function that parses it. That raises ValueError."""

    may_hold: str
    parse: Callable[[str], Any]
    unset: Any = None
    """The value of a variable that is not set and has no default."""
    is_url: bool = False
    """URLs may hold passwords, so all of them are treated as secrets."""


def one_of(*words: str) -> Format:
    """Return the format of a choice, written in any letter case."""

    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError
        return text.lower()

    return Format(f"{', '.join(words[:-1])} or {words[-1]}", parse)


def days(least: int, *, most: int = 36_500, forever: bool = False) -> Format:
    """Return the format of a number of days; `forever`, where it is allowed, becomes None."""

    def parse(text: str) -> int | None:
        if forever and text.lower() == "forever":
            return None
        if _whole_number(text, least) > most:
            raise ValueError
        return int(text)

    return Format(f"a number of days from {least} to {most}{', or forever' if forever else ''}", parse)


def host_name(host: str) -> str:
    """Return a URL's host as clients write it into a Host header. Raises ValueError for an invalid one."""
    if ":" in host:
        return f"[{host}]"
    return host.rstrip(".").encode("idna").decode()


def _token(text: str) -> str:
    if not re.fullmatch(r"[!-~]+", text):
        raise ValueError
    return text


def _names(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(filter(None, (piece.strip() for piece in text.split(",")))))
    if not names:
        raise ValueError
    return tuple(_token(name) for name in names)


def parse_network(text: str) -> Network:
    """Return an address or a CIDR block; IPv4 that is written as IPv6 (`::ffff:192.0.2.1`) as IPv4.

    Raises ValueError.
    """
    network = ipaddress.ip_network(text, strict=False)
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is None or network.prefixlen < 96:
        return network
    return ipaddress.ip_network((mapped, network.prefixlen - 96))


def _networks(text: str) -> tuple[Network, ...]:
    return tuple(parse_network(name) for name in _names(text))


def _boolean(text: str) -> bool:
    if text.lower() in {"1", "on", "true", "yes"}:
        return True
    if text.lower() in {"0", "off", "false", "no"}:
        return False
    raise ValueError


def _whole_number(text: str, least: int) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text) or int(text) < least:
        raise ValueError
    return int(text)


def _rate(text: str) -> str:
    if not re.fullmatch(r"[1-9][0-9]{0,8}/(second|minute|hour|day)", text):
        raise Reason("the period is second, minute, hour or day")
    return text


def _fees(text: str) -> tuple[tuple[str, Decimal], ...]:
    fees = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        ecosystem, _, bps = part.partition("=")
        if ecosystem not in ECOSYSTEMS or not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,4})?", bps):
            raise ValueError
        fees[ecosystem] = Decimal(bps)
    return tuple(fees.items())


MAX_DELAY = timedelta(days=36_500)
"""What lies further back may be before the first year that there is."""


def _delay(text: str) -> timedelta:
    found = re.fullmatch(r"([0-9]{1,6})([smhd])|0{1,6}", text)
    if found is None:
        raise ValueError
    delay = int(found[1]) * TIMEFRAME_UNITS[found[2]] if found[1] else timedelta(0)
    if delay > MAX_DELAY:
        raise Reason(f"at most {MAX_DELAY.days}d")
    return delay


def _folder(text: str) -> Path:
    if not Path(text).is_absolute():
        raise ValueError
    return Path(text)


def _http_urls(text: str) -> tuple[str, ...]:
    return tuple(_http_url(url) for url in _names(text))


def _ed25519_keys(text: str) -> str:
    """Refuse what is not one or two private keys in PEM; `\\n` may stand for the end of a line."""
    text = text.replace("\\n", "\n")
    blocks = re.findall(r"-----BEGIN PRIVATE KEY-----\s+([A-Za-z0-9+/=\s]+)-----END PRIVATE KEY-----", text)
    rest = re.sub(r"-----BEGIN PRIVATE KEY-----[^-]+-----END PRIVATE KEY-----", "", text)
    keys = [base64.b64decode("".join(block.split()), validate=True) for block in blocks]
    if len(keys) not in {1, 2} or rest.strip() or not all(map(_is_ed25519, keys)):
        raise ValueError
    return text


def _is_ed25519(der: bytes) -> bool:
    """Return whether this is an Ed25519 private key in PKCS #8 (RFC 8410): a fixed head, then 32 bytes."""
    return len(der) == 48 and der.startswith(bytes.fromhex("302e020100300506032b657004220420"))


def _secret(text: str) -> str:
    if not key_of(text):
        raise ValueError
    return text


def _api_keys(text: str) -> tuple[tuple[str, str], ...]:
    pairs = []
    for part in filter(None, (piece.strip() for piece in text.split("|"))):
        key_id, colon, value = part.partition(":")
        if not colon or not re.fullmatch(r"[!-~]{1,64}", key_id) or not re.fullmatch(r"[!-~]+", value):
            raise Reason("each key is id:value in printable ASCII without spaces")
        pairs.append((key_id, value))
    if not pairs:  # no key at all would leave the webhook open to senders without one
        raise Reason("it has no key")
    return tuple(pairs)


def _refuse_blanks(text: str) -> None:
    if re.search(r"[\x00-\x20\x7f]", text):
        raise Reason("it has a space or a control character")


def _url(text: str, *schemes: str, host: bool = True) -> str:
    _refuse_blanks(text)
    parts = urlsplit(text)
    if parts.scheme not in schemes or "://" not in text:
        raise ValueError
    if host and not parts.hostname:
        raise Reason("it has no host")
    _ = parts.port  # raises ValueError for an invalid port number
    unquote(parts.path, errors="strict")
    return text


def _http_url(text: str) -> str:
    host_name(urlsplit(_url(text, "http", "https")).hostname or "")
    return text


def _base_url(text: str) -> str:
    return _http_url(text).rstrip("/")


def _email_url(text: str) -> str:
    if text == "console:":
        return text
    # An option that nothing reads, such as `?ssl=true`, would send in the clear without a warning.
    if urlsplit(_url(text, "smtp", "smtp+tls", "smtp+ssl", "submission")).query:
        raise Reason("it takes no options")
    return text


def _database_url(text: str) -> str:
    """Refuse what libpq refuses at the first connection, where it would look like an outage.

    Several hosts are allowed, as `a:5432,b:5432`. Returns the URL without an option that only Prisma knows.
    """
    # Imported late, as is Redis's client: an agent needs neither for what it does not use.
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    _refuse_raw_password(text)
    # Not urlsplit, which refuses an IPv6 address behind another host.
    authority = _authority(text)
    _url(text.replace(authority, authority.partition(",")[0], 1), "postgres", "postgresql", host=False)
    text = _without_prisma_option(text)
    try:
        options = conninfo_to_dict(text)
    except psycopg.ProgrammingError as error:  # whose text may quote a password
        if unknown := re.search(r'invalid URI query parameter: "(\w{1,40})"', str(error)):
            raise Reason(f"libpq does not know its option {unknown[1]}") from None
        raise Reason("libpq does not understand it") from None
    for name, words in CHOICES.items():
        if options.get(name, words[0]) not in words:
            raise Reason(f"{name} is {', '.join(words[:-1])} or {words[-1]}")
    if not re.fullmatch("-?[0-9]{1,9}", str(options.get("connect_timeout", 0))):
        raise Reason("connect_timeout is a number of seconds")
    if not all(port == "" or _is_port(port) for port in str(options.get("port", "")).split(",")):
        raise Reason("a port is a number from 1 to 65535")
    if not options.get("dbname") and "service" not in options:
        raise Reason("it names no database")
    return text


def _is_port(text: str) -> bool:
    return re.fullmatch("[0-9]{1,5}", text) is not None and 0 < int(text) < 65_536


ENCODE = "percent-encode the password: %40 for @, %23 for #, %2F for /, %3F for ?, %25 for %"


def _refuse_raw_password(text: str) -> None:
    """Refuse a password with characters that end it, or that programs would read in different ways."""
    authority = _authority(text)
    user, at, _ = authority.rpartition("@")
    cut = not at and ":" in authority and "@" in text
    if cut or "@" in user or re.search("%(?![0-9A-Fa-f]{2})", user):
        raise Reason(ENCODE)


def _authority(text: str) -> str:
    return re.split("[/?#]", text.partition("://")[2], maxsplit=1)[0]


def _without_prisma_option(text: str) -> str:
    address, mark, query = text.partition("?")
    options = query.split("&") if mark else []
    kept = [option for option in options if option.partition("=")[0] != "pgbouncer"]
    if len(kept) == len(options):
        return text
    logging.getLogger("signal_hub.env").warning("a database's URL has pgbouncer=…, which is left out")
    return address + ("?" + "&".join(kept) if kept else "")


def _redis_url(text: str) -> str:
    """Refuse what Redis's client refuses when it connects."""
    import redis

    from ecosystems.redis_client import SentinelUrl, connect_redis, is_sentinel

    # What precedes the # or ? of a password would pass for the server's address. An option may hold an @.
    if re.match("[a-z+]+://[^@/?#]*:[^@/?#]*[/?#][^=]*@", text):
        raise Reason(ENCODE)
    if is_sentinel(text):
        _refuse_blanks(text)
        try:
            SentinelUrl.parse(text)
        except ValueError:
            raise Reason("Sentinels are named as redis+sentinel://host:port,host:port/service") from None
    else:
        of_socket = text.startswith("unix:")
        path = urlsplit(_url(text, "redis", "rediss", "unix", host=not of_socket)).path.strip("/")
        if of_socket and not path:
            raise Reason("it has no path")
        if not of_socket and path and not re.fullmatch(r"[0-9]+", path):
            raise Reason("the path is the number of a database")
    try:
        connect_redis(text).connection_pool.make_connection()  # makes the object and connects nowhere
    except (TypeError, ValueError, redis.RedisError):  # whose texts quote the options
        raise Reason("redis-py does not know one of its options, or not that value") from None
    return text


TEXT = Format("any text", str)
TOKEN = Format("printable ASCII without spaces", _token)
NAMES = Format("a comma list of names without spaces", _names, unset=())
NETWORKS = Format("a comma list of addresses or CIDR blocks", _networks, unset=())
ON_OFF = Format("on or off", _boolean)
POSITIVE = Format("a whole number above 0", partial(_whole_number, least=1))
SEVERAL = Format("a whole number above 1", partial(_whole_number, least=2))
FEES = Format("fees by ecosystem, such as crypto=10,forex=1,stock=2", _fees, unset=())
DELAY = Format("0, or a length of time such as 90s, 15m, 6h or 2d", _delay)
RATE = Format("a rate such as 600/minute", _rate)
FOLDER = Format("the absolute path of a folder", _folder)
PATH = Format("the path of a folder; one that is not absolute begins at the project's", Path)
ED25519_KEYS = Format("an Ed25519 private key in PEM, or two during a rotation", _ed25519_keys)
SECRET = Format("whsec_<base64>, or any other text", _secret)
API_KEYS = Format("id:value|id:value", _api_keys, unset=())
HTTP_URL = Format("an http:// or https:// URL", _http_url, is_url=True)
BASE_URL = Format("an http:// or https:// URL", _base_url, is_url=True)
HTTP_URLS = Format("a comma list of http:// or https:// URLs", _http_urls, unset=(), is_url=True)
DATABASE_URL = Format("a postgres:// URL", _database_url, is_url=True)
REDIS_URL = Format(
    "a redis://, rediss:// or unix:// URL, or redis+sentinel://host:port,host:port/service",
    _redis_url,
    is_url=True,
)
EMAIL_URL = Format(
    "an smtp://, smtp+tls://, smtp+ssl:// or submission:// URL, or console:", _email_url, is_url=True
)

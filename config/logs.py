"""The hub's logs: one line an event, as logfmt, which people can read and Loki, Vector and grep can parse.

Lines of structlog and of the standard library come out alike, with the ids of the request or task they belong
to. A secret of the environment that gets into a line, for instance with an error's text, is masked. So is the
address of a hook, a secret too, also in the access logs of web servers.
"""

import logging
import re
from collections.abc import Iterator
from copy import copy
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from aggregator.http.request_log import add_request_id
from ecosystems.env import HIDDEN, VARIABLES, Environment

ACCESS_LOGGERS = ("granian.access", "uvicorn.access", "gunicorn.access", "hypercorn.access", "django.server")
HOOK_TOKEN = re.compile(r"(?i)(/api/hooks/)[^\s/?\"']+|shs_[a-z0-9_-]{20,}")

SHORTEST_SECRET = 6
"""Shorter ones are words of many a line: they are masked in URLs and options alone."""

SECRET_OPTION = re.compile("pass|secret|token|api_?key", re.IGNORECASE)
"""Names of options in a URL's query that hold a secret, as libpq's `password` does."""

PROCESSORS: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    add_request_id,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
]

# All that could end a line, start a terminal's sequence or turn its direction.
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")

QUOTED = re.compile(r"^(DETAIL|CONTEXT): .*$", re.MULTILINE)


def mask_tokens(value: Any) -> Any:
    """Return a text without the tokens of hooks; anything else as it is."""
    if not isinstance(value, str):
        return value
    return HOOK_TOKEN.sub(lambda match: f"{match[1] or ''}{HIDDEN}", value)


def mask_record(record: logging.LogRecord) -> bool:
    """Mask tokens in a record's text and arguments, which the servers' formatters read one by one."""
    record.msg = mask_tokens(record.msg)
    if isinstance(record.args, dict):
        arguments = copy(record.args)  # a server may have a dictionary of its own class
        for name, value in record.args.items():
            arguments[name] = mask_tokens(value)
        record.args = arguments
    elif isinstance(record.args, tuple):
        record.args = tuple(map(mask_tokens, record.args))
    return True


class OneLine:
    """A renderer's last step: no control characters, no secrets."""

    def __init__(self, secrets: list[str]) -> None:
        written = [*(each.replace('"', r"\"") for each in secrets), *secrets]  # logfmt escapes quotes
        self._secrets = re.compile("|".join(map(_anywhere_or_in_its_place, written))) if secrets else None

    def __call__(self, _logger: WrappedLogger, _name: str, line: Any) -> str:
        if self._secrets is not None:
            line = self._secrets.sub(HIDDEN, line)
        line = mask_tokens(line)
        escaped: str = UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", line)
        return escaped


def _anywhere_or_in_its_place(secret: str) -> str:
    text = re.escape(secret)
    if len(secret) >= SHORTEST_SECRET:
        return text
    names = ("password", "passwd", "passfile", "secret", "token", "api_key", "apikey", "Bearer")
    before = "|".join(f"(?<={name}[= ])" for name in names)
    return rf"(?<=:){text}(?=@)|(?:{before}){text}(?![\w-])"


def without_values(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Cut what Postgres quotes of a row out of an error's text: it may be a body."""
    if "exception" in event:
        event["exception"] = QUOTED.sub(r"\1: …", event["exception"])
    return event


def readable_keys(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Leave out what has no value, and spaces in names, which logfmt does not allow."""
    return {re.sub(r"\s", "_", str(key)): value for key, value in event.items() if value is not None}


def secrets_of(environment: Environment) -> list[str]:
    """Return every secret that the environment holds, the longest first."""
    return sorted({text for text in _secrets(environment) if text}, key=len)[::-1]


def _secrets(environment: Environment) -> Iterator[str]:
    for field, variable in VARIABLES.items():
        value = getattr(environment, field)
        if variable.format.is_url:
            for url in [value] if isinstance(value, str) else value or ():
                yield from _secrets_of_url(url)
        elif variable.secret:
            yield from value.splitlines() if isinstance(value, str) else [text for _, text in value or ()]


def _secrets_of_url(url: str) -> Iterator[str]:
    # Not urlsplit, which refuses an IPv6 address behind another host.
    address, _, query = url.partition("?")
    login = address.partition("://")[2].partition("/")[0].rpartition("@")[0]
    password = login.partition(":")[2]
    yield from (password, unquote(password))
    for name, value in parse_qsl(query):
        if SECRET_OPTION.search(name):
            yield from (value, quote(value, safe=""))


def configure(environment: Environment) -> dict[str, Any]:
    """Set structlog up and return Django's LOGGING."""
    for name in ACCESS_LOGGERS:  # of whichever server this is, and however it is configured
        logging.getLogger(name).addFilter(mask_record)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *PROCESSORS,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "logfmt": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": PROCESSORS,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    structlog.processors.format_exc_info,
                    without_values,
                    readable_keys,
                    structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "logger", "event"]),
                    OneLine(secrets_of(environment)),
                ],
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "logfmt"}},
        "root": {"handlers": ["stderr"], "level": "INFO"},
        "loggers": {name: {"level": level} for name, level in LEVELS.items()},
    }


LEVELS = {
    # Few lines, which operators look for; Celery sets the root logger to WARNING by default.
    "signal_hub.bus": "INFO",
    "signal_hub.worker": "INFO",
    # What goes wrong in a request is logged by `aggregator.http.request_log` and `aggregator.http.problems`.
    "django.request": "CRITICAL",
    # Scanners send any Host, and each would log a traceback.
    "django.security.DisallowedHost": "CRITICAL",
    "axes": "WARNING",
    # Two lines a task would be a dozen a second; what tasks do is logged by the batch.
    "celery.worker.strategy": "WARNING",
    "celery.app.trace": "WARNING",
    # After an outage, a line for each expired task.
    "celery.worker.request": "WARNING",
    # They write URLs, which in alert channels and bots' addresses hold tokens.
    "apprise": "CRITICAL",
    "urllib3": "ERROR",
    "httpx": "WARNING",
}

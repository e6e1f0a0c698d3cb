"""The access logs of web servers, in which the address of a hook, a secret, must not stand."""

import logging
import re
from copy import copy
from typing import Any

from ecosystems.env import HIDDEN

ACCESS_LOGGERS = ("granian.access", "uvicorn.access", "gunicorn.access", "hypercorn.access", "django.server")
_TOKEN = re.compile(r"(?i)(/api/hooks/)[^\s/?\"']+|shs_[a-z0-9_-]{20,}")


def mask_tokens(value: Any) -> Any:
    """Return a text without the tokens of hooks; anything else as it is."""
    if not isinstance(value, str):
        return value
    return _TOKEN.sub(lambda match: f"{match[1] or ''}{HIDDEN}", value)


class TokenFilter(logging.Filter):
    """Masks tokens in a record's text and arguments, which the servers' formatters read one by one."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = mask_tokens(record.msg)
        if isinstance(record.args, dict):
            arguments = copy(record.args)  # a server may have a dictionary of its own class
            for name, value in record.args.items():
                arguments[name] = mask_tokens(value)
            record.args = arguments
        elif isinstance(record.args, tuple):
            record.args = tuple(map(mask_tokens, record.args))
        return True


def mask_access_logs() -> None:
    """Have the access logs of this process masked, whichever server it is and however it is configured."""
    for name in ACCESS_LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(each, TokenFilter) for each in logger.filters):
            logger.addFilter(TokenFilter())

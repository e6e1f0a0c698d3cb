"""Ingest for producers that cannot sign: `POST /api/hooks/<token>`. A source's mapping translates."""

import hmac
import ipaddress
import re
from collections.abc import Sequence

from django.conf import settings
from django.utils.http import parse_header_parameters

from aggregator.http import rate_limits
from aggregator.http.answers import Answer
from aggregator.http.client_address import is_in
from aggregator.http.problems import Problem, unknown_address
from aggregator.http.requests import ReceivedRequest, body_length, require_post
from aggregator.ingest.webhook import build_answer, count_failure
from aggregator.ledger import Entry, Result
from aggregator.ledger.errors import classified
from aggregator.ledger.source_entries import source_entries
from aggregator.models import Source
from aggregator.sources import tokens
from aggregator.sources.bodies import EMPTY, MAX_PARTS, TOO_MANY

MAX_HOOK_BYTES = 65_536
HOOK_TIMEOUT_S = 0.9
"""How long a producer waits: with the way there and back less than a second."""
TELEGRAM_HEADER = "x-telegram-bot-api-secret-token"
_READABLE = re.compile(r"utf-?8|(?:us-)?ascii|iso-8859-1|latin-?1|windows-1252", re.IGNORECASE)


class Hook:
    """The hooks as both servers know them (a WayIn)."""

    timeout_s = HOOK_TIMEOUT_S

    def check(self, request: ReceivedRequest) -> int:
        require_post(request)
        length = body_length(request.headers, MAX_HOOK_BYTES)
        _check_charset(request.headers.get("content-type", ""))
        request.sender = _find_source(request)
        return length

    def entries(self, request: ReceivedRequest) -> list[Entry]:
        environment, source = settings.ENVIRONMENT, request.sender
        assert isinstance(source, Source), "`check` has found it"
        if rate := source.rate or environment.webhook_rate:
            rate_limits.rate_limiter(environment).hit(rate, "requests", f"source:{source.name}")
        with classified():
            entries = source_entries(source, request.body)
        _check_number(entries, min(environment.webhook_max_signals, MAX_PARTS))
        return entries

    def answer(self, results: Sequence[Result]) -> Answer:
        # The cause is for the operator, who sees it at the dead letter: the producer cannot act on it.
        return build_answer(results, by_cause=False)


def _check_number(entries: Sequence[Entry], most: int) -> None:
    """Raise Problem 400 for a body without signals, 413 for one of too many."""
    codes = {entry.refusal.code for entry in entries[:1] if entry.refusal}
    if EMPTY.code in codes:
        raise Problem(400, EMPTY.code, "Send at least one signal.")
    if TOO_MANY.code in codes or len(entries) > most:
        raise Problem(413, TOO_MANY.code, f"A request may have {most} signals.")


def _find_source(request: ReceivedRequest) -> Source:
    """Return the source whose hook this is. Raises Problem 404 where there is none, whatever the cause."""
    token = request.path.removeprefix(tokens.HOOKS_PATH)
    if tokens.TOKEN.fullmatch(token):
        with classified():
            source = tokens.find_source(token)
            if source and _is_allowed(source, request.address) and _has_secret(source, request):
                tokens.record_use(source)
                return source
    count_failure(request)
    raise unknown_address()


def _is_allowed(source: Source, address: str) -> bool:
    """Return whether a client with this address may use the source's hook."""
    networks = (ipaddress.ip_network(network, strict=False) for network in source.networks)
    return not source.networks or is_in(address, networks)


def _has_secret(source: Source, request: ReceivedRequest) -> bool:
    """Return whether the request has the secret that Telegram was given for this source, if there is one."""
    if source.header_digest is None:
        return True
    given = tokens.digest_of(request.headers.get(TELEGRAM_HEADER, ""))
    return hmac.compare_digest(bytes(source.header_digest), given)


def _check_charset(content_type: str) -> None:
    """Raise Problem 415 for a charset that cannot be read; the type itself decides nothing."""
    try:
        _, parameters = parse_header_parameters(content_type)
    except ValueError:
        return
    charset = parameters.get("charset", "").strip("\"' ")
    if charset and not _READABLE.fullmatch(charset):
        raise Problem(415, "charset", "Send UTF-8.")


hook = Hook()

"""How to send the first signal over each transport: commands to copy, with this hub's own addresses."""

import json
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings
from django.db import connections
from django.db.models import Q
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from aggregator import snippets
from aggregator.models import ApiKey
from config.env import Environment


@dataclass(frozen=True)
class Way:
    """One transport: whether it is configured, and the command."""

    transport: str
    title: str
    command: str
    needs: str = ""
    """What has to be set first; empty when it is."""
    local: str = ""
    """The same on the hub's own machine, whose environment holds the secrets, without any client."""


def endpoint(request: HttpRequest) -> str:
    """Return the hub's address for signals, as agents reach it."""
    return settings.ENVIRONMENT.signal_endpoint or request.build_absolute_uri(reverse("signals"))


def commands(request: HttpRequest) -> list[Way]:
    """Return a command for each transport, the simplest first."""
    environment: Environment = settings.ENVIRONMENT
    return [_database(), _redis(environment), _webhook(request, environment)]


def _signal(ecosystem: str) -> str:
    """Return a signal as a shell sees it: between double quotes, its id and time filled in when it runs."""
    text = json.dumps(
        {
            "signal_id": "first-$(date +%s)",
            "ecosystem": ecosystem,
            "timestamp": "$(date -u +%Y-%m-%dT%H:%M:%SZ)",
            "symbol": snippets.SYMBOLS[ecosystem],
            "action": "BUY",
            "agent_source": "first",
        }
    )
    return text.replace('"', '\\"')


def _local(transport: str, ecosystem: str) -> str:
    return (
        f".venv/bin/python manage.py publish_signal --backend {transport} --ecosystem {ecosystem}"
        f" --symbol {snippets.SYMBOLS[ecosystem]} --action BUY --agent-source first"
    )


def _database() -> Way:
    place = connections["default"].settings_dict
    options = " ".join(
        f"{flag} {place[name]}"
        for flag, name in (("-h", "HOST"), ("-p", "PORT"), ("-U", "USER"), ("-d", "NAME"))
        if place[name]
    )
    statement = (
        "INSERT INTO trading_signals (signal_id, ecosystem, timestamp, symbol, action, agent_source) VALUES "
        "('first-' || extract(epoch FROM now())::bigint, 'crypto', now(), 'BTCUSDT', 'BUY', 'first')"
    )
    asked = "export PGPASSWORD=  # the password in CORE_DB_URL\n" if place["PASSWORD"] else ""
    return Way(
        "database",
        "From a database client",
        f'{asked}psql {options} -c "{statement}"',
        local=_local("database", "crypto"),
    )


def _redis(environment: Environment) -> Way:
    if not environment.redis_url:
        return Way("redis", "Over Redis", "", "CORE_REDIS_URL is not set.")
    parts = urlsplit(environment.redis_url)
    unix = parts.scheme == "unix"
    where = (
        f"-s {parts.path}" if unix else f"-u {parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    )
    if parts.username:
        where += f" --user {parts.username}"
    # redis-cli takes the password from there; it does not belong on a page.
    asked = "export REDISCLI_AUTH=  # the password in CORE_REDIS_URL\n" if parts.password else ""
    stream = f"{environment.stream_prefix}:{environment.stream_topics[0]}"
    command = f'redis-cli {where} XADD {stream} "*" payload "{_signal("forex")}"'
    return Way("redis", "Over Redis", asked + command, local=_local("redis", "forex"))


def _webhook(request: HttpRequest, environment: Environment) -> Way:
    shared = environment.event_webhook_secret
    keyed = environment.webhook_require_key or not shared
    key_id = _any_key(environment) if keyed else ""
    if keyed and not key_id:
        return Way(
            "webhook", "Over HTTPS", "", "Create an API key first; its page shows a client that works."
        )
    lines = [f"API_KEY=  # the value of the key {key_id}, shown when it was made"] if keyed else []
    if shared:
        lines.append("SECRET=  # what CORE_EVENT_WEBHOOK_SECRET holds")
    else:
        lines.append(f"SECRET=  # the signing secret of the key {key_id}, shown when it was made")
    encoded = not shared or shared.startswith("whsec_")
    command = snippets.curl(
        endpoint(request), "first", "stock", "\n".join(lines), "SECRET", keyed=keyed, encoded=encoded
    )
    local = _local("webhook", "stock") if shared and not keyed and environment.event_webhook_url else ""
    return Way("webhook", "Over HTTPS", command.rstrip(), local=local)


def _any_key(environment: Environment) -> str:
    """Return the id of a key that passes now, the newest of the admin first; empty when there is none."""
    valid = ApiKey.objects.filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()), revoked_at=None)
    newest = valid.order_by("-created_at").first()
    return newest.key_id if newest else next((name for name, _ in environment.api_keys), "")

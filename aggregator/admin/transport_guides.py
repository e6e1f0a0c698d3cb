"""Guides to the first signal over each transport, and clients for a new key: commands and programs to copy.

They have this hub's own addresses, and run as they are. What is POSTed is signed by Standard Webhooks
(https://www.standardwebhooks.com): HMAC-SHA256 over `id.timestamp.body`.
"""

import re
import shlex
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from django.conf import settings
from django.db.models import Q
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from aggregator.http.api_keys import PUBLISH, IssuedKey
from aggregator.models import ApiKey
from ecosystems.env import Environment
from ecosystems.redis_client import is_sentinel

SECRET_PARAMETERS = {"password", "sslpassword"}
EXAMPLE_SYMBOLS = {"crypto": "BTCUSDT", "forex": "EURUSD", "stock": "AAPL"}
CLIENT_FILES = {"curl": "signal.sh", "Python": "send_signal.py", "TypeScript": "signal.mts"}
"""Languages of the clients for a key, with the file that each goes to."""
ON_THE_HUB_TEXT = "Or on the hub itself, in its folder, without a client or a password:"
AGENT_ROLE_TEXT = (
    "Create a role for an agent, which may only insert signals of one ecosystem. Run this in the hub's "
    "folder to get the role's URL:"
)


@dataclass(frozen=True)
class GuideCommand:
    """A command to copy. It prompts for passwords, to keep them out of the page and the shell's history."""

    name: str
    text: str
    introduction: str = ""
    """The text above it."""


@dataclass(frozen=True)
class TransportGuide:
    """How to send a signal over one transport."""

    transport: str
    title: str
    commands: list[GuideCommand] = field(default_factory=list)
    needs: str = ""
    """What has to be configured first; empty if nothing."""


def signal_endpoint(request: HttpRequest) -> str:
    """Return the URL to which agents send signals."""
    return settings.ENVIRONMENT.signal_endpoint or request.build_absolute_uri(reverse("signals"))


def all_guides(request: HttpRequest) -> list[TransportGuide]:
    """Return the guide of each transport, the simplest first."""
    environment: Environment = settings.ENVIRONMENT
    return [_database(environment), _redis(environment), _webhook(request, environment)]


def clients_for_key(url: str, issued: IssuedKey) -> list[tuple[str, str, str]]:
    """Return the language, file name and text of clients that send a signal with a new key."""
    key = issued.key
    ecosystem = key.ecosystems[0] if key.ecosystems else "crypto"
    # A name that would need quoting is left for the operator to fill in.
    quotable = (name for name in key.agents if re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name))
    sender = next(quotable, key.key_id)
    values = {
        "url": url,
        "value": issued.value,
        "secret": issued.signing_secret,
        "sender": sender,
        "ecosystem": ecosystem,
        "symbol": EXAMPLE_SYMBOLS[ecosystem],
        "variables": f"API_KEY='{issued.value}'\nSIGNING_SECRET='{issued.signing_secret}'",
        "signal": _signal_in_shell(sender, ecosystem),
        "keyed": True,
        "encoded": True,
    }
    return [
        (language, file, render_to_string(f"admin/clients/{file}.txt", values))
        for language, file in CLIENT_FILES.items()
    ]


def _signal_in_shell(sender: str, ecosystem: str) -> str:
    """Return a signal as one shell word; the shell fills in its id and time."""
    return f"""\
'{{"signal_id": "{sender}-'$(date +%s)'", "ecosystem": "{ecosystem}",
 "symbol": "{EXAMPLE_SYMBOLS[ecosystem]}", "action": "BUY", "agent_source": "{sender}",
 "timestamp": "'$(date -u +%Y-%m-%dT%H:%M:%SZ)'"}}'"""


def _local(title: str, transport: str, ecosystem: str) -> GuideCommand:
    text = (
        f".venv/bin/python manage.py publish_signal --backend {transport} --ecosystem {ecosystem}"
        f" --symbol {EXAMPLE_SYMBOLS[ecosystem]} --action BUY --agent-source first"
    )
    return GuideCommand(f"{title}, on the hub itself", text, ON_THE_HUB_TEXT)


def _database(environment: Environment) -> TransportGuide:
    title = "With a database client"
    statement = (
        "INSERT INTO trading_signals (signal_id, ecosystem, timestamp, symbol, action, agent_source)\n"
        "VALUES ('first-' || extract(epoch FROM now())::bigint, 'crypto', now(), 'BTCUSDT', 'BUY', 'first')"
    )
    given = conninfo_to_dict(environment.core_db_url or "")
    shown = {name: value for name, value in given.items() if name not in SECRET_PARAMETERS}
    psql = f'psql {shlex.quote(make_conninfo("", **shown))} -c "\n{statement}"'
    role = ".venv/bin/python manage.py agent_role crypto_agent --ecosystem crypto"
    commands = [
        GuideCommand(title, psql),
        _local(title, "database", "crypto"),
        GuideCommand("A role for an agent", role, AGENT_ROLE_TEXT),
    ]
    return TransportGuide("database", title, commands)


def _redis(environment: Environment) -> TransportGuide:
    title = "Over Redis"
    if not environment.redis_url:
        return TransportGuide("redis", title, needs="CORE_REDIS_URL is not set.")
    local = _local(title, "redis", "forex")
    if is_sentinel(environment.redis_url):  # redis-cli asks no Sentinel
        return TransportGuide("redis", title, [local])
    parts = urlsplit(environment.redis_url)
    host = parts.netloc.rpartition("@")[2]
    options = dict(parse_qsl(parts.query))
    if parts.scheme == "unix":
        where = f"-s {shlex.quote(unquote(parts.path))}"
    else:
        where = f"-u {parts.scheme}://{host}{parts.path}"
    if database := options.get("db"):
        where += f" -n {shlex.quote(database)}"
    if user := unquote(parts.username or "") or options.get("username"):
        where += f" --user {shlex.quote(user)}"
    if parts.password or options.get("password"):
        where += " --askpass"
    stream = f"{environment.stream_prefix}:{environment.stream_topics[0]}"
    payload = _signal_in_shell("first", "forex")
    command = f"redis-cli {where} XADD {stream} '*' payload \\\n {payload}"
    return TransportGuide("redis", title, [GuideCommand(title, command), local])


def _webhook(request: HttpRequest, environment: Environment) -> TransportGuide:
    title, shared = "Over HTTPS", environment.event_webhook_secret
    key_id, own, ecosystem = _any_key(environment)
    if not key_id and (environment.webhook_require_key or not shared):
        return TransportGuide("webhook", title, needs="An API key or CORE_EVENT_WEBHOOK_SECRET is required.")
    prompts = {"API_KEY": f"Value of key {key_id}"} if key_id else {}
    prompts["SIGNING_SECRET"] = f"Signing secret of key {key_id}" if own else "CORE_EVENT_WEBHOOK_SECRET"
    values = {
        "url": signal_endpoint(request),
        "variables": "\n".join(
            f"printf '{prompt}: '; read -rs {name}; echo" for name, prompt in prompts.items()
        ),
        "signal": _signal_in_shell("first", ecosystem),
        "keyed": bool(key_id),
        "encoded": own or (shared or "").startswith("whsec_"),
    }
    client = render_to_string(f"admin/clients/{CLIENT_FILES['curl']}.txt", values)
    # In parentheses the shell reads all of it before it prompts: no line becomes the answer to a prompt.
    commands = [GuideCommand(title, f"(\n{client})")]
    if shared and not environment.webhook_require_key and environment.event_webhook_url:
        commands.append(_local(title, "webhook", "stock"))
    return TransportGuide("webhook", title, commands)


def _any_key(environment: Environment) -> tuple[str, bool, str]:
    """Return a key that may publish now: its id, whether it was created in the admin, one of its ecosystems.

    The newest of the admin comes first, whose page showed its signing secret; one of CORE_API_KEYS only
    together with a shared secret, since its own is never shown. An empty id if there is none.
    """
    valid = ApiKey.objects.filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()), revoked_at=None)
    newest = valid.filter(scopes__contains=[PUBLISH]).order_by("-created_at").first()
    if newest:
        return newest.key_id, True, newest.ecosystems[0] if newest.ecosystems else "stock"
    configured = environment.api_keys if environment.event_webhook_secret else []
    return next((name for name, _ in configured), ""), False, "stock"

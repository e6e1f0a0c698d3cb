"""Clients to copy that send one signed signal: curl, Python, TypeScript. Each runs as it stands.

The types in TypeScript are left to its inference: a Node.js that does not strip types runs it all the same.
They sign by Standard Webhooks (https://www.standardwebhooks.com): HMAC-SHA256 over `id.timestamp.body`.
"""

from dataclasses import dataclass

EXAMPLE_SYMBOLS = {"crypto": "BTCUSDT", "forex": "EURUSD", "stock": "AAPL"}

CURL_TEMPLATE = """\
{variables}
body={signal}
id="msg_$(openssl rand -hex 12)"
now="$(date +%s)"
hexkey="$({key_bytes} | od -An -vtx1 | tr -d ' \\n')"
signature="$(printf '%s.%s.%s' "$id" "$now" "$body" \\
  | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$hexkey" -binary | base64)"
curl -sS "{url}" -H "Content-Type: application/json"{authorization} \\
  -H "webhook-id: $id" -H "webhook-timestamp: $now" -H "webhook-signature: v1,$signature" \\
  -d "$body" -w '\\n'
"""

PYTHON_TEMPLATE = """\
import base64, hashlib, hmac, json, time, urllib.request, uuid
from datetime import datetime, timezone

API_KEY = "{value}"
SIGNING_SECRET = "{secret}"

body = json.dumps({{
    "signal_id": f"{sender}-{{time.time_ns()}}",
    "ecosystem": "{ecosystem}",
    "symbol": "{symbol}",
    "action": "BUY",
    "timestamp": datetime.now(timezone.utc).isoformat(),
    "agent_source": "{sender}",
}}).encode()
message_id, now = f"msg_{{uuid.uuid4().hex}}", str(int(time.time()))
secret = base64.b64decode(SIGNING_SECRET.removeprefix("whsec_"))
signed = hmac.digest(secret, f"{{message_id}}.{{now}}.".encode() + body, hashlib.sha256)
request = urllib.request.Request("{url}", body, {{
    "Content-Type": "application/json",
    "Authorization": f"Bearer {{API_KEY}}",
    "webhook-id": message_id,
    "webhook-timestamp": now,
    "webhook-signature": "v1," + base64.b64encode(signed).decode(),
}})
with urllib.request.urlopen(request, timeout=10) as response:
    print(response.status, response.read().decode())
"""

TYPESCRIPT_TEMPLATE = """\
import {{ createHmac, randomUUID }} from "node:crypto";

const API_KEY = "{value}";
const SIGNING_SECRET = "{secret}";

const body = JSON.stringify({{
  signal_id: `{sender}-${{Date.now()}}`,
  ecosystem: "{ecosystem}",
  symbol: "{symbol}",
  action: "BUY",
  timestamp: new Date().toISOString(),
  agent_source: "{sender}",
}});
const id = `msg_${{randomUUID()}}`;
const now = Math.floor(Date.now() / 1000).toString();
const secret = Buffer.from(SIGNING_SECRET.replace(/^whsec_/, ""), "base64");
const signature = createHmac("sha256", secret).update(`${{id}}.${{now}}.${{body}}`).digest("base64");
const response = await fetch("{url}", {{
  method: "POST",
  headers: {{
    "Content-Type": "application/json",
    Authorization: `Bearer ${{API_KEY}}`,
    "webhook-id": id,
    "webhook-timestamp": now,
    "webhook-signature": `v1,${{signature}}`,
  }},
  body,
}});
console.log(response.status, await response.text());
"""


@dataclass(frozen=True)
class Snippet:
    language: str
    name: str
    """What to save it as."""
    text: str


def snippets_for_key(url: str, key_id: str, value: str, signing_secret: str, ecosystem: str) -> list[Snippet]:
    """Return a client in each language for a key whose value is known now."""
    given = {
        "url": url,
        "value": value,
        "secret": signing_secret,
        "sender": key_id,
        "ecosystem": ecosystem,
        "symbol": EXAMPLE_SYMBOLS[ecosystem],
    }
    variables = f"API_KEY='{value}'\nSIGNING_SECRET='{signing_secret}'"
    return [
        Snippet(
            "curl", "signal.sh", curl_script(url, key_id, ecosystem, variables, "SIGNING_SECRET", keyed=True)
        ),
        Snippet("Python", "signal.py", PYTHON_TEMPLATE.format(**given)),
        Snippet("TypeScript", "signal.mts", TYPESCRIPT_TEMPLATE.format(**given)),
    ]


def signal_in_shell(sender: str, ecosystem: str) -> str:
    """Return a signal as one word of a shell, its id and time filled in when that runs."""
    return f"""\
'{{"signal_id": "{sender}-'$(date +%s)'", "ecosystem": "{ecosystem}",
 "symbol": "{EXAMPLE_SYMBOLS[ecosystem]}", "action": "BUY", "agent_source": "{sender}",
 "timestamp": "'$(date -u +%Y-%m-%dT%H:%M:%SZ)'"}}'"""


def curl_script(
    url: str, sender: str, ecosystem: str, variables: str, secret: str, *, keyed: bool, encoded: bool = True
) -> str:
    """Return shell lines for curl and openssl.

    `variables` are lines that set what they use: API_KEY if `keyed`, and the variable named `secret`, a
    `whsec_` one if `encoded`, else any text.
    """
    decoded = f'printf %s "${{{secret}#whsec_}}" | base64 -d' if encoded else f'printf %s "${secret}"'
    return CURL_TEMPLATE.format(
        url=url,
        signal=signal_in_shell(sender, ecosystem),
        variables=variables,
        key_bytes=decoded,
        authorization=' -H "Authorization: Bearer $API_KEY"' if keyed else "",
    )

"""Clients to copy that send one signed signal: curl, Python, TypeScript. Each runs as it is.

The TypeScript client contains no type annotations, so that a Node.js that does not strip types runs it too.
All sign by Standard Webhooks (https://www.standardwebhooks.com): HMAC-SHA256 over `id.timestamp.body`.
"""

import re
from dataclasses import dataclass

from aggregator.http.api_keys import IssuedKey

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
    """The suggested file name."""
    text: str


def snippets_for_key(url: str, issued: IssuedKey) -> list[Snippet]:
    """Return a client in each language for a key whose value was just issued."""
    key_id, value, secret = issued.key.key_id, issued.value, issued.signing_secret
    ecosystem = issued.key.ecosystems[0] if issued.key.ecosystems else "crypto"
    # A name that would need quoting is left for the operator to fill in.
    sender = next((name for name in issued.key.agents if re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name)), key_id)
    values = {
        "url": url,
        "value": value,
        "secret": secret,
        "sender": sender,
        "ecosystem": ecosystem,
        "symbol": EXAMPLE_SYMBOLS[ecosystem],
    }
    variables = f"API_KEY='{value}'\nSIGNING_SECRET='{secret}'"
    script = curl_script(url, sender, ecosystem, variables, "SIGNING_SECRET", keyed=True)
    return [
        Snippet("curl", "signal.sh", script),
        Snippet("Python", "send_signal.py", PYTHON_TEMPLATE.format(**values)),
        Snippet("TypeScript", "signal.mts", TYPESCRIPT_TEMPLATE.format(**values)),
    ]


def signal_in_shell(sender: str, ecosystem: str) -> str:
    """Return a signal as one shell word; the shell fills in its id and time."""
    return f"""\
'{{"signal_id": "{sender}-'$(date +%s)'", "ecosystem": "{ecosystem}",
 "symbol": "{EXAMPLE_SYMBOLS[ecosystem]}", "action": "BUY", "agent_source": "{sender}",
 "timestamp": "'$(date -u +%Y-%m-%dT%H:%M:%SZ)'"}}'"""


def curl_script(
    url: str, sender: str, ecosystem: str, variables: str, secret: str, *, keyed: bool, encoded: bool = True
) -> str:
    """Return a shell script for curl and openssl.

    `variables` are lines that set API_KEY if `keyed`, and the variable named `secret`: `whsec_…` if
    `encoded`, else any text.
    """
    decoded = f'printf %s "${{{secret}#whsec_}}" | base64 -d' if encoded else f'printf %s "${secret}"'
    return CURL_TEMPLATE.format(
        url=url,
        signal=signal_in_shell(sender, ecosystem),
        variables=variables,
        key_bytes=decoded,
        authorization=' -H "Authorization: Bearer $API_KEY"' if keyed else "",
    )

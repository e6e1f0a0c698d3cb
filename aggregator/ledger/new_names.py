"""How many new agents and symbols a sender may bring in an hour.

Nothing is refused for it: what comes beyond is counted under OTHER, until an hour later the sender may bring
new names again. Without the limit one sender made 61,000 agents in 30 seconds, each with a row and a series.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import msgspec
from django.conf import settings

Kind = Literal["agent", "symbol"]

# Of the senders of one name the first one brings it.
FIND_NEW_NAMES = """
    WITH unknown AS (
        SELECT DISTINCT ON (kind, ecosystem, name) ord, kind, sender, ecosystem, name
        FROM json_to_recordset(%(names)s::json)
            AS asked (ord bigint, kind text, sender text, ecosystem text, name text)
        WHERE CASE kind
            WHEN 'agent' THEN NOT EXISTS (
                SELECT FROM agents WHERE agents.ecosystem = asked.ecosystem AND agent_source = asked.name)
            ELSE NOT EXISTS (
                SELECT FROM symbol_aliases AS known
                WHERE known.ecosystem = asked.ecosystem AND known.symbol = asked.name) END
        ORDER BY kind, ecosystem, name, ord),
    used AS (
        SELECT sender, sum(new_names) AS names FROM sender_minutes
        WHERE minute > now() - interval '1 hour' AND sender IN (SELECT sender FROM unknown) GROUP BY sender)
    SELECT kind, sender, ecosystem, name,
        row_number() OVER (PARTITION BY sender ORDER BY ord) > %(limit)s - coalesce(used.names, 0)
    FROM unknown LEFT JOIN used USING (sender)"""


class Name(NamedTuple):
    kind: Kind
    sender: str
    ecosystem: str
    name: str


def beyond_limits(cursor: Any, names: Sequence[Name]) -> tuple[set[tuple[str, str, str]], Counter[str]]:
    """Return the names beyond their sender's limit, and how many new ones each sender brings, in one query.

    `names` are in the order in which they came; those that are returned are kinds, ecosystems and names.
    """
    limit = settings.ENVIRONMENT.sender_new_names
    asked = [{"ord": number, **name._asdict()} for number, name in enumerate(dict.fromkeys(names))]
    beyond, new = set[tuple[str, str, str]](), Counter[str]()
    if asked:
        cursor.execute(FIND_NEW_NAMES, {"names": msgspec.json.encode(asked).decode(), "limit": limit})
        for kind, sender, ecosystem, name, is_beyond in cursor.fetchall():
            if is_beyond:
                beyond.add((kind, ecosystem, name))
            else:
                new[sender] += 1
    return beyond, new

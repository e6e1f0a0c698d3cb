"""An agent's record as CSV: a line a call, with what opens the agent's leaves of the transparency log.

The last columns are for `examples/verify_record.py`. Those of a line open the leaves of its call, and of the
signals up to the next call, which are none themselves; so all leaves of the agent are in the file. They
disclose the agent's salt, so that anybody can count its leaves and see that none is left out. Of what
an operator hides for a while, only its place is named.
"""

import base64
import csv
import io
import re
from collections import defaultdict
from collections.abc import Container, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet

from aggregator.models import LogAgent, Outcome, TradingSignal
from aggregator.transparency import log_tables
from aggregator.transparency.leaves import Recorded
from aggregator.transparency.log_tables import StoredLeaf
from ecosystems.signal import decimal_text

SIGNALS_AT_A_TIME = 500
"""What is in memory; each may have 64 KiB of payload."""
CALL_COLUMNS = (
    "signal_id", "timestamp", "recorded_at", "action", "signal_type", "entry_price", "stop_loss",
    "take_profit",
)  # fmt: skip
OUTCOME_COLUMNS = (
    "state", "exit_reason", "entered_at", "entry_price", "exited_at", "exit_price", "gross_return",
    "net_return", "r_multiple", "mfe_r", "mae_r", "slippage", "ambiguous", "scored_to", "horizon_hours",
    "fee_bps", "rule_version",
)  # fmt: skip
HEADER = (
    *("position", "ecosystem", "agent", "instrument", "simulated", "t0"),
    *("claimed_price" if name == "entry_price" else name for name in CALL_COLUMNS),
    *OUTCOME_COLUMNS,
    *("feed", "candle_seconds", "last_close", "daily_r"),
    *("log_size", "hidden_seconds", "salt", "leaves"),
)

_SIGNALS = "agent_id = %(agent)s AND event IS NULL AND index > %(after)s AND index < %(size)s"
_EVENTS = """
    event IN (SELECT id FROM outcome_events WHERE outcome_events.position = ANY (%(positions)s))
    AND index < %(size)s"""
_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"

NUMBERS = re.compile(r"-?[0-9.]+( -?[0-9.]+)*")
"""One, or those of `daily_r`."""

Opening = tuple[StoredLeaf, Recorded | None]
"""A leaf and its row, None where that is hidden or not there any more."""


class RecordCsv:
    """The CSV of some calls of one agent, which are all but those that are hidden for `hidden_for`."""

    def __init__(
        self, ecosystem: str, agent_source: str, calls: QuerySet[Outcome], hidden_for: timedelta = timedelta()
    ) -> None:
        # A signal that was deleted has no line, which readers find.
        self.calls = calls.filter(position__in=TradingSignal.objects.values("position")).order_by("position")
        self.hidden_since = datetime.now(UTC) - hidden_for
        agent = LogAgent.objects.filter(ecosystem=ecosystem, agent_source=agent_source).first()
        self.agent_id = agent.pk if agent else None
        self.constants = ["", "", ""]
        if head := log_tables.head():
            # Later parts may open newer leaves, too: those of what is decided in the meantime.
            salt = base64.b64encode(agent.salt).decode() if agent else ""
            self.constants = [str(head.checkpoint_size), str(int(hidden_for.total_seconds())), salt]

    def lines(self) -> Iterator[str]:
        """Yield the text, header first, in pieces that fit into memory however large a line is."""
        yield _csv(HEADER)
        first = self.calls.select_related("series").first()
        if first is None:
            return
        # The first line opens what was recorded before its call, too.
        yield self._beginning(_values_of([first])[first.position])
        for calls, openings in self._parts():
            for position in sorted(calls.keys() | openings.keys()):
                if position in calls and position > first.position:
                    yield '"\r\n' + self._beginning(calls[position])
                yield from map(_opening_text, openings.get(position, ()))
        yield '"\r\n'

    def _beginning(self, values: list[str]) -> str:
        """Return a line up to the quote that begins its last column."""
        return _csv([*values, *self.constants]).removesuffix("\r\n") + ',"'

    def _parts(self) -> Iterator[tuple[dict[int, list[str]], dict[int, list[Opening]]]]:
        """Yield lines of calls, without what opens leaves, and what opens the leaves, each by position.

        Each part is of some of the agent's signals, and from one snapshot of the tables. What opens a signal
        stands before what opens its outcomes.
        """
        last_index = last_position = -1
        while True:
            with transaction.atomic(), connection.cursor() as cursor:
                if not connection.savepoint_ids:
                    cursor.execute(_SNAPSHOT)
                head = log_tables.head()
                size = head.checkpoint_size if head else 0
                bounds = {"agent": self.agent_id, "after": last_index, "size": size}
                signals = log_tables.leaves(cursor, _SIGNALS, bounds, limit=SIGNALS_AT_A_TIME)
                later = self.calls.filter(position__gt=last_position)
                calls = list(later.select_related("series")[:SIGNALS_AT_A_TIME])
                upto = min(
                    [each[-1].position for each in (signals, calls) if len(each) == SIGNALS_AT_A_TIME],
                    default=None,
                )
                if upto is not None:
                    signals = [leaf for leaf in signals if leaf.position <= upto]
                    calls = [call for call in calls if call.position <= upto]
                if not signals and not calls:
                    return
                values = _values_of(calls)
                openings = self._openings(cursor, signals, size, values)
            last_index = signals[-1].index if signals else last_index
            last_position = max([*values, *(leaf.position for leaf in signals)])
            yield values, openings

    def _openings(
        self, cursor: Any, signals: list[StoredLeaf], size: int, shown: Container[int]
    ) -> dict[int, list[Opening]]:
        """Return the leaves of signals and of their outcomes, with what opens those that are not hidden."""
        at = {"positions": [leaf.position for leaf in signals], "size": size}
        leaves = [*signals, *log_tables.leaves(cursor, _EVENTS, at)]
        hidden = {
            leaf.position
            for leaf in signals
            if leaf.position not in shown and datetime.fromisoformat(leaf.recorded_at) > self.hidden_since
        }
        rows = log_tables.rows_of(cursor, [leaf for leaf in leaves if leaf.position not in hidden])
        openings: defaultdict[int, list[Opening]] = defaultdict(list)
        for leaf in leaves:
            row = rows.get((leaf.position, leaf.event))
            if row or leaf.position in hidden:
                openings[leaf.position].append((leaf, row))
        return openings


def _values_of(calls: list[Outcome]) -> dict[int, list[str]]:
    """Return the readable values of calls, by position."""
    rows = TradingSignal.objects.filter(position__in=[call.position for call in calls])
    signals = {signal.position: signal for signal in rows.defer("raw_payload")}
    return {call.position: _values(signals[call.position], call) for call in calls}


def _opening_text(opening: Opening) -> str:
    leaf, row = opening
    place = f"{leaf.index} {leaf.position} {leaf.recorded_at}"
    if row is None:
        return f"{place}\n"
    nonce, content = base64.b64encode(leaf.nonce).decode(), row.content.decode()
    return f"{place} {nonce} {content}\n".replace('"', '""')


def _values(signal: TradingSignal, call: Outcome) -> list[str]:
    values: list[Any] = [
        *(call.position, call.ecosystem, call.agent_source, call.instrument, call.simulated, call.t0),
        *(getattr(signal, name) for name in CALL_COLUMNS),
        *(getattr(call, name) for name in OUTCOME_COLUMNS),
        call.series.feed if call.series else "",
        call.series.seconds if call.series else "",
        call.last_close,
        " ".join(decimal_text(value) or "" for value in call.daily_r),
    ]
    return [_text(value) for value in values]


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Decimal):
        return decimal_text(value) or ""
    if hasattr(value, "isoformat"):
        return str(value.isoformat()).replace("+00:00", "Z")
    text = str(value)
    # A spreadsheet would take it for a formula.
    return f"'{text}" if text[:1] in {"=", "+", "-", "@"} and not NUMBERS.fullmatch(text) else text


def _csv(values: Any) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(values)
    return line.getvalue()

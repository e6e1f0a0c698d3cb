"""Verify a hub's record by yourself: offline, from files that you have downloaded.

Needs Python 3.11 and the package `cryptography`, and nothing of the hub. What each command proves, and how to
download its files, is described in the hub's docs/verify.md.

    python verify_record.py checkpoint FILE --key KEY
    python verify_record.py proof FILE --key KEY
    python verify_record.py consistency OLD NEW --log DIR --key KEY
    python verify_record.py record CSV --log DIR --key KEY [--statistics JSON]
    python verify_record.py outcomes CSV --prices DIR

KEY is the log's verifier key, `name+hash+base64`, or a file that holds it; give --key twice while the hub
changes its key. DIR is a copy of what the hub publishes under /log/. The exit status is 0, or 1 with one line
that names what is wrong.
"""

from __future__ import annotations

import argparse
import base64
import csv
import hashlib
import io
import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from functools import cached_property, lru_cache
from itertools import accumulate, pairwise
from math import isclose, sqrt
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

EXACTLY = Context(prec=28, rounding=ROUND_HALF_EVEN)
ROUNDED = Decimal("1e-12")
NEVER = datetime.max.replace(tzinfo=UTC)


class Wrong(Exception):
    """Something is not as it should be; the text is the line that is printed."""


# --- Hashes of RFC 6962, and proofs as RFC 9162 verifies them -----------------------------------------------


def leaf_hash(data: bytes) -> bytes:
    return hashlib.sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def split(size: int) -> int:
    """Return how many leaves are below the left of the two nodes of a tree: a power of two."""
    return 1 << (size - 1).bit_length() - 1


def root_of_proof(index: int, size: int, leaf: bytes, proof: Sequence[bytes]) -> bytes | None:
    """Return the root to which an inclusion proof leads (RFC 9162, 2.1.3); None for another's."""
    if not 0 <= index < size:
        return None
    is_left = []
    while size > 1:
        is_left.append(index < split(size))
        index, size = (index, split(size)) if is_left[-1] else (index - split(size), size - split(size))
    if len(proof) != len(is_left):
        return None
    for sibling in proof:
        leaf = node_hash(leaf, sibling) if is_left.pop() else node_hash(sibling, leaf)
    return leaf


def root_of(hashes: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes, level by level: a node without a neighbour moves up as it is."""
    level = list(hashes)
    while len(level) > 1:
        pairs = [node_hash(level[at], level[at + 1]) for at in range(0, len(level) - 1, 2)]
        level = pairs + level[len(level) - len(level) % 2 :]
    return level[0] if level else hashlib.sha256().digest()


# --- Signed checkpoints -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Key:
    """A verifier key: `name+hash+base64`."""

    name: str
    key_id: bytes
    public: Ed25519PublicKey

    @classmethod
    def parse(cls, text: str) -> Key:
        match = re.fullmatch(r"([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)", text.strip())
        raw = decoded(match[3], "the key") if match else b""
        if match is None or len(raw) != 33 or raw[0] != 1:
            raise Wrong("the key is not a verifier key: name+hash+base64 of an Ed25519 key")
        key_id = hashlib.sha256(match[1].encode() + b"\n" + raw).digest()[:4]
        if key_id.hex() != match[2]:
            raise Wrong("the key is damaged: its hash is not that of its name and its bytes")
        return cls(match[1], key_id, Ed25519PublicKey.from_public_bytes(raw[1:]))


@dataclass(frozen=True)
class Checkpoint:
    origin: str
    size: int
    root: bytes


def checkpoint_of(note: str, keys: Sequence[Key], what: str) -> Checkpoint:
    """Return the checkpoint of a signed note, which one of the keys has signed."""
    text, _, signatures = note.rpartition("\n\n")
    lines = re.findall(r"^— (\S+) ([A-Za-z0-9+/=]+)$", signatures, re.MULTILINE)
    if not text or not lines:
        raise Wrong(f"{what} is not a signed checkpoint")
    signed = {(name, raw[:4]): raw[4:] for name, raw in ((name, decoded(line, what)) for name, line in lines)}
    known = [key for key in keys if (key.name, key.key_id) in signed]
    if not known:
        raise Wrong(f"{what} is not signed by {' or '.join(key.name for key in keys)} with the given key")
    for key in known:
        try:
            key.public.verify(signed[key.name, key.key_id], f"{text}\n".encode())
        except InvalidSignature:
            raise Wrong(
                f"the signature of {what} is wrong: its text was changed after it was signed"
            ) from None
    origin, size, root = [*text.split("\n"), "", "", ""][:3]
    if not re.fullmatch("0|[1-9][0-9]{0,18}", size) or len(decoded(root, what)) != 32:
        raise Wrong(f"{what} is not a checkpoint: origin, size, root")
    if origin != known[0].name:
        raise Wrong(f"{what} is of the log {origin}, not of {known[0].name}")
    return Checkpoint(origin, int(size), decoded(root, what))


# --- The copy of /log/ --------------------------------------------------------------------------------------


def tile_name(level: int | str, index: int) -> str:
    digits = f"{index:0{-(-len(str(index)) // 3) * 3}d}"
    parts = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    return f"tile/{level}/" + "/".join([*(f"x{part}" for part in parts[:-1]), parts[-1]])


@dataclass(frozen=True)
class Log:
    """A folder with the published files of a log."""

    folder: Path

    def read(self, level: int | str, index: int, width: int) -> bytes:
        """Return a tile's bytes: from its own file, or that of a wider one."""
        name = self.folder / tile_name(level, index)
        wider = sorted(name.parent.glob(f"{name.name}.p/*"), key=lambda path: path.name.zfill(3))
        files = [name, *(path for path in wider if path.name.isdigit() and int(path.name) >= width)]
        for path in files:
            if path.is_file():
                return path.read_bytes()
        partial = "" if width == 256 else f".p/{width}"
        raise Wrong(f"the copy of the log lacks {name.relative_to(self.folder)}{partial}: download it")

    def hashes(self, level: int, index: int, size: int) -> list[bytes]:
        """Return the hashes of a tile, as far as a tree of that size fills it."""
        width = min(256, (size >> 8 * level) - 256 * index)
        data = self.read(level, index, width)
        if len(data) < 32 * width:
            raise Wrong(f"{tile_name(level, index)} is cut off")
        return [data[32 * at : 32 * at + 32] for at in range(width)]

    def node(self, start: int, end: int, size: int) -> bytes:
        """Return the hash over the leaves from start up to end, from the tiles of a tree of that size."""
        found = []
        while start < end:
            height = (end - start).bit_length() - 1
            level, within = divmod(height, 8)
            first, count = start >> 8 * level, 1 << within
            hashes = self.hashes(level, first // 256, size)
            found.append(root_of(hashes[first % 256 : first % 256 + count]))
            start += 1 << height
        node = found.pop()
        while found:
            node = node_hash(found.pop(), node)
        return node

    def roots(self, old: int, end: int, size: int, start: int = 0) -> tuple[bytes, bytes]:
        """Return the hashes over the leaves from start up to `old` and to `end`, made of the same nodes.

        So the second tree extends the first, as by the consistency proof of RFC 9162, 2.1.4.
        """
        if old == end:
            node = self.node(start, end, size)
            return node, node
        middle = start + split(end - start)
        if old <= middle:
            older, left = self.roots(old, middle, size, start)
            return older, node_hash(left, self.node(middle, end, size))
        left = self.node(start, middle, size)
        older, newer = self.roots(old, end, size, middle)
        return node_hash(left, older), node_hash(left, newer)

    def entries(self, size: int) -> Iterator[bytes]:
        """Yield the first `size` entries, in order."""
        for index in range(-(-size // 256)):
            width = min(256, size - 256 * index)
            data = self.read("entries", index, width)
            for _ in range(width):
                length = int.from_bytes(data[:2])
                if len(data) < 2 + length:
                    raise Wrong(f"{tile_name('entries', index)} is cut off")
                yield data[2 : 2 + length]
                data = data[2 + length :]


# --- Leaves -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Leaf:
    agent: str
    commitment: str
    kind: str
    position: int
    recorded_at: str


def leaf_of(data: bytes, what: str) -> Leaf:
    """Return the fields of a leaf. A version that is not known here may mean something else."""
    fields = parsed(data.decode("utf-8", "replace"), what)
    if fields.pop("v", None) != 1 or set(fields) != set(Leaf.__dataclass_fields__):
        raise Wrong(f"{what} is not one of version 1: get a newer verifier from the hub")
    return Leaf(**fields)


def described(signal: dict[str, Any]) -> str:
    words = [str(signal.get(name)) for name in ("action", "symbol", "entry_price") if signal.get(name)]
    return f"{signal.get('ecosystem')}/{signal.get('signal_id')} ({' '.join(words)})"


# --- Commands -----------------------------------------------------------------------------------------------


def verify_checkpoint(options: argparse.Namespace) -> str:
    found = checkpoint_of(text_of(options.file), options.keys, options.file)
    return f"{options.file} is a checkpoint of {found.origin}: {found.size:,} leaves"


def verify_proof(options: argparse.Namespace) -> str:
    proof = parsed(text_of(options.file), options.file)
    index, size, content, data = (given(proof, name) for name in ("index", "size", "content", "leaf_data"))
    found = checkpoint_of(str(given(proof, "checkpoint")), options.keys, "the proof's checkpoint")
    leaf = leaf_of(str(data).encode(), "the leaf")
    nonce = decoded(str(given(proof, "nonce")), "the nonce")
    if hashlib.sha256(nonce + str(content).encode()).hexdigest() != leaf.commitment:
        raise Wrong("the signal is not what was recorded: the leaf commits to another content")
    if size != found.size:
        raise Wrong(f"the proof is for a tree of {size} leaves, its checkpoint for one of {found.size}")
    hashes = [decoded(str(each), "the proof") for each in given(proof, "proof")]
    if root_of_proof(int(index), found.size, leaf_hash(str(data).encode()), hashes) != found.root:
        raise Wrong(f"the log does not hold this leaf at index {index}")
    signal = parsed(str(content), "the content")
    return (
        f"{described(signal)} was recorded at {leaf.recorded_at} exactly so: leaf {index} of {found.origin}"
    )


def verify_consistency(options: argparse.Namespace) -> str:
    old = checkpoint_of(text_of(options.old), options.keys, options.old)
    new = checkpoint_of(text_of(options.new), options.keys, options.new)
    if old.origin != new.origin:
        raise Wrong(f"{options.old} is of the log {old.origin}, {options.new} of {new.origin}")
    if new.size < old.size:
        raise Wrong(
            f"{options.new} has {new.size} leaves, fewer than the {old.size} of {options.old}: it is older"
        )
    if new.size == old.size and new.root != old.root:
        raise Wrong(f"the log was forked: two checkpoints of {new.size} leaves differ")
    if 0 < old.size < new.size:
        older, newer = options.log.roots(old.size, new.size, new.size)
        if newer != new.root:
            raise Wrong(f"the copy of the log is not that of {options.new}: download it again")
        if older != old.root:
            raise Wrong(f"the log was forked: it does not extend {options.old} of {old.size} leaves")
    return f"{new.origin}: the {new.size:,} leaves of {options.new} extend the {old.size:,} of {options.old}"


# --- An agent's record --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A leaf of the agent with what opens it; without content, it is hidden for a while."""

    index: int
    position: int
    recorded_at: str
    nonce: bytes
    content: str | None

    @property
    def name(self) -> str:
        return f"the {self.kind} at position {self.position} (leaf {self.index})"

    @property
    def kind(self) -> str:
        return "signal" if "signal_id" in self.fields else "outcome"

    @cached_property
    def fields(self) -> dict[str, Any]:
        return parsed(self.content or "{}", f"what opens leaf {self.index}")


@dataclass(frozen=True)
class Record:
    """The CSV of an agent: a line a call, and what opens all leaves."""

    lines: list[dict[str, str]]
    rows: list[Row]
    salt: bytes
    log_size: int
    """How many leaves of the log it covers."""
    hides: timedelta
    """For how long it may hide what has been recorded."""

    @property
    def opened(self) -> list[Row]:
        return [row for row in self.rows if row.content is not None]

    @property
    def agent(self) -> str:
        """The ecosystem and the name of the agent: those of most signals, if one was changed."""
        signals = [row.fields for row in self.opened if row.kind == "signal"]
        names = Counter(f"{signal['ecosystem']}/{signal['agent_source']}" for signal in signals)
        if not names:
            raise Wrong("the record opens no signal")
        return names.most_common(1)[0][0]


FOR_PROOFS = ("log_size", "hidden_seconds", "salt", "leaves")


def record_of(name: str) -> Record:
    csv.field_size_limit(2**31 - 1)  # the most that Windows takes
    lines = list(csv.DictReader(io.StringIO(text_of(name))))
    if not lines:
        raise Wrong(f"{name} has no line")
    if missing := {*FOR_PROOFS, *OF_SIGNAL, *OF_OUTCOME} - set(lines[0]):
        raise Wrong(f"{name} is not an agent's record: it has no column {min(missing)}")
    if any(None in line or None in line.values() for line in lines):
        raise Wrong(f"{name} is damaged: a line has not as many fields as the first")
    salts, sizes, hides = ({line[each] for line in lines} for each in ("salt", "log_size", "hidden_seconds"))
    if max(map(len, (salts, sizes, hides))) > 1:
        raise Wrong(f"{name} is put together of several records")
    [salt], [size], [hidden] = salts, sizes, hides
    if not salt:
        raise Wrong(f"{name} opens no leaves: its hub has no log of this agent")
    rows = [row_of(text, name) for line in lines for text in line["leaves"].split("\n") if text]
    return Record(lines, rows, decoded(salt, "the salt"), int(size), timedelta(seconds=int(hidden)))


def row_of(text: str, what: str) -> Row:
    index, position, recorded_at, nonce, content = [*text.split(" ", 4), "", "", "", "", ""][:5]
    if not re.fullmatch("[0-9]{1,18} -?[0-9]{1,18}", f"{index} {position}"):
        raise Wrong(f"{what} is damaged: {text[:40]!r} opens no leaf")
    opening = decoded(nonce, f"the nonce of leaf {index}"), content or None
    return Row(int(index), int(position), recorded_at, *opening)


@dataclass
class Call:
    """A call with its last outcome."""

    signal: dict[str, Any]
    recorded_at: str
    outcome: dict[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> str:
        return str(self.outcome.get("state", "waiting"))

    @property
    def simulated(self) -> bool:
        return is_simulated(self.signal)


ORDERS = {"MARKET", "LIMIT", "STOP"}


def is_simulated(signal: dict[str, Any]) -> bool:
    return bool({"synthetic", "replay"} & set(signal["tags"]))


def is_call(signal: dict[str, Any]) -> bool:
    is_order = signal["action"] in {"BUY", "SELL"} and signal["signal_type"] in ORDERS
    return is_order and signal["refers_to"] is None


def calls_of(rows: Sequence[Row]) -> dict[int, Call]:
    """Return the calls of a record by position, each with the outcome that was decided last."""
    calls = {
        row.position: Call(row.fields, row.recorded_at)
        for row in rows
        if row.kind == "signal" and is_call(row.fields)
    }
    for row in sorted((row for row in rows if row.kind == "outcome"), key=lambda row: row.fields["id"]):
        if row.position not in calls or row.fields["position"] != row.position:
            raise Wrong(f"{row.name} is an outcome of no call of this record")
        calls[row.position].outcome = row.fields
    return calls


def verify_record(options: argparse.Namespace) -> str:
    note = text_of(options.log.folder / "checkpoint")
    checkpoint = checkpoint_of(note, options.keys, "the log's checkpoint")
    record = record_of(options.file)
    newer = require_complete(record, options.log, checkpoint)
    calls = calls_of(record.opened)
    for line in record.lines:
        require_committed(line, calls.pop(int(line["position"]), None))
    if calls:
        raise Wrong(f"the record has no line of the call at position {min(calls)}")
    found = [f"all its {len(record.opened):,} leaves of the first {record.log_size:,} of {checkpoint.origin}"]
    if hidden := [row.recorded_at for row in record.rows if row.content is None]:
        found.append(f"{len(hidden)} more are hidden for up to {record.hides}, since {min(hidden)}")
    if newer:
        found.append(f"{newer} newer in the log are not in the record yet")
    kinds = (False, True)
    groups = {kind: [line for line in record.lines if line["simulated"] == cell(kind)] for kind in kinds}
    found += [described_figures(lines, kind) for kind, lines in groups.items() if lines]
    if options.statistics:
        published = parsed(text_of(options.statistics), options.statistics)
        figures = figures_of(groups[bool(given(published, "simulated"))])
        require_figures(published, figures, options.statistics)
        found.append(f"{options.statistics} says the same")
    return f"{record.agent}: {'; '.join(found)}"


def require_complete(record: Record, log: Log, checkpoint: Checkpoint) -> int:
    """Raise Wrong unless the rows are the agent's leaves of the log; return how many newer ones there are."""
    if max(record.log_size, *(row.index + 1 for row in record.rows)) > checkpoint.size:
        raise Wrong("the record is newer than the copy of the log: download that again")
    agent = hashlib.sha256(record.salt + record.agent.encode()).hexdigest()
    theirs, last = leaves_of(log, checkpoint, agent)
    shown = {row.position for row in record.opened if row.kind == "signal"}
    for row in record.rows:
        leaf = theirs.pop(row.index, None)
        if leaf is None:
            raise Wrong(f"{row.name} is not this agent's leaf of that index, or stands in the record twice")
        require_recorded(row, leaf, record.hides, last)
        if row.content is None and row.position in shown:
            raise Wrong(f"the record hides {row.name}, whose call it shows")
    for index, leaf in theirs.items():
        what = "a signal" if leaf.kind == "signal" else "an outcome of the call"
        where = f"at position {leaf.position}, recorded at {leaf.recorded_at} (leaf {index})"
        if index < record.log_size:
            raise Wrong(f"the record leaves out {what} {where}")
        if last - moment(leaf.recorded_at) > MAX_AGE:
            raise Wrong(f"the record is too old for {what} {where}: download it again")
    return len(theirs)


MAX_AGE = timedelta(days=1)
"""How much older than the copy of the log a record may be."""


def leaves_of(log: Log, checkpoint: Checkpoint, agent: str) -> tuple[dict[int, Leaf], datetime]:
    """Return the agent's leaves by index, and the time of the last leaf, if all lead to the root."""
    hashes: list[bytes] = []
    theirs: dict[int, Leaf] = {}
    data = b""
    for index, data in enumerate(log.entries(checkpoint.size)):
        hashes.append(leaf_hash(data))
        if agent.encode() in data:
            leaf = leaf_of(data, f"leaf {index}")
            theirs |= {index: leaf} if leaf.agent == agent else {}
    if root_of(hashes) != checkpoint.root:
        raise Wrong("the copy of the log is not that of its checkpoint: an entry is another")
    return theirs, moment(leaf_of(data, "the last leaf").recorded_at) if data else NEVER


def require_recorded(row: Row, leaf: Leaf, hides: timedelta, last: datetime) -> None:
    """Raise Wrong unless a row is what its leaf commits to, or may be hidden still."""
    kind = leaf.kind if row.content is None else row.kind
    if (kind, row.position, row.recorded_at) != (leaf.kind, leaf.position, leaf.recorded_at):
        was = f"a leaf of kind {leaf.kind} at position {leaf.position}, recorded at {leaf.recorded_at}"
        raise Wrong(f"{row.name} is in the log as {was}")
    if row.content is None:
        if leaf.kind == "signal" and moment(leaf.recorded_at) + hides < last:
            raise Wrong(f"the record hides {row.name}, recorded at {leaf.recorded_at}, for more than {hides}")
    elif hashlib.sha256(row.nonce + row.content.encode()).hexdigest() != leaf.commitment:
        raise Wrong(f"{row.name} is not what was recorded at {leaf.recorded_at}: it was changed since")


OF_SIGNAL = (
    *("ecosystem", "agent", "signal_id", "timestamp", "action", "signal_type"),
    *("claimed_price", "stop_loss", "take_profit"),
)
OF_OPEN = ("state", "exit_reason", "entered_at", "entry_price", "exited_at", "exit_price")
OF_OUTCOME = (
    *(*OF_OPEN, "gross_return", "net_return", "r_multiple", "mfe_r", "mae_r", "ambiguous"),
    *("horizon_hours", "fee_bps", "rule_version", "feed", "candle_seconds"),
)
"""The columns of a line that the log commits to. Of an open call, the other figures still move."""
A_MINUTE_LATER = "; if that is new, download the record in a minute again, and then the log"
"""A checkpoint follows what is recorded or decided within a minute."""
RENAMED = {"agent": "agent_source", "claimed_price": "entry_price", "candle_seconds": "seconds"}


def require_committed(line: dict[str, str], call: Call | None) -> None:
    """Raise Wrong unless what a line says is what the leaves of its call commit to."""
    if call is None:
        if line["state"] == "waiting":  # recorded since the checkpoint, and not part of any figure yet
            return
        what = f"the log has no call at position {line['position']}, of which the record has a line"
        raise Wrong(f"{what}{A_MINUTE_LATER}")
    outcome = {"state": "waiting"} | call.outcome
    columns = OF_OPEN if call.state in UNDECIDED else OF_OUTCOME
    expected = {column: call.signal[RENAMED.get(column, column)] for column in OF_SIGNAL}
    expected |= {column: outcome.get(RENAMED.get(column, column)) for column in columns}
    expected |= {"simulated": call.simulated, "slippage": slippage_of(line)}
    for column, value in expected.items():
        if line[column] != cell(value):
            what = f"{described(call.signal)}: {column} is {line[column] or 'nothing'} in its line"
            is_ahead = column == "state" and call.state in UNDECIDED
            raise Wrong(f"{what}, {cell(value) or 'nothing'} in the log{A_MINUTE_LATER if is_ahead else ''}")
    if moment(line["recorded_at"]) != moment(call.recorded_at):
        what = f"{described(call.signal)}: recorded_at is {line['recorded_at']} in its line"
        raise Wrong(f"{what}, {call.recorded_at} in the log")


def cell(value: Any) -> str:
    """Return a value as a line has it: what a spreadsheet would take for a formula begins with a quote."""
    text = json.dumps(value) if isinstance(value, bool) else "" if value is None else str(value)
    is_number = re.fullmatch(r"-?[0-9.]+( -?[0-9.]+)*", text)
    return f"'{text}" if text[:1] in {"=", "+", "-", "@"} and not is_number else text


def slippage_of(line: dict[str, str]) -> str:
    """Return by how much worse than it claimed a call was filled, as text; empty for other orders."""
    if line["signal_type"] != "MARKET" or not line["entry_price"] or not line["claimed_price"]:
        return ""
    side, claimed = 1 if line["action"] == "BUY" else -1, Decimal(line["claimed_price"])
    with localcontext(EXACTLY):
        return plain(rounded(side * (Decimal(line["entry_price"]) - claimed) / claimed))


def plain(figure: Decimal | None) -> str:
    """Return a figure as text, without zeros at its end."""
    return "" if figure is None else f"{figure:f}".rstrip("0").rstrip(".")


# --- Statistics ---------------------------------------------------------------------------------------------

STATES = ("waiting", "open", "closed", "unfilled", "missed", "cancelled", "unpriced")
DAYS_A_YEAR = {"crypto": 365, "forex": 252, "stock": 252}
Z_95 = 1.959963984540054
"""The 97.5th percentile of the normal distribution."""
DAY = timedelta(days=1)


def figures_of(lines: Sequence[dict[str, str]]) -> dict[str, Any]:
    """Return the statistics of calls, by the names and in the units of the hub's API."""
    closed = [line for line in lines if line["state"] == "closed"]
    multiples = [Decimal(line["r_multiple"]) for line in closed if line["r_multiple"]]
    won, lost = (sum(each for each in multiples if (each > 0) == gains) for gains in (True, False))
    states = Counter(line["state"] for line in lines)
    wins = sum(Decimal(line["net_return"]) > 0 for line in closed)
    by_day = equity_of(lines)
    equity = [Decimal(0), *(value for _, value in by_day)]
    falls = [peak - value for peak, value in zip(accumulate(equity, max), equity, strict=True)]
    changes = [float(after - before) for before, after in pairwise(equity)]
    is_long = len(changes) >= 60 and len(closed) >= 30 and stdev(changes) > 0
    year = DAYS_A_YEAR[lines[0]["ecosystem"]] if lines else 0
    lags = [seconds(line["timestamp"], line["recorded_at"]) for line in lines]
    return {
        "calls": len(lines),
        "states": {state: states[state] for state in STATES},
        "wins": wins,
        "win_rate": wins / len(closed) if closed else None,
        "win_rate_interval": wilson_interval(wins, len(closed)) if closed else None,
        "mean_r": average(multiples),
        "median_r": median(multiples) if multiples else None,
        "total_r": equity[-1],
        "profit_factor": won / -lost if lost else None,
        "max_drawdown_r": max(falls),
        "sharpe": mean(changes) / stdev(changes) * sqrt(year) if is_long else None,
        "mean_holding_seconds": average([seconds(line["entered_at"], line["exited_at"]) for line in closed]),
        "median_lag_seconds": median(lags) if lags else None,
        "mean_slippage": average([Decimal(line["slippage"]) for line in lines if line["slippage"]]),
        "holding_return": holding_return(lines),
        "equity": [{"day": str(day), "r": value} for day, value in by_day],
    }


def average(values: Sequence[Any]) -> Any:
    return mean(values) if values else None


def equity_of(lines: Sequence[dict[str, str]]) -> list[tuple[date, Decimal]]:
    """Return the sum of R at the end of each UTC day; open calls keep the value of their last close."""
    settled: dict[date, Decimal] = defaultdict(Decimal)
    held: dict[date, Decimal] = defaultdict(Decimal)
    for line in lines:
        if line["r_multiple"]:
            day = moment(line["entered_at"]).date()
            for marked in line["daily_r"].split():
                held[day] += Decimal(marked)
                day += DAY
            settled[day] += Decimal(line["r_multiple"])
    days = sorted({*settled, *held})
    equity, total, day = [], Decimal(0), days[0] if days else date.max
    while days and day <= days[-1]:
        total += settled[day]
        equity.append((day, total + held[day]))
        day += DAY
    return equity


def wilson_interval(wins: int, count: int) -> list[float]:
    """Return the bounds between which a share lies with 95 % confidence, by Wilson."""
    share, weight = wins / count, Z_95**2 / count
    margin = Z_95 * sqrt(share * (1 - share) / count + weight / (4 * count))
    bounds = ((share + weight / 2 + sign * margin) / (1 + weight) for sign in (-1, 1))
    return [min(1.0, max(0.0, bound)) for bound in bounds]


def holding_return(lines: Sequence[dict[str, str]]) -> Decimal | None:
    """Return what holding each instrument from the first entry to the last price would have returned."""
    by_instrument: dict[str, list[dict[str, str]]] = defaultdict(list)
    for line in lines:
        if line["entered_at"]:
            by_instrument[line["instrument"]].append(line)
    returns = []
    for each in by_instrument.values():
        first = min(each, key=lambda line: (moment(line["entered_at"]), int(line["position"])))
        last = max(each, key=lambda line: (moment(line["exited_at"] or str(NEVER)), int(line["position"])))
        bought, sold = Decimal(first["entry_price"]), Decimal(last["last_close"])
        returns.append((sold - bought - Decimal(first["fee_bps"]) / 10_000 * (bought + sold)) / bought)
    return average(returns)


def require_figures(published: dict[str, Any], ours: dict[str, Any], name: str) -> None:
    """Raise Wrong unless the statistics that were published follow from the record."""
    for figure, value in ours.items():
        mine, theirs = (dict(flattened(figure, each)) for each in (value, given(published, figure)))
        for part in mine | theirs:
            if not is_same(mine.get(part), theirs.get(part)):
                raise Wrong(f"{part} is {theirs.get(part)} in {name}, {mine.get(part)} by the record")


def flattened(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, (dict, list)):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from flattened(f"{name} {key}", each)
    else:
        yield name, value


def is_same(ours: Any, theirs: Any) -> bool:
    if None in (ours, theirs) or isinstance(ours, str):
        return bool(ours == theirs)
    return isclose(float(ours), float(theirs), rel_tol=1e-9, abs_tol=1e-12)


def seconds(first: str, last: str) -> float:
    return (moment(last) - moment(first)).total_seconds()


def described_figures(lines: Sequence[dict[str, str]], simulated: bool) -> str:
    """Return the statistics of calls in a few words."""
    figures = figures_of(lines)
    counted = ", ".join(f"{count} {state}" for state, count in sorted(figures["states"].items()) if count)
    found = [f"{len(lines)} {'simulated ' if simulated else ''}calls: {counted}"]
    if figures["win_rate"] is not None:
        found.append(f"win rate {100 * figures['win_rate']:.1f} %")
    if figures["mean_r"] is not None:
        factor = figures["profit_factor"]
        found.append(f"mean R {figures['mean_r']:.4f}, median R {figures['median_r']:.4f}")
        found.append("no loss" if factor is None else f"profit factor {factor:.2f}")
        found.append(f"maximum drawdown {figures['max_drawdown_r']:.2f} R")
    return "; ".join(found)


# --- Outcomes, scored again from prices ---------------------------------------------------------------------

NEW_YORK = "America/New_York"
"""Looked up only where an outcome needs it: Windows has no time zones without the package `tzdata`."""
HORIZONS = {"crypto": "720", "forex": "504", "stock": "136.5"}
FEES = {"crypto": "10", "forex": "1", "stock": "2"}
"""The time stop and the fees that apply unless an outcome names others."""
UNDECIDED = {"waiting", "open"}


@dataclass(frozen=True)
class Candle:
    at: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal


def prices_of(folder: Path, symbol: str) -> list[Candle]:
    """Return the closed candles of a symbol, oldest first, from the file of its name, as BTC_USDT-1m.csv."""
    for path in sorted(folder.glob("*.csv")):
        if letters(path.stem.partition("-")[0]) == letters(symbol):
            lines = csv.DictReader(io.StringIO(text_of(path).lstrip("\ufeff")))
            try:
                return sorted(map(candle_of, lines), key=lambda candle: candle.at)
            except (ArithmeticError, KeyError, TypeError, ValueError):
                what = "a timestamp and the prices open, high, low and close, each in its column"
                raise Wrong(f"{path}, line {lines.line_num}: a candle is {what}") from None
    raise Wrong(f"{folder} has no prices of {symbol}: a file such as {letters(symbol)}-1m.csv")


def candle_of(line: dict[str, str]) -> Candle:
    prices = [Decimal(line[name]) for name in ("open", "high", "low", "close")]
    return Candle(moment(line["timestamp"]), *prices)


def letters(symbol: str) -> str:
    return re.sub(r"\W|_", "", symbol).upper()


def moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def later(ecosystem: str, start: datetime, hours: str) -> datetime:
    """Return the time at which the market was open for so long since `start`. Crypto never closes."""
    left = timedelta(hours=float(hours))
    if ecosystem == "crypto":
        return start + left
    session_of = forex_session if ecosystem == "forex" else stock_session
    day = start.astimezone(ZoneInfo(NEW_YORK)).date() - 7 * DAY
    while True:
        if session := session_of(day):
            opened, closed = max(start, session[0]), session[1]
            if opened + left <= closed:
                return opened + left
            left -= max(closed - opened, timedelta(0))
        day += DAY


def new_york(day: date, hour: int, minute: int = 0) -> datetime:
    """Return a time of New York, in UTC: differences of such times are right where the clocks change."""
    return datetime.combine(day, time(hour, minute), ZoneInfo(NEW_YORK)).astimezone(UTC)


Session = tuple[datetime, datetime]


def forex_session(day: date) -> Session | None:
    """Return the week that begins on a day: from Sunday to Friday, at 17:00 in New York."""
    return (new_york(day, 17), new_york(day + 5 * DAY, 17)) if day.weekday() == 6 else None


def stock_session(day: date) -> Session | None:
    """Return the regular session of US stocks on a day, as the rules of the NYSE have been since 2004."""
    if day.weekday() > 4 or day in holidays(day.year):
        return None
    is_short = (day.month, day.day) in {(7, 3), (12, 24)} or day - DAY == nth(day.year, 11, THURSDAY, 3)
    return new_york(day, 9, 30), new_york(day, 13 if is_short else 16)


MONDAY, THURSDAY = 0, 3
CLOSED_ONCE = (
    *(date(2004, 6, 11), date(2007, 1, 2), date(2018, 12, 5), date(2025, 1, 9)),  # mourning
    *(date(2012, 10, 29), date(2012, 10, 30)),  # a hurricane
)


@lru_cache
def holidays(year: int) -> set[date]:
    fixed = [date(year, 7, 4), date(year, 12, 25), *([date(year, 6, 19)] if year > 2021 else [])]
    nearest = {each + {5: -DAY, 6: DAY}.get(each.weekday(), timedelta(0)) for each in fixed}
    new_year = date(year, 1, 2 if date(year, 1, 1).weekday() == 6 else 1)
    mondays = {nth(year, month, MONDAY, number) for month, number in ((1, 2), (2, 2), (5, -1), (9, 0))}
    return {new_year, good_friday(year), nth(year, 11, THURSDAY, 3), *nearest, *mondays, *CLOSED_ONCE}


def nth(year: int, month: int, weekday: int, number: int) -> date:
    """Return a weekday of a month, counted from 0, or from the end by -1."""
    days = [date(year, month, 1) + each * DAY for each in range(31)]
    return [day for day in days if (day.month, day.weekday()) == (month, weekday)][number]


def good_friday(year: int) -> date:
    """Return the Friday before Easter of a year from 1900 to 2099, by Gauss' formula."""
    moon = (19 * (year % 19) + 24) % 30
    rest = (2 * (year % 4) + 4 * (year % 7) + 6 * moon + 5) % 7
    is_late = rest == 6 and (moon == 29 or (moon == 28 and year % 19 > 10))
    return date(year, 3, 20) + (moon + rest - 7 * is_late) * DAY


@dataclass
class Scoring:
    """One call, followed through the candles by the rules of the track record, version 1."""

    call: Call
    t0: datetime
    ending: tuple[datetime, str]
    """The earliest CLOSE or call of the other side, and which of them."""
    amendments: list[tuple[datetime, Decimal | None, Decimal | None]]
    """From when each stop and target holds, in order."""

    def __post_init__(self) -> None:
        signal = self.call.signal
        self.side = 1 if signal["action"] == "BUY" else -1
        prices = [decimal(signal[name]) for name in ("entry_price", "stop_loss", "take_profit")]
        self.claimed, self.stop, self.target = prices
        self.first_stop = self.stop
        self.at_open = signal["signal_type"] == "MARKET" or self.claimed is None

    def run(self, prices: Sequence[Candle]) -> dict[str, Any]:
        """Return the outcome by these prices, with the names that an outcome event uses."""
        ecosystem = self.call.signal["ecosystem"]
        fill_by = later(ecosystem, self.t0, "24")
        candles = [candle for candle in prices if candle.at >= self.t0]
        if not candles or candles[0].at >= fill_by:
            return {"state": "unpriced" if fill_by <= datetime.now(UTC) else "waiting"}
        for number, candle in enumerate(candles):
            if candle.at >= min(fill_by, self.ending[0]):
                return {"state": "cancelled" if self.ending[0] < fill_by else "unfilled"}
            self.amend(candle.at)
            entry = self.fill(candle)
            if entry is not None:
                if not self.is_within(entry):
                    return {"state": "missed"}
                hours = self.call.outcome.get("horizon_hours") or HORIZONS[ecosystem]
                return self.hold(candles[number:], entry, later(ecosystem, candle.at, hours))
        return {"state": "waiting"}

    def amend(self, at: datetime) -> None:
        while self.amendments and self.amendments[0][0] <= at:
            _, stop, target = self.amendments.pop(0)
            self.stop = self.stop if stop is None else stop
            self.target = self.target if target is None else target

    def fill(self, candle: Candle) -> Decimal | None:
        """Return the price at which a candle fills the call, None if it does not."""
        if self.at_open or self.claimed is None:
            return candle.open
        up = self.side > 0
        if self.call.signal["signal_type"] == "LIMIT":
            return self.claimed if (candle.low < self.claimed if up else candle.high > self.claimed) else None
        if not (candle.high >= self.claimed if up else candle.low <= self.claimed):
            return None
        return max(self.claimed, candle.open) if up else min(self.claimed, candle.open)

    def is_within(self, price: Decimal) -> bool:
        """Return whether a price lies between stop and target."""
        beyond_stop = self.stop is not None and self.side * (price - self.stop) <= 0
        beyond_target = self.target is not None and self.side * (self.target - price) <= 0
        return not beyond_stop and not beyond_target

    def hold(self, candles: Sequence[Candle], entry: Decimal, expires: datetime) -> dict[str, Any]:
        """Follow the position from the candle in which it was entered."""
        due, reason = self.ending if self.ending[0] <= expires else (expires, "expired")
        worse = min if self.side > 0 else max
        best = worst = Decimal(0)
        length, close = timedelta(seconds=self.call.outcome.get("seconds") or 60), entry
        days: list[str] = []
        entered_on = candles[0].at.date()
        found = None
        for candle in candles:
            first = candle is candles[0] and not self.at_open
            self.amend(candle.at)
            while candle.at + length > midnight(entered_on + (len(days) + 1) * DAY):
                days.append(plain(self.in_risks(entry, self.net(entry, close))))
            low, high = (candle.low, candle.high) if self.side > 0 else (candle.high, candle.low)
            stopped = self.stop is not None and self.side * (low - self.stop) <= 0
            reached = self.target is not None and self.side * (high - self.target) > 0 and not first
            ambiguous = False
            if candle.at >= due:
                found = (candle.open, reason)
            elif stopped and self.stop is not None:
                found, ambiguous = (self.stop if first else worse(self.stop, candle.open), "stop"), reached
            elif reached and self.target is not None:
                found = (self.target, "target")
            if found:
                break
            best = best if first else max(best, self.side * (high - entry))
            worst = max(worst, -self.side * (low - entry))
            close = candle.close
        gains = self.side * (found[0] - entry) if found else Decimal(0)
        outcome = {
            "state": "open",
            "entered_at": candles[0].at,
            "entry_price": entry,
            "mfe_r": self.in_risks(entry, max(best, gains)),
            "mae_r": self.in_risks(entry, max(worst, -gains)),
        }
        if found is None:
            return outcome
        price, reason = found
        return outcome | {
            "state": "closed",
            "exit_reason": reason,
            "exited_at": candle.at,
            "exit_price": price,
            "gross_return": rounded(gains / entry),
            "net_return": rounded(self.net(entry, price) / entry),
            "r_multiple": self.in_risks(entry, self.net(entry, price)),
            "ambiguous": ambiguous,
            "daily_r": " ".join(days[: (candle.at.date() - entered_on).days]).strip(),
        }

    def net(self, entry: Decimal, price: Decimal) -> Decimal:
        bps = self.call.outcome.get("fee_bps") or FEES[self.call.signal["ecosystem"]]
        return self.side * (price - entry) - Decimal(bps) / 10_000 * (entry + price)

    def in_risks(self, entry: Decimal, figure: Decimal) -> Decimal | None:
        """Return a figure in R; None for a call without a risk."""
        if self.first_stop is None:
            return None
        bases = [price for price in (entry, self.claimed) if price is not None]
        risk = max(abs(price - self.first_stop) for price in bases)
        return rounded(figure / risk) if risk else None


def midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def rounded(figure: Decimal) -> Decimal:
    return figure.quantize(ROUNDED, context=Context(prec=80, rounding=ROUND_HALF_EVEN))


def decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


Acting = tuple[datetime, int, dict[str, Any]]
"""The t0, the position and the fields of a signal."""


def acting(row: Row) -> Acting:
    signal = row.fields
    return moment(signal["timestamp"] if is_simulated(signal) else row.recorded_at), row.position, signal


def scorings_of(rows: Sequence[Row]) -> list[Scoring]:
    """Return what is to be followed: each call with what ends or amends it, by t0, then by position."""
    signals = sorted((acting(row) for row in rows if row.kind == "signal"), key=lambda signal: signal[:2])
    calls = {call.signal["signal_id"]: call for call in calls_of(rows).values()}
    return [
        scoring_of(calls[signal["signal_id"]], t0, signals[number:])
        for number, (t0, _, signal) in enumerate(signals, start=1)
        if signal["signal_id"] in calls
    ]


def scoring_of(call: Call, t0: datetime, later_ones: Sequence[Acting]) -> Scoring:
    signal = call.signal
    # A simulated signal acts on no real call, since its time can be set back.
    after = [(at, other) for at, _, other in later_ones if call.simulated or not is_simulated(other)]
    endings = [(at, reason) for at, other in after if (reason := ends(signal, other))]
    amendments = [
        (at, decimal(other["stop_loss"]), decimal(other["take_profit"]))
        for at, other in after
        if (other["refers_to"], other["action"]) == (signal["signal_id"], signal["action"])
    ]
    return Scoring(call, t0, min(endings, default=(NEVER, "close")), amendments)


def ends(call: dict[str, Any], other: dict[str, Any]) -> str | None:
    """Return why a later signal ends a call, None if it does not."""
    same_market = letters(other["symbol"]) == letters(call["symbol"])
    if other["action"] == "CLOSE" and other["refers_to"] is not None:
        return "close" if other["refers_to"] == call["signal_id"] else None
    if other["action"] == "CLOSE":
        return "close" if same_market else None
    opens = other["refers_to"] is None and other["signal_type"] in ORDERS
    opposite = {"BUY": "SELL", "SELL": "BUY"}[call["action"]]
    return "reversal" if opens and same_market and other["action"] == opposite else None


PRICES = ("entry_price", "exit_price", "gross_return", "net_return", "r_multiple", "mfe_r", "mae_r")
FIGURES = ("state", "exit_reason", "entered_at", "exited_at", "ambiguous", "daily_r", *PRICES)


def verify_outcomes(options: argparse.Namespace) -> str:
    record = record_of(options.file)
    newest = max(moment(row.recorded_at) for row in record.opened)
    hidden = min((moment(row.recorded_at) for row in record.rows if row.content is None), default=NEVER)
    counted: Counter[str] = Counter()
    marks = {line["signal_id"]: line["daily_r"] for line in record.lines}
    by_symbol: dict[str, list[Scoring]] = defaultdict(list)
    for scoring in scorings_of(record.opened):
        by_symbol[scoring.call.signal["symbol"]].append(scoring)
    for symbol, scorings in by_symbol.items():
        candles = prices_of(options.prices, symbol)
        for scoring in scorings:
            call = scoring.call
            call.outcome = call.outcome | {"daily_r": marks.get(cell(call.signal["signal_id"]), "")}
            counted[verified(scoring, candles, newest, hidden)] += 1
    found = ", ".join(f"{count} {what}" for what, count in sorted(counted.items())) or "no calls"
    return f"{record.agent}: the outcomes follow from the prices: {found}"


def verified(scoring: Scoring, candles: Sequence[Candle], newest: datetime, hidden: datetime) -> str:
    """Return what was found of a call. Raises Wrong where its outcome is not that of the prices.

    What is hidden still may end or amend a call that was not over before.
    """
    call, claimed = scoring.call, scoring.call.outcome
    if hidden < NEVER and (call.simulated or moment(claimed.get("scored_to") or NEVER.isoformat()) >= hidden):
        return "not verified before all signals are shown"
    with localcontext(EXACTLY):
        computed = {"ambiguous": False, "daily_r": ""} | scoring.run(candles)
    if call.state in UNDECIDED:
        ended = computed.get("exited_at", NEVER)
        if ended < newest - timedelta(days=1):
            what = f"{described(call.signal)} is {call.state} in the record"
            raise Wrong(f"{what}, closed at {shown(ended)} by the prices")
        return call.state
    for name in FIGURES:
        ours, theirs = computed.get(name), claimed[name]
        if theirs is not None:
            theirs = moment(theirs) if name.endswith("_at") else Decimal(theirs) if name in PRICES else theirs
        if ours != theirs:
            what = f"{described(call.signal)}: {name}"
            raise Wrong(f"{what} is {shown(theirs)} in the record, {shown(ours)} by the prices")
    return call.state


def shown(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return "nothing" if value is None else str(value)


# --- Files and arguments ------------------------------------------------------------------------------------


def text_of(name: str | Path) -> str:
    try:
        return Path(name).read_text("utf-8")
    except UnicodeDecodeError:
        raise Wrong(f"{name} is not UTF-8") from None


def parsed(text: str, what: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Wrong(f"{what} is not a JSON object")
    return found


def given(found: dict[str, Any], name: str) -> Any:
    if name not in found:
        raise Wrong(f"there is no {name!r} in a file: download it from the hub again")
    return found[name]


def decoded(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise Wrong(f"{what} is not base64") from None


def key_of(text: str) -> Key:
    return Key.parse(text_of(text) if "+" not in text or Path(text).is_file() else text)


class Parser(argparse.ArgumentParser):
    """Ends with 1 for a wrong command line, as for all that is wrong."""

    def error(self, message: str) -> NoReturn:
        raise Wrong(f"{message}; see --help")


COMMANDS: dict[str, tuple[Callable[[argparse.Namespace], str], list[str], list[str]]] = {
    "checkpoint": (verify_checkpoint, ["file"], ["--key"]),
    "proof": (verify_proof, ["file"], ["--key"]),
    "consistency": (verify_consistency, ["old", "new"], ["--key", "--log"]),
    "record": (verify_record, ["file"], ["--key", "--log", "--statistics"]),
    "outcomes": (verify_outcomes, ["file"], ["--prices"]),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "--key": {"action": "append", "required": True, "metavar": "KEY"},
    "--log": {"type": lambda text: Log(Path(text)), "required": True, "metavar": "DIR"},
    "--statistics": {"metavar": "JSON"},
    "--prices": {"type": Path, "required": True, "metavar": "DIR"},
}


def parser() -> Parser:
    made = Parser(
        prog="verify_record.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = made.add_subparsers(dest="command", required=True)
    for name, (run, files, options) in COMMANDS.items():
        command = commands.add_parser(name)
        command.set_defaults(run=run, key=[])
        for file in files:
            command.add_argument(file)
        for option in options:
            command.add_argument(option, **OPTIONS[option])
    return made


MALFORMED = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What reading a file raises that is of another shape."""


def one_line(text: str) -> str:
    """Return a text as one line: what it quotes of a file cannot pass for a line of its own."""
    return "".join(each if each.isprintable() else "?" for each in text) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal of another encoding gets question marks
    try:
        options = parser().parse_args(arguments)
        options.keys = [key_of(text) for text in options.key]
        sys.stdout.write(one_line(f"ok: {options.run(options)}"))
        return 0
    except Wrong as error:
        wrong = str(error)
    except OSError as error:
        wrong = f"{error.filename} cannot be read: {error.strerror}"
    except MALFORMED as error:
        wrong = f"a file does not hold what it should ({type(error).__name__})"
    sys.stderr.write(one_line(f"wrong: {wrong}"))
    return 1


if __name__ == "__main__":
    sys.exit(main())

"""Verify a hub's record by yourself: offline, from files that you have downloaded.

Needs Python 3.11 and the package `cryptography`, and nothing of the hub. What each command proves, and how to
download its files, is described in the hub's docs/verify.md.

    python verify_record.py checkpoint FILE --key KEY
    python verify_record.py proof FILE --key KEY
    python verify_record.py consistency OLD NEW --log DIR --key KEY
    python verify_record.py record CSV --log DIR --key KEY
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
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from pathlib import Path
from statistics import median
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class Wrong(Exception):
    """Something is not as it should be; the text is the line that is printed."""


# --- Hashes of RFC 6962, and proofs as RFC 9162 verifies them -----------------------------------------------


def leaf_hash(data: bytes) -> bytes:
    return hashlib.sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def root_of_proof(index: int, size: int, leaf: bytes, proof: Sequence[bytes]) -> bytes | None:
    """Return the root to which an inclusion proof leads (RFC 9162, 2.1.3.2); None for another's."""
    if not 0 <= index < size:
        return None
    node, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return None
        if node & 1 or node == last:
            found = node_hash(sibling, found)
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        node, last = node >> 1, last >> 1
    return found if last == 0 else None


def roots_of_proof(old: int, new: int, old_root: bytes, proof: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """Return both roots to which a consistency proof leads (RFC 9162, 2.1.4.2); None for another's."""
    hashes = [*([] if old & (old - 1) else [old_root]), *proof]
    if not 0 < old < new or not proof:
        return None
    node, last = old - 1, new - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    left = right = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            return None
        if node & 1 or node == last:
            left, right = node_hash(sibling, left), node_hash(sibling, right)
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            right = node_hash(right, sibling)
        node, last = node >> 1, last >> 1
    return (left, right) if last == 0 else None


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

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Return the proof that a tree of `new` leaves extends one of `old` (RFC 9162, 2.1.4.1)."""
        start, end, spans = 0, new, []
        while end != old:
            middle = start + (1 << (end - start - 1).bit_length() - 1)
            spans.append((middle, end) if old <= middle else (start, middle))
            start, end = (start, middle) if old <= middle else (middle, end)
        return [self.node(*span, new) for span in ([(start, end)] if start else []) + spans[::-1]]

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
        if options.log.node(0, new.size, new.size) != new.root:
            raise Wrong(f"the copy of the log is not that of {options.new}: download it again")
        proof = options.log.consistency(old.size, new.size)
        if roots_of_proof(old.size, new.size, old.root, proof) != (old.root, new.root):
            raise Wrong(f"the log was forked: it does not extend {options.old} of {old.size} leaves")
    return f"{new.origin}: the {new.size:,} leaves of {options.new} extend the {old.size:,} of {options.old}"


# --- An agent's record --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A line of the record: a leaf with what opens it."""

    index: int
    kind: str
    position: int
    recorded_at: str
    agent: str
    salt: bytes
    nonce: bytes
    content: str

    @property
    def name(self) -> str:
        return f"the {self.kind} at position {self.position} (leaf {self.index})"

    def fields(self) -> dict[str, Any]:
        return parsed(self.content, self.name)


def rows_of(name: str) -> list[Row]:
    """Return the lines of a record with proofs."""
    csv.field_size_limit(2**24)
    lines = list(csv.DictReader(io.StringIO(text_of(name))))
    if not lines:
        raise Wrong(f"{name} has no line")
    if missing := set(Row.__dataclass_fields__) - set(lines[0]):
        raise Wrong(f"{name} is not a record with proofs: it has no column {min(missing)}")
    return [row_of(line, f"line {number} of {name}") for number, line in enumerate(lines, start=2)]


def row_of(line: dict[str, Any], what: str) -> Row:
    given = {field: line[field] for field in Row.__dataclass_fields__}
    numbers = {field: given[field] for field in ("index", "position")}
    if None in given.values() or not all(re.fullmatch("[0-9]{1,18}", text) for text in numbers.values()):
        raise Wrong(f"{what} is damaged")
    raw = {field: decoded(given[field], what) for field in ("salt", "nonce")}
    return Row(**given | raw | {field: int(text) for field, text in numbers.items()})


def agent_of(rows: Sequence[Row]) -> str:
    """Return the hash by which the log names the agent that all lines are of."""
    agents = {(row.agent, row.salt) for row in rows}
    if len(agents) > 1:
        raise Wrong("the record is of several agents")
    [(agent, salt)] = agents
    return hashlib.sha256(salt + agent.encode()).hexdigest()


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


def calls_of(rows: Sequence[Row]) -> list[Call]:
    """Return the calls of a record, each with the outcome that was decided last."""
    calls: dict[int, Call] = {}
    for row in rows:
        if row.kind == "signal":
            signal = row.fields()
            is_call = signal["action"] in {"BUY", "SELL"} and signal["signal_type"] in ORDERS
            if is_call and signal["refers_to"] is None:
                calls[row.position] = Call(signal, row.recorded_at)
    for row in sorted((row for row in rows if row.kind == "outcome"), key=lambda row: row.fields()["id"]):
        outcome = row.fields()
        if row.position not in calls or outcome["position"] != row.position:
            raise Wrong(f"{row.name} is an outcome of no call of this record")
        calls[row.position].outcome = outcome
    return list(calls.values())


def statistics_of(calls: Sequence[Call]) -> str:
    """Return the statistics of calls in a few words: of the real ones, and how many are simulated."""
    real = [call for call in calls if not call.simulated]
    states = Counter(call.state for call in real)
    counted = ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "none"
    found = [f"{len(real)} calls: {counted}"]
    if simulated := len(calls) - len(real):
        found.append(f"{simulated} simulated")
    closed = [call.outcome for call in real if call.state == "closed"]
    if closed:
        won = sum(Decimal(outcome["net_return"]) > 0 for outcome in closed)
        found.append(f"win rate {100 * won / len(closed):.1f} %")
    if multiples := sorted(Decimal(each["r_multiple"]) for each in closed if each["r_multiple"] is not None):
        lost = -sum(multiple for multiple in multiples if multiple < 0)
        gained = sum(multiple for multiple in multiples if multiple > 0)
        found.append(f"mean R {sum(multiples) / len(multiples):.4f}, median R {median(multiples):.4f}")
        found.append(f"profit factor {gained / lost:.2f}" if lost else "no loss")
    return "; ".join(found)


def verify_record(options: argparse.Namespace) -> str:
    note = text_of(options.log.folder / "checkpoint")
    checkpoint = checkpoint_of(note, options.keys, "the log's checkpoint")
    rows = rows_of(options.file)
    theirs = leaves_of(options.log, checkpoint, agent_of(rows))
    for row in rows:
        if row.index >= checkpoint.size:
            raise Wrong(f"{row.name} is newer than the copy of the log: download that again")
        require_recorded(row, theirs.pop(row.index, None))
    for index, leaf in theirs.items():
        what = "a signal" if leaf.kind == "signal" else "an outcome of the call"
        where = f"at position {leaf.position}, recorded at {leaf.recorded_at} (leaf {index})"
        raise Wrong(f"the record leaves out {what} {where}")
    statistics = statistics_of(calls_of(rows))
    return f"{rows[0].agent}: all its {len(rows):,} leaves of {checkpoint.origin}; {statistics}"


def leaves_of(log: Log, checkpoint: Checkpoint, agent: str) -> dict[int, Leaf]:
    """Return the agent's leaves by index, once all entries have led to the checkpoint's root."""
    hashes: list[bytes] = []
    theirs: dict[int, Leaf] = {}
    for index, data in enumerate(log.entries(checkpoint.size)):
        hashes.append(leaf_hash(data))
        if agent.encode() in data:
            leaf = leaf_of(data, f"leaf {index}")
            theirs |= {index: leaf} if leaf.agent == agent else {}
    if root_of(hashes) != checkpoint.root:
        raise Wrong("the copy of the log is not that of its checkpoint: an entry is another")
    return theirs


def require_recorded(row: Row, leaf: Leaf | None) -> None:
    """Raise Wrong unless a line is what its leaf commits to."""
    if leaf is None:
        raise Wrong(f"{row.name} is not this agent's leaf of that index, or stands in the record twice")
    if (row.kind, row.position, row.recorded_at) != (leaf.kind, leaf.position, leaf.recorded_at):
        was = f"a leaf of kind {leaf.kind} at position {leaf.position}, recorded at {leaf.recorded_at}"
        raise Wrong(f"{row.name} is in the log as {was}")
    if hashlib.sha256(row.nonce + row.content.encode()).hexdigest() != leaf.commitment:
        raise Wrong(f"{row.name} is not what was recorded at {leaf.recorded_at}: it was changed since")


# --- Outcomes, scored again from prices ---------------------------------------------------------------------

ROUNDED = Decimal("1e-12")
NEVER = datetime.max.replace(tzinfo=UTC)
NEW_YORK = ZoneInfo("America/New_York")
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
            return sorted(map(candle_of, lines), key=lambda candle: candle.at)
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
    """Return the time at which the market was open for so long since `start`.

    Crypto never closes; forex from Friday to Sunday, at 17:00 in New York. The calendars of the exchanges are
    not known here, so what a deadline decides of a stock is not verified.
    """
    left = timedelta(hours=float(hours))
    if ecosystem != "forex":
        return start + left if ecosystem == "crypto" else NEVER
    local = start.astimezone(NEW_YORK)
    sunday = local.date() - timedelta(days=(local.weekday() + 1) % 7)
    if rollover(sunday) > start:
        sunday -= timedelta(days=7)
    while True:
        opened, closed = max(start, rollover(sunday)), rollover(sunday + timedelta(days=5))
        if opened + left <= closed:
            return opened + left
        left -= max(closed - opened, timedelta(0))
        sunday += timedelta(days=7)


def rollover(day: date) -> datetime:
    """Return 17:00 in New York, in UTC: differences of such times are right where the clocks change."""
    return datetime.combine(day, time(17), NEW_YORK).astimezone(UTC)


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
        for candle in candles:
            first = candle is candles[0] and not self.at_open
            self.amend(candle.at)
            low, high = (candle.low, candle.high) if self.side > 0 else (candle.high, candle.low)
            stopped = self.stop is not None and self.side * (low - self.stop) <= 0
            reached = self.target is not None and self.side * (high - self.target) > 0 and not first
            found, ambiguous = None, False
            if candle.at >= due:
                found = (candle.open, reason)
            elif stopped and self.stop is not None:
                found, ambiguous = (self.stop if first else worse(self.stop, candle.open), "stop"), reached
            elif reached and self.target is not None:
                found = (self.target, "target")
            if found:
                gains = self.side * (found[0] - entry)
                moved = self.moved(candles[0].at, entry, max(best, gains), max(worst, -gains))
                return moved | self.closed(entry, candle.at, *found) | {"ambiguous": ambiguous}
            best = best if first else max(best, self.side * (high - entry))
            worst = max(worst, -self.side * (low - entry))
        return {"state": "open"} | self.moved(candles[0].at, entry, best, worst)

    def risk(self, entry: Decimal) -> Decimal | None:
        if self.first_stop is None:
            return None
        bases = [price for price in (entry, self.claimed) if price is not None]
        return max(abs(price - self.first_stop) for price in bases) or None

    def moved(self, at: datetime, entry: Decimal, best: Decimal, worst: Decimal) -> dict[str, Any]:
        risk = self.risk(entry)
        moves = {"mfe_r": best, "mae_r": worst}
        ratios = {name: None if risk is None else rounded(move / risk) for name, move in moves.items()}
        return {"entered_at": at, "entry_price": entry} | ratios

    def closed(self, entry: Decimal, at: datetime, price: Decimal, reason: str) -> dict[str, Any]:
        bps = self.call.outcome.get("fee_bps") or FEES[self.call.signal["ecosystem"]]
        gross = self.side * (price - entry)
        net = gross - Decimal(bps) / 10_000 * (entry + price)
        risk = self.risk(entry)
        return {
            "state": "closed",
            "exit_reason": reason,
            "exited_at": at,
            "exit_price": price,
            "gross_return": rounded(gross / entry),
            "net_return": rounded(net / entry),
            "r_multiple": None if risk is None else rounded(net / risk),
        }


def rounded(figure: Decimal) -> Decimal:
    with localcontext() as context:
        context.prec = 80
        return figure.quantize(ROUNDED)


def decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


Acting = tuple[datetime, int, dict[str, Any]]
"""The t0, the position and the fields of a signal."""


def acting(row: Row) -> Acting:
    signal = row.fields()
    return moment(signal["timestamp"] if is_simulated(signal) else row.recorded_at), row.position, signal


def scorings_of(rows: Sequence[Row]) -> list[Scoring]:
    """Return what is to be followed: each call with what ends or amends it, by t0, then by position."""
    signals = sorted((acting(row) for row in rows if row.kind == "signal"), key=lambda signal: signal[:2])
    calls = {call.signal["signal_id"]: call for call in calls_of(rows)}
    return [
        scoring_of(calls[signal["signal_id"]], t0, signals[number:])
        for number, (t0, _, signal) in enumerate(signals, start=1)
        if signal["signal_id"] in calls
    ]


def scoring_of(call: Call, t0: datetime, later_ones: Sequence[Acting]) -> Scoring:
    signal = call.signal
    after = [(at, other) for at, _, other in later_ones if is_simulated(other) == call.simulated]
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
FIGURES = ("state", "exit_reason", "entered_at", "exited_at", "ambiguous", *PRICES)


def verify_outcomes(options: argparse.Namespace) -> str:
    rows = rows_of(options.file)
    newest = max(moment(row.recorded_at) for row in rows)
    counted: Counter[str] = Counter()
    for scoring in scorings_of(rows):
        candles = prices_of(options.prices, scoring.call.signal["symbol"])
        counted[verified(scoring, candles, newest)] += 1
    found = ", ".join(f"{count} {what}" for what, count in sorted(counted.items())) or "no calls"
    return f"{rows[0].agent}: the outcomes follow from the prices: {found}"


def verified(scoring: Scoring, candles: Sequence[Candle], newest: datetime) -> str:
    """Return what was found of a call. Raises Wrong where its outcome is not that of the prices."""
    call, claimed = scoring.call, scoring.call.outcome
    by_deadline = call.state in {"unfilled", "unpriced"} or claimed.get("exit_reason") == "expired"
    if call.signal["ecosystem"] == "stock" and by_deadline:
        return "not verified, since the exchange's calendar decides"
    with localcontext() as context:
        context.prec, context.rounding = 28, ROUND_HALF_EVEN
        computed = {"ambiguous": False} | scoring.run(candles)
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
    except (OSError, ValueError) as error:
        raise Wrong(f"{name} cannot be read: {getattr(error, 'strerror', 'it is not UTF-8')}") from None


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
        raise Wrong(f"the proof has no {name!r}: download it from the hub's API")
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


def parser() -> Parser:
    made = Parser(
        prog="verify_record.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = made.add_subparsers(dest="command", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], str], *names: str, log: bool = False) -> None:
        each = commands.add_parser(name)
        each.set_defaults(run=run)
        for argument in names:
            each.add_argument(argument)
        each.add_argument("--key", action="append", required=True, metavar="KEY")
        if log:
            each.add_argument("--log", required=True, type=lambda text: Log(Path(text)), metavar="DIR")

    command("checkpoint", verify_checkpoint, "file")
    command("proof", verify_proof, "file")
    command("consistency", verify_consistency, "old", "new", log=True)
    command("record", verify_record, "file", log=True)
    outcomes = commands.add_parser("outcomes")
    outcomes.set_defaults(run=verify_outcomes, key=[])
    outcomes.add_argument("file")
    outcomes.add_argument("--prices", required=True, type=Path, metavar="DIR")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        options = parser().parse_args(arguments)
        options.keys = [key_of(text) for text in options.key]
        sys.stdout.write(f"ok: {options.run(options)}\n")
    except Wrong as wrong:
        sys.stderr.write(f"wrong: {wrong}\n")
        return 1
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        sys.stderr.write(f"wrong: a file does not hold what it should ({type(error).__name__})\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Verify a hub's record by yourself: offline, from files that you have downloaded.

Needs Python 3.11 and the package `cryptography`, and nothing of the hub. What each command proves, and how to
download its files, is described in the hub's docs/verify.md.

    python verify_record.py checkpoint FILE --key KEY
    python verify_record.py proof FILE --key KEY
    python verify_record.py consistency OLD NEW --log DIR --key KEY
    python verify_record.py record CSV --log DIR --key KEY

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
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any, NoReturn

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
        return bool({"synthetic", "replay"} & set(self.signal["tags"]))


def calls_of(rows: Sequence[Row]) -> list[Call]:
    """Return the calls of a record, each with the outcome that was decided last."""
    calls: dict[int, Call] = {}
    for row in rows:
        if row.kind == "signal":
            signal = row.fields()
            is_call = signal["action"] in {"BUY", "SELL"} and signal["signal_type"] in {
                "MARKET",
                "LIMIT",
                "STOP",
            }
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
    hashes, theirs = [], {}
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

"""The command line of an agent's outbox, shared by `manage.py outbox` and the wheel's `signal-outbox`."""

import sys
from argparse import ArgumentParser
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ecosystems.bus.outbox import OUTBOX_FOLDER, Outbox, OutboxEntry
from ecosystems.bus.outbox_database import OutboxError
from ecosystems.signal import Refusal, parse

Write = Callable[[str], Any]
"""Writes a line, and returns when it has left this process."""

OUTBOX_HELP = "Show what an agent has not delivered yet, retry refused signals, or delete them."


def add_outbox_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--path", help=f"the outbox's file (default: the only one in {OUTBOX_FOLDER})")
    actions = parser.add_subparsers(dest="action", required=True)
    listing = actions.add_parser("list", help="list the signals, oldest first")
    listing.add_argument("--state", choices=["pending", "refused"])
    listing.add_argument("--limit", type=int, default=50, metavar="N")
    show = actions.add_parser("show", help="show one signal in full")
    show.add_argument("number", type=int, metavar="ID")
    for name, text in (
        ("retry", "send refused signals again"),
        ("drop", "delete signals; they are written to stdout, a line of JSON each"),
    ):
        action = actions.add_parser(name, help=text)
        which = action.add_mutually_exclusive_group(required=True)
        which.add_argument("--refused", action="store_true", help="all refused ones")
        which.add_argument("numbers", type=int, nargs="*", default=[], metavar="ID")


def outbox_main(arguments: list[str] | None = None) -> int:
    """Do what the command line asks for, without Django; return the exit status."""
    parser = ArgumentParser(prog="signal-outbox", description=OUTBOX_HELP)
    add_outbox_arguments(parser)
    options = vars(parser.parse_args(arguments))
    try:
        run_outbox_action(options, partial(print, flush=True), partial(print, file=sys.stderr))
    except OutboxError as error:
        print(f"outbox: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def run_outbox_action(options: dict[str, Any], write: Write, note: Write) -> None:
    """Do one action; `write` gets its result and `note` what is said beside it. Raises OutboxError."""
    outbox = Outbox(options["path"] or only_one(), owner=False)
    try:
        _ACTIONS[options["action"]](outbox, options, write, note)
    finally:
        outbox.close()


def _list(outbox: Outbox, options: dict[str, Any], write: Write, note: Write) -> None:
    for item in outbox.entries(options["state"], limit=options["limit"]):
        write(entry_line(item))
    counts = outbox.counts()
    for (transport, state), count in sorted(counts.items()):
        note(f"{transport}: {count} {state}")
    if not counts:
        note("The outbox is empty.")


def _show(outbox: Outbox, options: dict[str, Any], write: Write, _note: Write) -> None:
    found = _named(outbox, [options["number"]])
    for item in found:
        write(entry_line(item))
    write(found[0].entry.payload.decode(errors="replace"))


def _retry(outbox: Outbox, options: dict[str, Any], write: Write, _note: Write) -> None:
    _named(outbox, options["numbers"])
    count = outbox.retry(None if options["refused"] else options["numbers"])
    write(f"{count} made pending; a running agent sends them within seconds")


def _drop(outbox: Outbox, options: dict[str, Any], write: Write, note: Write) -> None:
    numbers = outbox.refused() if options["refused"] else [e.id for e in _named(outbox, options["numbers"])]
    for number in dict.fromkeys(numbers):
        for item in outbox.entries(number=number, limit=1):
            try:
                write(item.entry.payload.decode(errors="replace"))
            except OSError as error:
                reason = f"the output cannot be written ({error.strerror}): the rest stays"
                raise OutboxError(reason) from error
            outbox.drop(number)
    if options["refused"] and (kept := {item.id for item in outbox.entries("refused")}):
        note(f"{len(kept)} kept: refused by one transport, but waiting for another")


_ACTIONS = {"list": _list, "show": _show, "retry": _retry, "drop": _drop}


def _named(outbox: Outbox, numbers: list[int]) -> list[OutboxEntry]:
    """Return the signals with these ids. Raises OutboxError when one is not there."""
    found = [item for number in numbers for item in outbox.entries(number=number)]
    if missing := [number for number in numbers if number not in {item.id for item in found}]:
        raise OutboxError(f"there is no signal {missing[0]} in {outbox.path}")
    return found


def entry_line(item: OutboxEntry) -> str:
    """Return a signal as one line: id, state, time, what it is and why it was refused."""
    signal = parse(item.entry.payload)
    what = "damaged" if isinstance(signal, Refusal) else f"{signal.action} {signal.symbol}"
    why = f"  {item.code}: {item.detail}" if item.code else ""
    name = f"{item.entry.ecosystem}/{item.entry.signal_id}"
    return f"{item.id}  {item.transport} {item.state}  {item.added_at}  {name}  {what}{why}"


def only_one() -> Path:
    """Return the only outbox in the default folder. Raises OutboxError."""
    found = sorted(OUTBOX_FOLDER.glob("*.sqlite3"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise OutboxError(f"choose an outbox with --path: {OUTBOX_FOLDER} holds {names}")
    return found[0]

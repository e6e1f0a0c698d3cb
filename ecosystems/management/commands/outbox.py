"""`manage.py outbox`: show and change an agent's outbox, also while the agent runs."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ecosystems.bus import Outbox, OutboxError
from ecosystems.bus.outbox import OUTBOX_FOLDER, OutboxEntry
from ecosystems.signal import Refusal, parse


class Command(BaseCommand):
    help = "Show what an agent has not delivered yet, retry refused signals, or delete them."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
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

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            outbox = Outbox(options["path"] or only_one(), owner=False)
            try:
                getattr(self, f"do_{options['action']}")(outbox, options)
            finally:
                outbox.close()
        except OutboxError as error:
            raise CommandError(str(error)) from error

    def do_list(self, outbox: Outbox, options: dict[str, Any]) -> None:
        for item in outbox.entries(options["state"], limit=options["limit"]):
            self.stdout.write(entry_line(item))
        counts = outbox.counts()
        for (transport, state), count in sorted(counts.items()):
            self.stderr.write(f"{transport}: {count} {state}")
        if not counts:
            self.stderr.write("The outbox is empty.")

    def do_show(self, outbox: Outbox, options: dict[str, Any]) -> None:
        found = self.named(outbox, [options["number"]])
        for item in found:
            self.stdout.write(entry_line(item))
        self.stdout.write(found[0].entry.payload.decode(errors="replace"))

    def do_retry(self, outbox: Outbox, options: dict[str, Any]) -> None:
        self.named(outbox, options["numbers"])
        count = outbox.retry(None if options["refused"] else options["numbers"])
        self.stdout.write(f"{count} made pending; a running agent sends them within seconds")

    def do_drop(self, outbox: Outbox, options: dict[str, Any]) -> None:
        dropped = (
            list(outbox.entries("refused")) if options["refused"] else self.named(outbox, options["numbers"])
        )
        for number, payload in {item.id: item.entry.payload for item in dropped}.items():
            if outbox.drop([number]):
                self.stdout.write(payload.decode(errors="replace"))

    def named(self, outbox: Outbox, numbers: list[int]) -> list[OutboxEntry]:
        """Return the signals with these ids. Raises CommandError when one is not there."""
        found = [item for number in numbers for item in outbox.entries(number=number)]
        if missing := [number for number in numbers if number not in {item.id for item in found}]:
            raise CommandError(f"there is no signal {missing[0]} in {outbox.path}")
        return found


def entry_line(item: OutboxEntry) -> str:
    """Return a signal as one line: id, state, time, what it is and why it was refused."""
    signal = parse(item.entry.payload)
    what = "damaged" if isinstance(signal, Refusal) else f"{signal.action} {signal.symbol}"
    why = f"  {item.code}: {item.detail}" if item.code else ""
    name = f"{item.entry.ecosystem}/{item.entry.signal_id}"
    return f"{item.id}  {item.transport} {item.state}  {item.added_at}  {name}  {what}{why}"


def only_one() -> Path:
    """Return the only outbox in the default folder. Raises CommandError."""
    found = sorted(OUTBOX_FOLDER.glob("*.sqlite3"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise CommandError(f"choose an outbox with --path: {OUTBOX_FOLDER} holds {names}")
    return found[0]

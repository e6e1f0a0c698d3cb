"""`manage.py outbox`: look into an agent's outbox, also while the agent runs."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ecosystems.bus import Outbox, OutboxError
from ecosystems.bus.outbox import FOLDER, Kept
from ecosystems.signal import Refusal, parse


class Command(BaseCommand):
    help = "Show what an agent has not delivered yet, send refused signals again, or give them up."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--path", help=f"the outbox's file (default: the only one in {FOLDER})")
        actions = parser.add_subparsers(dest="action", required=True)
        listing = actions.add_parser("list", help="what is inside, oldest first")
        listing.add_argument("--state", choices=["pending", "parked"])
        listing.add_argument("--limit", type=int, default=50, metavar="N")
        show = actions.add_parser("show", help="one signal in full")
        show.add_argument("number", type=int, metavar="ID")
        for name, text in (
            ("retry", "send parked signals again"),
            ("drop", "give signals up for good; they are written to stdout, a line of JSON each"),
        ):
            action = actions.add_parser(name, help=text)
            which = action.add_mutually_exclusive_group(required=True)
            which.add_argument("--parked", action="store_true", help="all that are parked")
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
        for kept in outbox.kept(options["state"], limit=options["limit"]):
            self.stdout.write(line(kept))
        counts = outbox.counts()
        for (transport, state), count in sorted(counts.items()):
            self.stderr.write(f"{transport}: {count} {state}")
        if not counts:
            self.stderr.write("The outbox is empty.")

    def do_show(self, outbox: Outbox, options: dict[str, Any]) -> None:
        found = self.named(outbox, [options["number"]])
        for kept in found:
            self.stdout.write(line(kept))
        self.stdout.write(found[0].entry.payload.decode(errors="replace"))

    def do_retry(self, outbox: Outbox, options: dict[str, Any]) -> None:
        self.named(outbox, options["numbers"])
        count = outbox.retry(None if options["parked"] else options["numbers"])
        self.stdout.write(f"{count} made pending; a running agent sends them within seconds")

    def do_drop(self, outbox: Outbox, options: dict[str, Any]) -> None:
        doomed = list(outbox.kept("parked")) if options["parked"] else self.named(outbox, options["numbers"])
        for number, payload in {kept.id: kept.entry.payload for kept in doomed}.items():
            if outbox.drop([number]):
                self.stdout.write(payload.decode(errors="replace"))

    def named(self, outbox: Outbox, numbers: list[int]) -> list[Kept]:
        """Return the signals with these ids. Raises CommandError when one is not there."""
        found = [kept for number in numbers for kept in outbox.kept(number=number)]
        if missing := [number for number in numbers if number not in {kept.id for kept in found}]:
            raise CommandError(f"there is no signal {missing[0]} in {outbox.path}")
        return found


def line(kept: Kept) -> str:
    """One line: id, state, when it was taken, what it is and why it was refused."""
    signal = parse(kept.entry.payload)
    what = "damaged" if isinstance(signal, Refusal) else f"{signal.action} {signal.symbol}"
    why = f"  {kept.code}: {kept.detail}" if kept.code else ""
    name = f"{kept.entry.ecosystem}/{kept.entry.signal_id}"
    return f"{kept.id}  {kept.transport} {kept.state}  {kept.taken_at}  {name}  {what}{why}"


def only_one() -> Path:
    """Return the only outbox in the usual folder. Raises CommandError."""
    found = sorted(FOLDER.glob("*.sqlite3"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise CommandError(f"name the outbox with --path: in {FOLDER} there is {names}")
    return found[0]

"""`manage.py publish_signal`: one signal through the configured bus, to try a transport."""

import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import msgspec
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ecosystems import ECOSYSTEMS, env
from ecosystems.bus import BusError, EventBus, Receipt, Unsent
from ecosystems.bus.configuration import TransportName
from ecosystems.signal import RULES, Refusal, Signal, parse, split

FIELDS = tuple(field for field in RULES if field not in {"tags", "raw_payload"})
"""The fields that are options of the same name."""
REQUIRED_FIELDS = ("ecosystem", "symbol", "action")


class Command(BaseCommand):
    help = "Publish one signal, from options or from JSON, and show each transport's result."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        for field in FIELDS:
            choices = ECOSYSTEMS if field == "ecosystem" else None
            parser.add_argument(f"--{field.replace('_', '-')}", help=RULES[field], choices=choices)
        parser.add_argument("--tag", action="append", default=[], help="may be given several times")
        parser.add_argument("--raw-payload", metavar="JSON", help=RULES["raw_payload"])
        parser.add_argument(
            "--json", metavar="FILE", help="a signal or an array of them instead of options; - is stdin"
        )
        parser.add_argument(
            "--backend",
            choices=get_args(TransportName),
            help="use this transport alone, whatever is configured",
        )
        parser.add_argument("--topic", help="stream topic (default: signals)")
        parser.add_argument("--outbox", metavar="PATH", help="store in this outbox what cannot be sent now")

    def handle(self, *args: Any, **options: Any) -> None:
        """Publish. Raises CommandError unless every transport confirmed every signal."""
        try:
            signals = self.signals(options)
            ecosystem = signals[0].ecosystem if len({s.ecosystem for s in signals}) == 1 else None
            with EventBus.from_environment(
                env.load(),
                ecosystem=ecosystem,
                backend=options["backend"],
                outbox=options["outbox"],
                background=False,
            ) as bus:
                self.publish(bus, signals, options["topic"])
        except (BusError, env.InvalidEnvironment) as error:
            raise CommandError(str(error)) from error

    def signals(self, options: dict[str, Any]) -> list[Signal]:
        """Return the signals to publish. Raises CommandError for an invalid one."""
        if options["json"] is None:
            return [valid_signal(from_options(options))]
        if given := [name for name in (*FIELDS, "raw_payload") if options[name] is not None]:
            raise CommandError(f"--json holds the whole signal: leave out --{given[0].replace('_', '-')}")
        entries = split(read(options["json"]))
        if isinstance(entries, Refusal):
            raise CommandError(f"--json: {entries.detail}")
        if not entries:
            raise CommandError("--json: the array is empty")
        return [valid_signal(entry) for entry in entries]

    def publish(self, bus: EventBus, signals: list[Signal], topic: str | None) -> None:
        try:
            receipt = bus.publish_many(signals, topic)
        except Unsent as error:
            self.report(error.receipt)
            raise
        if bus.outbox is not None:
            direct = [delivery for delivery in receipt.deliveries if not delivery.pending]
            receipt = Receipt((*direct, *bus.flush().deliveries))
        self.report(receipt)
        if all(transport.local for transport in bus.transports):
            raise CommandError("no one receives this: the memory transport ends in this process")
        if not receipt.complete:
            raise CommandError(f"{Unsent(receipt)} (kept in the outbox)")

    def report(self, receipt: Receipt) -> None:
        for delivery in receipt.deliveries:
            self.stdout.write(
                f"{delivery.transport}: confirmed {delivery.confirmed}, refused {len(delivery.refused)}, "
                f"pending {len(delivery.pending)}"
            )


def from_options(options: dict[str, Any]) -> bytes:
    """Return the JSON of the signal that the options describe; raises CommandError."""
    if missing := [f"--{name}" for name in REQUIRED_FIELDS if options[name] is None]:
        raise CommandError(f"{' and '.join(missing)} or --json is needed")
    fields = {name: options[name] for name in FIELDS if options[name] is not None}
    if "confidence" in fields:  # which the schema accepts as a number alone, but prices as text
        fields["confidence"] = as_json("confidence", fields["confidence"])
    fields.setdefault("signal_id", f"cli-{uuid.uuid4().hex}")
    fields.setdefault("timestamp", datetime.now(UTC).isoformat())
    fields.setdefault("agent_source", "publish_signal")
    fields["tags"] = options["tag"]
    if options["raw_payload"] is not None:
        fields["raw_payload"] = as_json("raw_payload", options["raw_payload"])
    try:
        return msgspec.json.encode(fields)
    except UnicodeEncodeError:  # what is typed in another encoding comes as lone surrogates
        raise CommandError("an option is not UTF-8") from None


def as_json(name: str, text: str) -> msgspec.Raw:
    """Return JSON text as it is, so that its numbers stay exact."""
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, ValueError):
        raise CommandError(f"--{name.replace('_', '-')}: the text is not JSON") from None
    return msgspec.Raw(text)


def valid_signal(data: bytes) -> Signal:
    signal = parse(data)
    if isinstance(signal, Refusal):
        raise CommandError(f"the signal is not valid: {signal.detail}")
    return signal


def read(path: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise CommandError(f"--json: {path}: {error.strerror}") from error

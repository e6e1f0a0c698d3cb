"""`manage.py source`: sources, which are producers that cannot sign, and the URLs of their hooks."""

import getpass
import json
import sys
from argparse import ArgumentParser
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from django.db import transaction

from aggregator.ingest.hooks import MAX_HOOK_BYTES
from aggregator.ingest.source_preview import BodyPreview, preview
from aggregator.management.hub_command import HubCommand
from aggregator.models import Source
from aggregator.sources import telegram, tokens
from aggregator.sources.presets import presets
from aggregator.sources.registration import InvalidSource, new_source
from ecosystems import ECOSYSTEMS

MAX_ROTATION_HOURS = 8760
"""A year."""


class Command(HubCommand):
    help = "Add, list, rotate, revoke and test sources: producers that cannot sign and send to a hook."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        add = actions.add_parser("add", help="add a source; its hook's URL, a secret, is the last line")
        add.add_argument("name")
        add.add_argument("--preset", required=True, choices=presets())
        add.add_argument("--ecosystem", choices=ECOSYSTEMS, default="", help="default: the preset's")
        add.add_argument("--agent", default="", help="the agent of its signals; default: the source's name")
        add.add_argument(
            "--only-agent",
            action="append",
            default=[],
            metavar="A",
            help="refuse others; may be repeated",
        )
        add.add_argument(
            "--allow", action="append", default=[], metavar="CIDR", help="who may use it; may be repeated"
        )
        add.add_argument("--mapping", type=Path, metavar="FILE", help="a mapping of its own, TOML or JSON")
        add.add_argument("--stream", default="", metavar="KEY", help="read this Redis stream; no hook then")
        actions.add_parser("list", help="list all sources")
        rotate = actions.add_parser("rotate", help="give a source another URL; it is the last line")
        rotate.add_argument("name")
        rotate.add_argument(
            "--overlap", type=float, default=24.0, metavar="HOURS", help="how long the old one works (24)"
        )
        revoke = actions.add_parser("revoke", help="end a source")
        revoke.add_argument("name")
        test = actions.add_parser("test", help="say what a file's bytes would become; records nothing")
        test.add_argument("name")
        test.add_argument("file", type=Path)
        bot = actions.add_parser("telegram", help="register the hook of a source at Telegram")
        bot.add_argument("name")
        bot.add_argument("--api", default=telegram.API, metavar="URL", help="Telegram's API, or one like it")

    def handle(self, *args: Any, **options: Any) -> None:
        action = options["action"]
        if action == "add":
            self.add(options)
        elif action == "list":
            self.list()
        else:
            getattr(self, action)(_source(options["name"]), options)

    def add(self, options: dict[str, Any]) -> None:
        try:
            source = new_source(
                options["name"],
                options["preset"],
                options["ecosystem"],
                options["agent"],
                options["allow"],
                options["stream"],
                options["mapping"].read_text("utf-8") if options["mapping"] else "",
                options["only_agent"],
            )
        except InvalidSource as error:
            raise CommandError(str(error)) from None
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"{options['mapping']}: {error}") from None
        issued = tokens.issue(source)
        ecosystem = source.ecosystem or "as each body says"
        self.stderr.write(f"Source {source.name}: {source.preset}, {ecosystem}, agent {source.agent}.")
        if source.stream:
            self.stdout.write(f"The worker reads {source.stream}.")
        else:
            self._print_url(issued)

    def list(self) -> None:
        sources = list(Source.objects.order_by("name"))
        if not sources:
            self.stderr.write("There are no sources: manage.py source add NAME --preset PRESET")
        for source in sources:
            state = "revoked" if source.revoked_at else "active"
            used = f"{source.last_used_at:%Y-%m-%d %H:%M}" if source.last_used_at else "never"
            where = source.stream or "hook"
            row = (source.name, source.preset, source.ecosystem or "-", source.agent, where, state, used)
            self.stdout.write("\t".join(row))

    def rotate(self, source: Source, options: dict[str, Any]) -> None:
        _require_hook(source)
        if not 0 <= options["overlap"] <= MAX_ROTATION_HOURS:
            raise CommandError(f"the overlap is 0 hours or more, and at most {MAX_ROTATION_HOURS}")
        self._print_url(tokens.rotate(source, timedelta(hours=options["overlap"])))

    def revoke(self, source: Source, options: dict[str, Any]) -> None:
        tokens.revoke(source)
        self.stdout.write(f"Revoked {source.name}.")

    def test(self, source: Source, options: dict[str, Any]) -> None:
        try:
            body = options["file"].read_bytes()
        except OSError as error:
            raise CommandError(str(error)) from None
        if len(body) > MAX_HOOK_BYTES:
            raise CommandError(f"a body has at most {MAX_HOOK_BYTES} bytes, and this file {len(body)}")
        found = preview(source, body)
        if not found:
            self.stdout.write("The mapping skips it: it becomes nothing.")
        for number, each in enumerate(found, start=1):
            self.stdout.write(_described(number, each))

    def telegram(self, source: Source, options: dict[str, Any]) -> None:
        _require_hook(source)
        if not tokens.hub_endpoint().startswith("https://"):
            self.stderr.write("Telegram needs an https:// URL: set AGG_SIGNAL_ENDPOINT.")
        bot_token = _read_secret("The bot's token: ")
        try:
            with transaction.atomic():
                telegram.register(source, bot_token, options["api"])
        except telegram.RegistrationFailed as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"Telegram sends the bot's channel posts to {source.name} now.")

    def _print_url(self, issued: tokens.IssuedToken) -> None:
        if until := issued.source.previous_until:
            self.stderr.write(f"The URL before works until {until:%Y-%m-%d %H:%M} UTC.")
        self.stderr.write("The URL is a secret and shown this once; docs/connect.md says where it goes:")
        self.stdout.write(issued.url(tokens.hub_endpoint()))


def _source(name: str) -> Source:
    source = Source.objects.filter(name=name).first()
    if source is None:
        raise CommandError(f"there is no source {name}: manage.py source list shows all")
    return source


def _require_hook(source: Source) -> None:
    if source.revoked_at:
        raise CommandError(f"{source.name} is revoked")
    if source.stream:
        raise CommandError(f"{source.name} reads a stream and has no hook")


def _described(number: int, each: BodyPreview) -> str:
    if each.refusal:
        field = f" ({each.refusal.field})" if each.refusal.field else ""
        return f"{number}: a dead letter, {each.refusal.code}{field}: {each.refusal.detail}"
    return f"{number}: a signal\n{json.dumps(each.fields(), indent=2, default=str, ensure_ascii=False)}"


def _read_secret(prompt: str) -> str:
    """Return a line that is typed unseen, or piped in: arguments can be read by every user of the machine."""
    line = getpass.getpass(prompt) if sys.stdin.isatty() else sys.stdin.readline()
    return line.strip()

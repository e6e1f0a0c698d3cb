"""An agent's progress: the last candle that it handled, in a file beside its outbox."""

import hashlib
import logging
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

logger = logging.getLogger("signal_hub.agent")


class _Content(msgspec.Struct):
    subject: str
    last: datetime


class Progress:
    """The opening time of the last candle whose signal, if any, is on the disk or sent.

    Saved after the outbox, never before it: what a crash loses is repeated under the same ids.
    """

    def __init__(self, path: Path | None, *subject: Any) -> None:
        """`subject` is what the agent trades and how: progress of another subject is ignored.

        Without a path nothing is saved.
        """
        self.path = path
        self.last: datetime | None = None
        self._subject = hashlib.sha256(msgspec.json.encode(subject, order="sorted")).hexdigest()
        if path is not None and path.exists():
            self.last = self._read(path)

    def _read(self, path: Path) -> datetime | None:
        try:
            content = msgspec.json.decode(path.read_bytes(), type=_Content)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            logger.warning("agent: starts anew, because %s cannot be read: %s", path, error)
            return None
        if content.subject != self._subject:
            logger.warning("agent: starts anew, because %s is of another market, feed or strategy", path)
            return None
        return content.last.astimezone(UTC)

    def save(self, last: datetime) -> None:
        """Save the time of a candle (aware), unless a later one is saved.

        A file that cannot be written costs repeats after a restart, not signals.
        """
        if self.last is not None and last <= self.last:
            return
        self.last = last
        if self.path is None:
            return
        draft = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        try:
            with draft.open("wb") as file:
                file.write(msgspec.json.encode(_Content(self._subject, last)))
                file.flush()
                os.fsync(file.fileno())  # or a power failure may leave an empty file under the name
            draft.replace(self.path)
        except OSError as error:
            logger.error("agent: %s cannot be written: %s", self.path, error.strerror)

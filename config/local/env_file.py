"""The `.env` file as `make run` keeps it: what the user wrote stays, generated values are added once."""

from __future__ import annotations

import io
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values

BEGIN = (
    "# >>> Written by `make run` at each start. To use a value of your own, set it outside of these marks."
)
END = "# <<<"


class DotEnv:
    """Values of a `.env` file in two parts: the user's, and a block that is rewritten at each run.

    Raises OSError where the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        try:
            text = self.path.read_text("utf-8") if self.path.exists() else ""
        except UnicodeDecodeError as error:
            reason = f"{self.path} cannot be read: it may hold lines of NAME=value in UTF-8"
            raise OSError(reason) from error
        before, _, rest = text.partition(BEGIN)
        _, _, after = rest.partition(END)
        self._text = (before.rstrip() + "\n" + after.strip()).strip()

    @property
    def own(self) -> dict[str, str]:
        """The values outside of the block; an empty one counts as not set."""
        values = dotenv_values(stream=io.StringIO(self._text))
        return {name: value for name, value in values.items() if value}

    def has(self, name: str) -> bool:
        """Return whether the user has set it here, or the file that holds it."""
        return name in self.own or f"{name}_FILE" in self.own

    def add(self, values: Mapping[str, str]) -> None:
        """Append those that are not set; never overwrites."""
        for name, value in values.items():
            if not self.has(name):
                self._text += f"\n{name}={value}"

    def save(self, block: Mapping[str, str]) -> None:
        """Write the file for its owner's eyes only, with these values in the block."""
        lines = [
            self._text.strip(),
            "",
            BEGIN,
            *(f"{name}={_quoted(value)}" for name, value in block.items()),
            END,
            "",
        ]
        handle, draft = tempfile.mkstemp(dir=self.path.parent, prefix=".env.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write("\n".join(lines).lstrip())
            Path(draft).replace(self.path)
        finally:
            Path(draft).unlink(missing_ok=True)


def _quoted(value: str) -> str:
    """Return a value as dotenv reads it: the path of a folder may hold what begins a comment."""
    if re.fullmatch(r"[\w:/.@%+=,?&-]*", value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"

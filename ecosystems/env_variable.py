"""A variable of the environment: its documentation, and how it is read.

Every variable is also accepted as `NAME_FILE`, the path of a file that holds the value (the convention of
Docker secrets and systemd credentials); the file wins. An empty value counts as not set.
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ecosystems.env_formats import Format, Reason

HIDDEN = "****"

Readers = Literal["hub", "agents", "both"]


class InvalidEnvironment(Exception):
    """A variable is missing or holds an invalid value; the text is one line for the operator."""


@dataclass(frozen=True)
class Variable:
    """One row of the table: what the documentation says of a variable and what reading it needs."""

    name: str
    section: str
    format: Format
    meaning: str
    example: str
    """A value for the template, `.env.example`."""
    default: str
    """As it would be written into the environment; empty for none."""
    default_note: str
    """The documentation's words where the default is no plain value."""
    secret: bool
    readers: Readers

    def read(self) -> Any:
        """Return the variable's value.

        Raises InvalidEnvironment with one line that names the variable, what it holds and what it may hold.
        """
        text = self._text() or self.default
        if not text:
            return self.format.unset
        try:
            # Python passes other bytes of the environment on as lone surrogates, which no use survives.
            text.encode()
            return self.format.parse(text)
        except ValueError as error:
            why = "it is not UTF-8" if isinstance(error, UnicodeEncodeError) else str(error)
            shown = f" ({why})" if isinstance(error, Reason | UnicodeEncodeError) else ""
            holds = masked(text) if self.secret else repr(text)
        # Outside of `except`: a chained error would carry the unmasked value into a traceback.
        raise InvalidEnvironment(f"{self.name} holds {holds}: it may hold {self.format.may_hold}{shown}")

    def _text(self) -> str:
        path = os.environ.get(f"{self.name}_FILE")
        try:
            text = Path(path).read_text("utf-8-sig") if path else os.environ.get(self.name, "")
        except (ValueError, OSError) as error:
            raise InvalidEnvironment(
                f"{self.name}_FILE holds {path!r}: it may hold the path of a readable text file"
            ) from error
        return text.strip()


@dataclass(frozen=True)
class Section:
    """A part of the table, with the readers of most of its variables."""

    title: str
    readers: Readers = "hub"

    def variable(
        self,
        name: str,
        form: Format,
        meaning: str,
        example: str,
        *,
        default: str = "",
        default_note: str = "",
        secret: bool = False,
        readers: Readers | None = None,
    ) -> Any:
        """Return a dataclass field that is a row of this section. Secrets and URLs stay out of `repr`."""
        row = Variable(
            name=name,
            section=self.title,
            format=form,
            meaning=meaning,
            example=example,
            default=default,
            default_note=default_note,
            secret=secret or form.is_url,
            readers=readers or self.readers,
        )
        value = form.parse(default) if default else form.unset
        return field(default=value, repr=not row.secret, metadata={"variable": row})


def masked(text: str) -> str:
    """Return a URL's scheme and host alone, and nothing at all of any other secret."""
    match = re.match(
        r"([a-z][a-z0-9+.-]*)://(?:[^@/?#]*@)?((?:[\w.-]+|\[[0-9a-f:.]+\])(?::[0-9]+)?)(?=[/?#]|$)",
        text,
        re.ASCII,
    )
    # An @ further on: the apparent host may be the start of a password with a / in it.
    return f"{match[1]}://{HIDDEN}@{match[2]}" if match and "@" not in text[match.end() :] else HIDDEN

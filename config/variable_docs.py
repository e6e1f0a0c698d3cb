"""The documentation of variables, generated from the table in `ecosystems.env`.

`python -m config.variable_docs` writes the tables of `docs/configuration.md` and all of `.env.example`.
"""

import re
from itertools import groupby
from pathlib import Path

from ecosystems.env import VARIABLES, Variable

_ROOT = Path(__file__).resolve().parent.parent
PAGE = _ROOT / "docs" / "configuration.md"
TEMPLATE = _ROOT / ".env.example"

SECTIONS = {
    title: list(rows) for title, rows in groupby(VARIABLES.values(), key=lambda variable: variable.section)
}

TEMPLATE_HEAD = """\
# Copy to `.env` beside manage.py and uncomment what you need. The meaning of each variable, and what it may
# hold: docs/configuration.md. `make run` adds to `.env` what is missing; a server needs the first three.
# Instead of any NAME, NAME_FILE may hold the path of a file with the value.
# A long random text: openssl rand -base64 48. A secret: printf 'whsec_%s\\n' "$(openssl rand -base64 32)"
"""


def write_files() -> None:
    """Write both files."""
    PAGE.write_text(page(PAGE.read_text()))
    TEMPLATE.write_text(template())


def page(text: str) -> str:
    """Return the page with the table under each section's heading replaced.

    Raises ValueError for a section without a heading and a table.
    """
    for title, rows in SECTIONS.items():
        table = re.compile(rf"(^## {re.escape(title)}\n(?:(?!## ).*\n)*?)(?:^\|.*\n)+", re.MULTILINE)
        text, count = table.subn(lambda match, rows=rows: match[1] + _table(rows), text)  # type: ignore[misc]
        if count != 1:
            raise ValueError(f"the page has no table under the heading {title!r}")
    return text


def template() -> str:
    """Return the text of `.env.example`."""
    parts = [TEMPLATE_HEAD]
    for title, rows in SECTIONS.items():
        lines = [f"# --- {title} ".ljust(110, "-"), *(f"#{row.name}={row.example}" for row in rows)]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _table(rows: list[Variable]) -> str:
    lines = ["| Variable | Meaning | May hold | Default | Read by |", "|---|---|---|---|---|"]
    for row in rows:
        default = row.default_note or (f"`{row.default}`" if row.default else "none")
        cells = (f"`{row.name}`", row.meaning, _code(row.format.may_hold), default, row.readers)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    """Return a format's description in Markdown, with its literal parts as code."""
    part = r"(?:[^\s,]|,\S)*"
    marked = re.sub(rf"{part}(?:://|[|<]|:$){part}", r"`\g<0>`", text)
    return marked.replace("|", r"\|")


if __name__ == "__main__":
    write_files()

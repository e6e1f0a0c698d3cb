"""The fenced blocks of the project's guides, to be run as they are written."""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.servers import PROJECT

FENCE = re.compile(
    r"^```(?P<language>\w+)(?: file=(?P<file>\S+))?\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)
CODE = ("aggregator", "commerce", "config", "ecosystems", "deploy", "manage.py")


@dataclass(frozen=True)
class Block:
    """A fenced block, and the heading it stands under."""

    heading: str
    language: str
    file: str | None
    text: str


def blocks(guide: str, language: str) -> list[Block]:
    """Return a guide's blocks of one language, in their order."""
    content = (PROJECT / "docs" / guide).read_text()
    found = []
    for match in FENCE.finditer(content):
        headings = re.findall(r"^#+ (.+)$", FENCE.sub("", content[: match.start()]), re.MULTILINE)
        found.append(Block(headings[-1], match["language"], match["file"], match["text"]))
    return [block for block in found if block.language == language]


def checkout(folder: Path) -> Path:
    """Make a folder that looks like the project's root, so that what commands write lands elsewhere."""
    for name in CODE:
        (folder / name).symlink_to(PROJECT / name)
    return folder

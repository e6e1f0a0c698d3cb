"""Presets: a mapping for each known producer, as a file, with instructions for the producer's side."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "presets"
MAPPING_BEGINS = "# --- mapping ---\n"
"""The line of a preset's file between its description and its mapping."""
CUSTOM = "custom"
STREAM_PRESETS = ("nautilustrader",)
"""Presets whose sources read a Redis stream instead of having a hook."""


@dataclass(frozen=True)
class Step:
    """One thing to do on the producer's side; `{url}` in the code stands for the hook's URL."""

    text: str
    code: str = ""


@dataclass(frozen=True)
class Preset:
    """A kind of producer."""

    name: str
    title: str
    ecosystem: str
    """What its sources send unless said otherwise; empty where each body says so itself."""
    steps: tuple[Step, ...]
    mapping: str
    """The mapping's text, for operators to copy; empty if there is none to start with."""


@cache
def presets() -> dict[str, Preset]:
    """Return all presets by name."""
    found = {path.stem: _load(path) for path in sorted(FOLDER.glob("*.toml"))}
    return {name: found[name] for name in sorted(found, key=lambda name: (name == CUSTOM, name))}


def _load(path: Path) -> Preset:
    description, _, mapping = path.read_text("utf-8").partition(MAPPING_BEGINS)
    content = tomllib.loads(description)
    steps = tuple(Step(**step) for step in content["steps"])
    return Preset(path.stem, content["title"], content["ecosystem"], steps, mapping)

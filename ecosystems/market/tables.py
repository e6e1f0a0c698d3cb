"""Reading the tables of symbols: TOML files beside the code that uses them, which name their sources."""

import tomllib
from pathlib import Path
from typing import Any


def read_table(module_file: str, name: str) -> dict[str, Any]:
    """Return the table `name` that lies beside a module."""
    return tomllib.loads((Path(module_file).parent / name).read_text())


def words(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())

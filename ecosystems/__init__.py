"""The agents' side of Signal Hub: the signal, how it is signed, how it travels. Imports no Django."""

from pathlib import Path

ECOSYSTEMS = ("crypto", "forex", "stock")
"""The registered ecosystems. Each is a package here with `feed.py`, `symbols.py` and `calendar.py`."""

_PARENT = Path(__file__).resolve().parent.parent
ROOT = _PARENT if (_PARENT / "manage.py").is_file() else Path.cwd()
"""Where `.env` and `.data` are: the project's root, or the current folder where this package is installed."""

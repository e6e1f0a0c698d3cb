"""The agents' side of Signal Hub: the signal, how it is signed, how it travels. Imports no Django."""

ECOSYSTEMS = ("crypto", "forex", "stock")
"""The registered ecosystems. Each is a package here with `feed.py`, `symbols.py` and `hours.py`."""

"""The ways in over HTTP, by their addresses."""

from aggregator.ingest.hooks import hook
from aggregator.ingest.way_in import WayIn
from aggregator.ingest.webhook import SIGNALS_PATH, webhook
from aggregator.sources.tokens import HOOKS_PATH


def find_way_in(path: str) -> WayIn | None:
    """Return the way in at an address."""
    if path == SIGNALS_PATH:
        return webhook
    return hook if path.startswith(HOOKS_PATH) else None

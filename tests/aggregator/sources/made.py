"""Sources for tests, with the address of their hook."""

from aggregator.models import Source
from aggregator.sources import tokens
from aggregator.sources.registration import new_source


def made(name="tv", preset="tradingview", **given):
    """Save a source; return it and the path of its hook."""
    attributes = {key: given.pop(key) for key in ("rate", "header_digest") if key in given}
    source = new_source(name, preset, **given)
    for key, value in attributes.items():
        setattr(source, key, value)
    issued = tokens.issue(source)
    return Source.objects.get(pk=source.pk), issued.url("/api/signals")

"""The operator's admin: one file a model."""

from aggregator.admin import agents, aliases, dead_letters, keys, people, signals

__all__ = ["agents", "aliases", "dead_letters", "keys", "people", "signals"]

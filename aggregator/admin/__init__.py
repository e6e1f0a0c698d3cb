"""The operator's admin, a file for each model."""

from aggregator.admin import agents, alerts, aliases, api_keys, dead_letters, signals, sources, users

__all__ = ["agents", "alerts", "aliases", "api_keys", "dead_letters", "signals", "sources", "users"]

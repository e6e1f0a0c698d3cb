"""The operator's admin: one file a model."""

from aggregator.admin import agents, alerts, aliases, api_keys, dead_letters, signals, users

__all__ = ["agents", "alerts", "aliases", "api_keys", "dead_letters", "signals", "users"]

"""Producers that cannot sign: their presets and mappings, and the tokens of their hooks."""

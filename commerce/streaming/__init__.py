"""The feed as Server-Sent Events."""

"""Outgoing webhooks and chats: every endpoint gets each entitled signal at least once."""

"""What the HTTP endpoints share: problems, rate limits, API keys, client addresses."""

"""What every HTTP endpoint of the hub shares: problems, rate limits, API keys, addresses."""

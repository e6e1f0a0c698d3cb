"""The track record: prices, what became of each call, and statistics."""

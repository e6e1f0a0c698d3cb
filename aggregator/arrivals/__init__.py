"""What came in: rollups, counters, how often agents send, and who is silent."""

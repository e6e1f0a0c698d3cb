"""A trading agent: its loop, its command line, its checks before the start, and backtests."""

"""A trading agent: its loop, its command line, its preflight checks, and backtests."""

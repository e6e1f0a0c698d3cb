"""The ways in. Each translates what arrives; the ledger decides what becomes of it."""

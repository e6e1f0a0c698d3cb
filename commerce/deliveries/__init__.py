"""Push: every endpoint follows the ledger through its owner's entitlement, at least once a signal."""

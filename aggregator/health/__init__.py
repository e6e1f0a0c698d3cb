"""Health checks, what runs them, and who may read their results."""

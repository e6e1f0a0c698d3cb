"""The customers' REST API, `/api/v1/`."""

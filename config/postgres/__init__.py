"""Django's PostgreSQL backend, for Postgres 13 as well."""

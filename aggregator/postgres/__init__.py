"""Django's PostgreSQL backend with a bounded number of connections a process, for Postgres 13 as well."""

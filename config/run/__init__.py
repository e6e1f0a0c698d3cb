"""`make run`: the whole hub on this machine, with its own Postgres and Redis unless others are configured."""

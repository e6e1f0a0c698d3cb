"""Who attacks the hub or harms it by accident, with what, and what must happen: run by `make attacks`.

Each line names the test that carries it out, against real servers.
"""

from typing import NamedTuple


class Attack(NamedTuple):
    attacker: str
    attack: str
    must: str
    test: str
    """Of `tests/`: the file and the function."""


INGEST, LEDGER = "aggregator/ingest", "aggregator/ledger"
PAGES, API, HTTP = "commerce/pages/test_pages.py", "commerce/api", "aggregator/http"
HEALTH, ROLE = "aggregator/health", "aggregator/test_agent_role.py"

ATTACKS = (
    # --- agents with rights of their own -----------------------------------------------------------------
    Attack(
        "an agent on a stream",
        "adds an entry of 270 MiB, many of 1 MiB, one of 300,000 fields",
        "dead letters that are cut; the consumer goes on in bounded memory",
        f"{INGEST}/test_hostile_entries.py::test_giant_many_large_and_many_field_entries_neither_stop_nor_fill_a_consumer",
    ),
    Attack(
        "an agent on a stream",
        "trims the stream to nothing before it was read",
        "the loss is counted once, and fails the health check",
        f"{INGEST}/test_lost_entries.py::test_a_stream_that_was_trimmed_empty",
    ),
    Attack(
        "an agent on a stream",
        "adds the greatest id there is",
        "the health check says that the stream takes no more, and what to do",
        f"{INGEST}/test_redis_rights.py::test_a_stream_that_takes_no_more_is_seen_and_made_anew",
    ),
    Attack(
        "an agent on a stream",
        "trims or writes another agent's stream",
        "its rights do not allow it",
        f"{INGEST}/test_redis_rights.py::test_an_agent_may_publish_to_its_own_stream_alone",
    ),
    Attack(
        "an agent with a database role",
        "holds 1,000 ids in an open transaction, which another sender repeats",
        "other senders are answered; the held ids are deferred",
        f"{LEDGER}/test_contention.py::test_innocent_senders_are_answered_while_one_repeats_a_thousand_ids_that_are_held",
    ),
    Attack(
        "an agent with a database role",
        "writes the hub's own columns: position, sender, digest",
        "Postgres refuses",
        f"{ROLE}::test_the_hubs_columns_may_not",
    ),
    Attack(
        "an agent with a database role",
        "locks, reads, creates tables or large objects, opens many sessions",
        "Postgres refuses, and the ledger is not held up",
        f"{ROLE}::test_nothing_else_may_be_done",
    ),
    Attack(
        "an agent with a database role",
        "takes an id that another agent is going to use",
        "a conflict is kept and shows both senders",
        f"{ROLE}::test_a_row_under_a_taken_identity_is_a_duplicate_or_a_conflict",
    ),
    Attack(
        "an agent with a database role",
        "sends under another agent's name",
        "a role bound to names is refused others",
        f"{ROLE}::test_a_role_of_agents_may_insert_as_no_other",
    ),
    # --- senders over HTTP ------------------------------------------------------------------------------
    Attack(
        "a sender with a valid key",
        "brings new agents and symbols without end",
        "recorded, and counted under (other) beyond the limit",
        "aggregator/arrivals/test_senders.py::test_names_beyond_the_limit_are_recorded_and_counted_under_other",
    ),
    Attack(
        "a sender with a valid key of another ecosystem",
        "posts for an agent of others, which is refused",
        "the agent is not kept alive, and raises no alert",
        "aggregator/arrivals/test_senders.py::test_what_is_refused_keeps_no_agent_alive_and_alerts_about_its_sender_only",
    ),
    Attack(
        "a sender with a valid key",
        "sends what is refused, without end",
        "beyond a day's bytes only reason, length and SHA-256 are kept",
        f"{LEDGER}/test_ledger.py::test_a_senders_dead_letters_of_a_day_are_limited_in_bytes",
    ),
    Attack(
        "a stranger",
        "sends half bodies over many connections",
        "refused by the head, or after a deadline; other requests are answered",
        f"{INGEST}/test_slow_bodies.py::test_half_sent_bodies_stop_neither_server",
    ),
    Attack(
        "a stranger",
        "guesses the addresses of hooks",
        "limited by address; no customer is locked out",
        f"{INGEST}/test_hooks.py::test_guessing_is_limited_by_address_and_locks_nobody_out",
    ),
    Attack(
        "a producer with a hook",
        "sends signals in the name of another agent",
        "refused and kept as dead letters, where the source is bound to agents",
        f"{INGEST}/test_hooks.py::test_a_source_that_is_bound_to_agents_is_refused_others",
    ),
    Attack(
        "a reader of logs, processes and pages",
        "looks for the token of a hook",
        "it is nowhere",
        f"{INGEST}/test_hooks_socket.py::test_a_token_is_in_no_log_no_list_of_processes_and_no_page",
    ),
    # --- customers and those who would be ---------------------------------------------------------------
    Attack(
        "a customer",
        "opens /metrics with a reader key",
        "refused: the scope is another one",
        f"{HEALTH}/test_metrics.py::test_keys_without_the_scope_for_all_ecosystems_are_refused",
    ),
    Attack(
        "a customer at the day's limit",
        "compares answers to learn what there is to read",
        "each answer is the same 429",
        f"{API}/test_limits.py::test_at_the_limit_no_answer_shows_what_there_is_to_read",
    ),
    Attack(
        "a customer",
        "confirms what another one sees by its ETag",
        "tags are keyed and each customer's own",
        f"{API}/test_signals.py::test_an_etag_is_the_customers_own",
    ),
    Attack(
        "a stranger",
        "signs up with another person's address before the hub sends e-mail",
        "the first proof of the address ends password, sessions, keys and endpoints",
        f"{PAGES}::test_the_first_proof_of_an_address_ends_what_was_set_up_before_it",
    ),
    Attack(
        "a stranger",
        "requests a sign-in link with a Host header of theirs",
        "the link leads to the hub's public address",
        f"{PAGES}::test_a_link_leads_to_the_public_address_whatever_the_host_header_says",
    ),
    Attack(
        "a stranger",
        "sends a victim a link into an account of theirs",
        "the page names the account and warns",
        f"{PAGES}::test_the_page_of_a_link_names_the_account_and_warns_where_it_was_not_requested",
    ),
    Attack(
        "a customer",
        "gives an endpoint at an address inside the hub's network",
        "refused, however the address is spelled",
        f"{HTTP}/test_ssrf.py::test_an_address_that_is_not_public_unicast_is_refused",
    ),
    Attack(
        "a hundred receivers",
        "accept connections and never answer",
        "others get their messages, and no database connection is held",
        "commerce/webhooks/test_dispatcher.py::"
        "test_endpoints_that_hang_for_the_first_time_delay_no_other_and_hold_no_connection",
    ),
    # --- operators' pages -------------------------------------------------------------------------------
    Attack(
        "a stranger behind the proxy",
        "enters ten wrong passwords for an operator",
        "that address alone is locked out",
        "aggregator/admin/test_login.py::test_behind_a_proxy_each_client_counts_for_itself",
    ),
    Attack(
        "a stranger",
        "tries passwords of many random names",
        "refused by address, before any hash is computed",
        "aggregator/admin/test_login.py::test_many_names_from_one_address_cost_no_hash",
    ),
    Attack(
        "staff without rights",
        "opens the dashboard",
        "sees no figures",
        "aggregator/admin/test_permissions.py::test_staff_without_rights_see_no_figures_on_the_dashboard",
    ),
    Attack(
        "an agent",
        "names itself like a formula, behind spaces or another locale's separator",
        "an exported CSV runs nothing",
        "aggregator/admin/test_export.py::test_nor_one_behind_spaces_or_behind_the_separator_of_another_locale",
    ),
    Attack(
        "an operator of alerts",
        "points a channel at a service of the hub's machine, or at a redirect to it",
        "not sent, and the channel says why",
        "aggregator/alerts/test_alert_delivery.py::"
        "test_a_channel_reaches_no_service_of_this_machine_unless_its_network_is_allowed",
    ),
    # --- servers and restores ---------------------------------------------------------------------------
    Attack(
        "Postgres",
        "is read-only, or loses a grant",
        "an outage that the health check sees",
        "aggregator/test_refusing_servers.py::test_the_database_check_asks_what_recording_needs",
    ),
    Attack(
        "the disk of Postgres and of the log",
        "fills up",
        "503 and waiting; the health check says so; nothing is lost, and the log has no gap",
        "aggregator/test_full_disk.py::test_nothing_is_lost_on_a_full_disk_and_health_says_so",
    ),
    Attack(
        "Redis",
        "loads its data for a while after a start",
        "an outage: the worker waits and goes on",
        "aggregator/test_refusing_servers.py::test_a_redis_that_loads_its_data_is_an_outage",
    ),
    Attack(
        "Redis",
        "answers READONLY, MISCONF, NOREPLICAS, OOM",
        "an outage: the worker waits and goes on",
        "aggregator/test_refusing_servers.py::test_a_redis_that_refuses_to_write_is_an_outage",
    ),
    Attack(
        "a restore of data alone",
        "leaves the sequence behind the rows",
        "positions begin above the greatest on record",
        f"{LEDGER}/test_positions.py::test_positions_are_above_the_greatest_on_record_whatever_the_sequence_says",
    ),
    Attack(
        "a restore of an older dump",
        "takes the head back behind the readers' cursors",
        "readers are stopped; after a new generation they skip nothing",
        "commerce/feed/test_restore.py::test_readers_are_stopped_and_go_on_without_skipping",
    ),
)

import json
from datetime import timedelta
from decimal import Decimal

import psycopg
import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import DataError, IntegrityError, connections, transaction
from django.utils import timezone

from aggregator.models import TradingSignal
from ecosystems.signal import RULES
from tests.ecosystems.bus.rules import BAD, FORBIDDEN, GOOD, LEAST, NO_SYMBOL, nested
from tests.servers import renamed

pytestmark = pytest.mark.django_db(databases=["default", "forex"])
JSON = {"tags", "raw_payload"}
MODELS = list(apps.get_app_config("aggregator").get_models())


@pytest.fixture(params=["default", "forex"])
def insert(request):
    """INSERT a row as an agent would, the smallest one with these columns changed; return it whole."""

    def run(**columns):
        row = LEAST | columns
        values = [
            json.dumps(value) if name in JSON and value is not None else value for name, value in row.items()
        ]
        names = ", ".join(f'"{name}"' for name in row)
        marks = ", ".join(["%s"] * len(row))
        alias = request.param
        with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
            cursor.execute(f"INSERT INTO trading_signals ({names}) VALUES ({marks}) RETURNING *", values)
            found = dict(zip([column.name for column in cursor.description], cursor.fetchone(), strict=True))
        return found | {name: json.loads(found[name]) for name in JSON}

    return run


def refused(insert, *, by, **columns):
    """Check that Postgres refuses the row, by a constraint whose name holds `by`."""
    with pytest.raises((IntegrityError, DataError)) as caught:
        insert(**columns)
    cause = caught.value.__cause__
    assert isinstance(cause, psycopg.Error)
    where = cause.diag.constraint_name or cause.diag.column_name or ""
    # A value that does not fit its type is refused before any constraint is asked.
    assert by in where or cause.sqlstate.startswith("22"), cause


def session_user():
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT session_user")
        return cursor.fetchone()[0]


def test_five_columns_are_enough(insert):
    row = insert()
    assert timezone.now() - row.pop("received_at") < timedelta(minutes=1)
    assert row.pop("timestamp").isoformat() == "2026-03-01T11:59:00+00:00"
    assert isinstance(row.pop("id"), int)
    assert row == {name: LEAST[name] for name in ("signal_id", "ecosystem", "symbol", "action")} | {
        "signal_type": "MARKET",
        "entry_price": None,
        "stop_loss": None,
        "take_profit": None,
        "refers_to": None,
        "volume": None,
        "confidence": None,
        "agent_source": "",
        "tags": [],
        "raw_payload": {},
        "transport": "database",
        "sender": f"role:{session_user()}",
        "instrument": "",
        "digest": None,
        "recorded_at": None,
        "first_received_at": None,
        "position": None,
    }


@pytest.mark.parametrize("name", LEAST)
def test_each_of_the_five_is_required(insert, name):
    refused(insert, by=name, **{name: None})


@pytest.mark.parametrize(("name", "value"), GOOD)
def test_what_a_field_may_hold_is_taken(insert, name, value):
    assert insert(**{name: value})[name] == value


# Where JSON has types of its own, SQL casts.
REFUSED = [
    (name, value) for name, value, code in BAD if name in JSON or value is None or code != "wrong_type"
]


@pytest.mark.parametrize("field", {name: None for name, _ in REFUSED})
def test_what_it_may_not_is_refused_by_postgres(insert, field):
    for value in (value for name, value in REFUSED if name == field):
        refused(insert, by=field, **{field: value})


@pytest.mark.parametrize("name", [name for name in RULES if name not in LEAST])
def test_a_null_is_the_columns_default(insert, name):
    row = insert(**{name: None})
    assert row[name] == {"signal_type": "MARKET", "agent_source": "", "tags": [], "raw_payload": {}}.get(name)


@pytest.mark.parametrize("alias", ["default", "forex"])
def test_so_is_a_json_null(alias):
    names = ", ".join([*LEAST, *JSON])
    marks = ", ".join(["%s"] * len(LEAST) + ["'null'"] * len(JSON))
    with connections[alias].cursor() as cursor:
        cursor.execute(
            f"INSERT INTO trading_signals ({names}) VALUES ({marks}) RETURNING tags::text, raw_payload::text",
            [*LEAST.values()],
        )
        assert cursor.fetchone() == ("[]", "{}")


@pytest.mark.parametrize("name", ["action", "signal_type"])
@pytest.mark.parametrize("text", ["buy", "Sell", "HOLD", "close", "market", "Limit", "anaLYTICS"])
def test_letters_may_be_of_any_case(insert, name, text):
    if (name == "action") == (text.upper() in {"BUY", "SELL", "HOLD", "CLOSE"}):
        assert insert(**{name: text})[name] == text.upper()
    else:
        refused(insert, by=name, **{name: text})


@pytest.mark.parametrize(
    "text", ["1999-12-31T23:59:59.999999Z", "-infinity", "infinity", "0001-01-01 BC", "not a time"]
)
def test_a_timestamp_out_of_range_is_refused(insert, text):
    refused(insert, by="timestamp", timestamp=text)


def test_a_timestamp_is_at_most_five_minutes_ahead(insert):
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT now()")
        now = cursor.fetchone()[0]
    insert(timestamp=timezone.now().replace(year=2000, month=1, day=2))
    insert(signal_id="s-2", timestamp=now + timedelta(minutes=4, seconds=50))
    refused(insert, by="timestamp", signal_id="s-3", timestamp=now + timedelta(minutes=5, seconds=30))


@pytest.mark.parametrize("name", ["entry_price", "stop_loss", "take_profit", "volume"])
def test_prices_are_exact_and_within_bounds(insert, name):
    largest = f"999999999999999999.{'9' * 40}"
    for number, text in enumerate((largest, "1e-40", "1e17", "0.000011610000500000001")):
        assert insert(signal_id=f"s{number}", **{name: text})[name] == Decimal(text)
    # As the hub writes it, without zeros at the end.
    assert str(insert(signal_id="zeros", **{name: f"1.50{'0' * 60}"})[name]) == "1.5"
    for text in ("1e18", "-1e-18", "1e-41", f"0.{'1' * 41}", "NaN", "Infinity", "-Infinity", "1e200"):
        refused(insert, by=name, **{name: text})


def test_a_price_of_zero_is_none_and_a_volume_may_be_zero(insert):
    row = insert(**dict.fromkeys(("entry_price", "stop_loss", "take_profit", "volume"), "0.00"))
    assert [row["entry_price"], row["stop_loss"], row["take_profit"], str(row["volume"])] == [None] * 3 + [
        "0"
    ]


def test_noise_around_a_confidence_is_rounded_off(insert):
    noisy = [(1.0000000000000002, "1.0"), (1.000000001, "1.0"), (-1e-9, "0.0"), (-0.0, "0.0"), (0.3, "0.3")]
    for number, (value, kept) in enumerate(noisy):
        assert str(insert(signal_id=f"s{number}", confidence=value)["confidence"]) == kept


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1.00000001", "-1e-8"])
def test_a_confidence_is_a_number_from_0_to_1(insert, value):
    refused(insert, by="confidence", confidence=value)


@pytest.mark.parametrize("name", ["agent_source", "tags"])
def test_no_text_holds_a_control_invisible_or_bidirectional_character(insert, name):
    for character in FORBIDDEN:
        text = f"a{character}b"
        refused(insert, by=name, **{name: ["fine", text] if name == "tags" else text})


def test_but_the_payloads_may_hold_any_other_than_nul(insert):
    payload = {character: [f"a{character}b"] for character in [*FORBIDDEN, *NO_SYMBOL]}
    assert insert(raw_payload=payload)["raw_payload"] == payload
    refused(insert, by="payload", signal_id="s-2", raw_payload={"x": "\0"})


@pytest.mark.parametrize("text", [r"a\b", r"a\\", r"\u0001", 'say "x"', "\\\\\\", "é 😀", "$.**", "'"])
def test_what_only_looks_like_one_is_taken(insert, text):
    payload = {text: [text]}
    assert insert(raw_payload=payload, agent_source=text, tags=[text])["raw_payload"] == payload


def test_a_payload_has_at_most_64_kib_and_32_levels(insert):
    empty = len('{"x":""}')
    assert insert(signal_id="largest", raw_payload={"x": "y" * (65_536 - empty)})
    assert insert(signal_id="of-many-members", raw_payload={"x": [1] * 32_764})
    assert insert(signal_id="of-many-keys", raw_payload={f"{number:04x}": 1 for number in range(7_281)})
    assert insert(signal_id="of-prose", raw_payload={"x": ['", "\\": '] * 3_000 + [", " * 10_263]})
    for kind in (list, dict):
        assert insert(signal_id=f"deepest-{kind}".replace(" ", ""), raw_payload=nested(32, kind))


@pytest.mark.parametrize(
    "payload",
    [
        {"x": "y" * 65_529},
        {"x": ", " * 32_765},
        {'": ': ['\\": '] * 8_192},
        [1] * 32_768,
        {"x": [1] * 32_765},
        {"x": [1] * 1_000_000},
        nested(33, list),
        nested(33, dict),
        nested(900, dict),
    ],
)
def test_a_larger_or_deeper_one_is_refused(insert, payload):
    refused(insert, by="payload", raw_payload=payload)


@pytest.mark.parametrize("columns", [{"transport": "pigeon"}, {"digest": b"short"}, {"received_at": None}])
def test_the_hubs_own_columns_are_checked_too(insert, columns):
    refused(insert, by=next(iter(columns)), **columns)


def test_an_identity_is_there_once(insert):
    insert()
    insert(ecosystem="stock")
    refused(insert, by="identity", symbol="ETH/USDT")


def test_a_position_is_there_once(insert):
    insert(position=7)
    refused(insert, by="position", signal_id="s-2", position=7)


def test_models_and_migrations_agree():
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


@pytest.mark.parametrize("alias", ["default", "forex"])
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_a_model_is_what_its_table_is(alias, model):
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "SELECT attname, format_type(atttypid, atttypmod), NOT attnotnull FROM pg_attribute "
            "WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
            [model._meta.db_table],
        )
        table = {name: (kind, null) for name, kind, null in cursor.fetchall()}
    model_says = {
        field.column: (field.db_type(connections[alias]), field.null)
        for field in model._meta.fields
        if field.column  # a composite primary key has none
    }
    spelled = {"time": "time without time zone"}
    assert table == {
        name: (spelled.get(kind, kind.replace("varchar", "character varying")), null)
        for name, (kind, null) in model_says.items()
    }


def test_the_public_columns_are_named_as_the_fields():
    assert RULES.keys() <= {field.column for field in TradingSignal._meta.fields}
    tables = {model._meta.db_table for model in MODELS}
    assert tables >= {
        "trading_signals",
        "dead_letters",
        "sightings",
        "api_keys",
        "arrival_minutes",
        "agents",
    }


def test_every_public_column_is_explained_in_the_database():
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = 'trading_signals'::regclass AND attnum > 0 "
            "AND col_description(attrelid, attnum) IS NULL"
        )
        assert cursor.fetchall() == []
        cursor.execute("SELECT obj_description('trading_signals'::regclass)")
        assert "Insert signal_id, ecosystem, timestamp, symbol, action" in cursor.fetchone()[0]


def test_positions_are_drawn_one_at_a_time():
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "SELECT seqcache FROM pg_sequence WHERE seqrelid = 'trading_signals_position_seq'::regclass"
        )
        assert cursor.fetchone() == (1,)


@pytest.fixture
def empty_database(program_environment):
    """The URL of a database with nothing in it."""
    url = renamed(program_environment["CORE_DB_URL"], "schema_test")
    with psycopg.connect(program_environment["CORE_DB_URL"], autocommit=True) as server:
        server.execute("DROP DATABASE IF EXISTS schema_test")
        server.execute("CREATE DATABASE schema_test")
        yield url
        server.execute("DROP DATABASE schema_test WITH (FORCE)")


@pytest.mark.django_db(transaction=True)
def test_migrate_builds_an_ecosystems_own_database_and_does_so_once(empty_database, run_manage):
    crypto = {"CORE_CRYPTO_DB_URL": empty_database}
    program = run_manage("migrate", "--database", "crypto", **crypto)
    assert program.wait() == 0, program.text
    with psycopg.connect(empty_database, autocommit=True) as connection:
        tables = {
            name
            for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname='public'")
        }
        assert {"trading_signals", "django_migrations"} <= tables
        assert not [
            name for name in tables if name.startswith(("auth_", "commerce_", "axes_", "django_session"))
        ]
        names = ", ".join(LEAST)
        connection.execute(
            f"INSERT INTO trading_signals ({names}) VALUES (%s, %s, %s, %s, %s)", [*LEAST.values()]
        )
    again = run_manage("migrate", "--database", "crypto", **crypto)
    assert again.wait() == 0, again.text
    assert "No migrations to apply" in again.text


@pytest.mark.django_db(transaction=True)
def test_migrate_builds_the_shared_database_and_can_take_it_back(empty_database, run_manage):
    for arguments in (["migrate"], ["migrate", "aggregator", "zero"]):
        program = run_manage(*arguments, CORE_DB_URL=empty_database)
        assert program.wait() == 0, program.text
    with psycopg.connect(empty_database) as connection:
        left = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert ("auth_user",) in left
    assert not {(model._meta.db_table,) for model in MODELS} & set(left)

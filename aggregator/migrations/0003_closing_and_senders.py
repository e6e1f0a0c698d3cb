"""CLOSE, `refers_to` and `sender`; prices of any scale; the rules of `ecosystems.signal.parse` as they are now.

What an INSERT may spell in several ways (a null for a default, a 0 for no price, an action in lower case) a
trigger brings into the one form that `parse` gives as well, so that the constraints have one form to check and
readers one to read. What the hub records comes in that form, and skips the trigger.
"""

from django.db import migrations, models

import aggregator.models.signals

# The list of `ecosystems.signal`: control characters, those of no width, bidirectional ones, separators.
INVISIBLE = (
    r"\u0001-\u001f\u007f-\u009f\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200d\u2060-\u2064\u3164\ufeff\uffa0"
    r"\U000E0000-\U000E007F\u061c\u200e\u200f\u202a-\u202e\u2066-\u206f\u2028\u2029\ufff9-\ufffb"
)
NO_SYMBOL = (
    rf"[{INVISIBLE}\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
    r"\ue000-\uf8ff\U000F0000-\U0010FFFF\ufdd0-\ufdef\ufffe\uffff]|^ |  | $"
)
IN_JSONPATH = INVISIBLE.replace("\\", r"\\")

COLUMNS = rf"""
ALTER TABLE trading_signals
    DROP CONSTRAINT trading_signals_symbol_check,
    DROP CONSTRAINT trading_signals_action_check,
    DROP CONSTRAINT trading_signals_entry_price_check,
    DROP CONSTRAINT trading_signals_stop_loss_check,
    DROP CONSTRAINT trading_signals_take_profit_check,
    DROP CONSTRAINT trading_signals_volume_check,
    DROP CONSTRAINT trading_signals_agent_source_check,
    DROP CONSTRAINT trading_signals_tags_check,
    DROP CONSTRAINT trading_signals_payload_text;

-- Rows that wait to be recorded, and those of an ecosystem's own database, are as the agent spelled them.
UPDATE trading_signals SET action = upper(action COLLATE "C") WHERE action <> upper(action COLLATE "C");

ALTER TABLE trading_signals
    ALTER COLUMN entry_price TYPE numeric,
    ALTER COLUMN stop_loss TYPE numeric,
    ALTER COLUMN take_profit TYPE numeric,
    ALTER COLUMN volume TYPE numeric,
    ADD COLUMN refers_to text CHECK (octet_length(refers_to) <= 128 AND refers_to ~ '^[!-~]+$'),
    ADD COLUMN sender text NOT NULL DEFAULT '',
    ADD CONSTRAINT trading_signals_symbol_check CHECK (length(symbol) BETWEEN 1 AND 64
        AND (symbol ~ '^[!-~]+(?: [!-~]+)*$' OR symbol !~ '{NO_SYMBOL}')),
    ADD CONSTRAINT trading_signals_action_check CHECK (action IN ('BUY', 'SELL', 'HOLD', 'CLOSE')),
    ADD CONSTRAINT trading_signals_entry_price_check
        CHECK (entry_price > 0 AND entry_price < 1e18 AND min_scale(entry_price) <= 40),
    ADD CONSTRAINT trading_signals_stop_loss_check
        CHECK (stop_loss > 0 AND stop_loss < 1e18 AND min_scale(stop_loss) <= 40),
    ADD CONSTRAINT trading_signals_take_profit_check
        CHECK (take_profit > 0 AND take_profit < 1e18 AND min_scale(take_profit) <= 40),
    ADD CONSTRAINT trading_signals_volume_check
        CHECK (volume >= 0 AND volume < 1e18 AND min_scale(volume) <= 40),
    ADD CONSTRAINT trading_signals_agent_source_check
        CHECK (length(agent_source) <= 128 AND agent_source !~ '[{INVISIBLE}]'),
    ADD CONSTRAINT trading_signals_tags_check CHECK (
        CASE WHEN octet_length(tags::text) <= 66 AND tags::text ~ '^\[(?:"[ !#-\[\]-~]*"(?:, )?)*\]$' THEN true
        WHEN jsonb_typeof(tags) = 'array' THEN jsonb_array_length(tags) <= 32
            AND NOT jsonb_path_exists(tags, 'strict $[*] ? (@.type() != "string"
                || !(@ like_regex "^[^{IN_JSONPATH}]{{0,64}}$"))')
        ELSE false END);

-- Only for rows to come: who sent those that are here is not known.
ALTER TABLE trading_signals ALTER COLUMN sender SET DEFAULT 'role:' || session_user;

CREATE INDEX trading_signals_refers_to ON trading_signals (refers_to, id) WHERE refers_to IS NOT NULL;

COMMENT ON COLUMN trading_signals.symbol IS
    'The symbol as the agent writes it: 1 to 64 printable characters, with single spaces inside only';
COMMENT ON COLUMN trading_signals.action IS 'BUY, SELL, HOLD or CLOSE';
COMMENT ON COLUMN trading_signals.refers_to IS
    'Null, or the signal_id of the signal of the same agent that this one closes or amends';
COMMENT ON COLUMN trading_signals.entry_price IS 'Null or 0, or above 0 and below 1e18; up to 40 decimal places';
COMMENT ON COLUMN trading_signals.stop_loss IS 'Null or 0, or above 0 and below 1e18; up to 40 decimal places';
COMMENT ON COLUMN trading_signals.take_profit IS 'Null or 0, or above 0 and below 1e18; up to 40 decimal places';
COMMENT ON COLUMN trading_signals.volume IS 'Null, or from 0 to below 1e18; up to 40 decimal places';
COMMENT ON COLUMN trading_signals.sender IS
    'Who proved it: key:<id>, source:<name> or role:<name>; else the address or stream:<key> it came from';
"""

TRIGGER = """
CREATE FUNCTION normalize_inserted_signal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.action := upper(NEW.action COLLATE "C");
    NEW.signal_type := upper(coalesce(NEW.signal_type, 'MARKET') COLLATE "C");
    NEW.entry_price := trim_scale(nullif(NEW.entry_price, 0));
    NEW.stop_loss := trim_scale(nullif(NEW.stop_loss, 0));
    NEW.take_profit := trim_scale(nullif(NEW.take_profit, 0));
    NEW.volume := trim_scale(NEW.volume);
    -- A float's noise counts as the bound; adding 0.0 turns -0.0 into 0.0.
    NEW.confidence := 0.0 + CASE
        WHEN NEW.confidence > 1 AND NEW.confidence <= 1.000000001 THEN 1
        WHEN NEW.confidence < 0 AND NEW.confidence >= -0.000000001 THEN 0
        ELSE NEW.confidence END;
    NEW.agent_source := coalesce(NEW.agent_source, '');
    NEW.tags := coalesce(NEW.tags, '[]');
    NEW.raw_payload := coalesce(NEW.raw_payload, '{}');
    RETURN NEW;
END $$;
COMMENT ON FUNCTION normalize_inserted_signal() IS
    'Brings a row that an agent inserts into the form that the hub gives to signals of other transports';

CREATE TRIGGER normalize_inserted_signal BEFORE INSERT ON trading_signals
    FOR EACH ROW WHEN (NEW.position IS NULL) EXECUTE FUNCTION normalize_inserted_signal();
"""

# Roles that may insert the columns of before may insert the new one; `agent_role` gives no more than that.
GRANTS = """
DO $$
DECLARE
    grantee oid;
BEGIN
    FOR grantee IN
        SELECT DISTINCT acl.grantee FROM pg_attribute, aclexplode(attacl) AS acl
        WHERE attrelid = 'trading_signals'::regclass AND attname = 'action' AND acl.privilege_type = 'INSERT'
    LOOP
        EXECUTE format('GRANT INSERT (refers_to) ON trading_signals TO %s',
            CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END);
    END LOOP;
END $$
"""

# The constraints stay as they are now: rows on record need them.
REVERSE = """
DROP TRIGGER normalize_inserted_signal ON trading_signals;
DROP FUNCTION normalize_inserted_signal();
ALTER TABLE trading_signals DROP COLUMN refers_to, DROP COLUMN sender;
"""

SENDER = "Who proved it: a key or a database role; else the address or stream it came from."


class Migration(migrations.Migration):
    dependencies = [("aggregator", "0002_cut_dead_letters")]

    operations = [
        migrations.RunSQL(
            sql=COLUMNS + TRIGGER + GRANTS,
            reverse_sql=REVERSE,
            state_operations=[
                *(
                    migrations.AlterField(
                        "TradingSignal", name, aggregator.models.signals.NumericField(null=True)
                    )
                    for name in ("entry_price", "stop_loss", "take_profit", "volume")
                ),
                migrations.AddField(
                    "TradingSignal",
                    "refers_to",
                    models.TextField(
                        help_text="The signal_id of the signal that this one closes or amends.", null=True
                    ),
                ),
                migrations.AddField("TradingSignal", "sender", models.TextField(default="", help_text=SENDER)),
                migrations.AlterField("TradingSignal", "sender", models.TextField(help_text=SENDER)),
                migrations.AddIndex(
                    "TradingSignal",
                    models.Index(
                        condition=models.Q(("refers_to__isnull", False)),
                        fields=["refers_to", "id"],
                        name="trading_signals_refers_to",
                    ),
                ),
            ],
        ),
        migrations.AlterField("DeadLetter", "sender", models.TextField(blank=True, help_text=SENDER)),
    ]

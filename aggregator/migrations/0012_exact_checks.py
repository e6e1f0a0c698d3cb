"""Two rules to the letter: no list inside the list of tags, and 64 KiB also where texts hold commas and colons."""

from django.db import migrations

# A lax JSON path looked through a list inside the list, and found its texts to be fine.
TAGS = r"""
    DROP CONSTRAINT trading_signals_tags_check,
    ADD CONSTRAINT trading_signals_tags_check CHECK (
        CASE WHEN octet_length(tags::text) <= 66 AND tags::text ~ '^\[(?:"[ !#-\[\]-~]*"(?:, )?)*\]$' THEN true
        WHEN jsonb_typeof(tags) = 'array' THEN jsonb_array_length(tags) <= 32
            AND NOT jsonb_path_exists(tags, '{mode}$[*] ? (@.type() != "string"
                || !(@ like_regex "^[^\\u0001-\\u001f\\u007f-\\u009f\\u202a-\\u202e\\u2066-\\u2069]{{0,64}}$"))')
        ELSE false END) NOT VALID"""
# A jsonb's text has a space after each colon and comma, compact JSON has none: what is longer than it may be
# without its texts, whose spaces count, is counted. A member has three bytes at least, of them one space.
PAYLOAD = r"""
    DROP CONSTRAINT trading_signals_raw_payload_check,
    ADD CONSTRAINT trading_signals_raw_payload_check CHECK (
        CASE WHEN octet_length(raw_payload::text) <= 65536 THEN jsonb_typeof(raw_payload) = 'object'
        WHEN jsonb_typeof(raw_payload) <> 'object' OR octet_length(raw_payload::text) > 65536 / 2 * 3 THEN false
        ELSE octet_length(raw_payload::text)
            - length(regexp_replace(regexp_replace(raw_payload::text, '"(?:[^"\\]|\\.)*"', '', 'g'), '[^ ]', '', 'g'))
            <= 65536 END) NOT VALID"""
LOOSE_PAYLOAD = """
    DROP CONSTRAINT trading_signals_raw_payload_check,
    ADD CONSTRAINT trading_signals_raw_payload_check CHECK (jsonb_typeof(raw_payload) = 'object'
        AND octet_length(replace(replace(raw_payload::text, '": ', '":'), ', ', ',')) <= 65536)"""
# NOT VALID: a row that still waits to be recorded may break a rule. It is a dead letter then, and no reason
# why the migration should fail.


class Migration(migrations.Migration):
    dependencies = [("aggregator", "0011_quick_tags")]
    operations = [
        migrations.RunSQL(
            f"ALTER TABLE trading_signals {TAGS.format(mode='strict ')}, {PAYLOAD}",
            f"ALTER TABLE trading_signals {TAGS.format(mode='')}, {LOOSE_PAYLOAD}",
        )
    ]

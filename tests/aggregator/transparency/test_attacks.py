"""What an operator may try: each attempt is found by a reader's verifier, or by `transparency verify`."""

import csv
import io
import json
import os
import shutil
import subprocess

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from aggregator.models import TradingSignal, TransparencyLog
from aggregator.transparency import log_setup, log_tables, merkle, notes, tiles
from aggregator.transparency.leaves import commitment, recorded_signals
from aggregator.transparency.log_directory import log_directory
from tests.aggregator.transparency import verifier
from tests.aggregator.transparency.log_files import download, verify, write
from tests.aggregator.transparency.test_sealer import EVENT
from tests.commerce.feed.reading import reader
from tests.test_deployment_guide import packaged

pytestmark = pytest.mark.django_db(transaction=True)


def sql(statement, **parameters):
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


def despite_triggers(statement):
    """What the database's owner can do to a table that is append-only."""
    sql(f"SET session_replication_role = replica; {statement}; RESET session_replication_role")


@pytest.fixture
def reader_files(log, record, seal, tmp_path):
    """What a reader has kept: the log, a proof, and the record with proofs of `momentum`."""
    record(*({"signal_id": f"m-{number}", "agent_source": "momentum"} for number in range(4)))
    record({"signal_id": "o-1", "agent_source": "other"})
    for position in TradingSignal.objects.values_list("position", flat=True):
        for state in ("waiting", "closed"):
            sql(EVENT, position=position, state=state)
    seal()
    folder = download(tmp_path / "kept")
    write(folder / "proof", reader().get("signals/crypto/m-2/proof").json())
    (folder / "record.csv").write_text(export("momentum"), newline="")
    return folder


def export(agent):
    out = io.StringIO()
    call_command("transparency", "export", "crypto", agent, stdout=out)
    return out.getvalue()


def operator_finds():
    """What `transparency verify` says."""
    out = io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("transparency", "verify", stdout=out)
    assert ended.value.code == 1
    return out.getvalue().strip()


def record_says(log, folder, csv_text=None):
    """What the verifier says of a record, against the log that was kept."""
    if csv_text is not None:
        (folder / "record.csv").write_text(csv_text, newline="")
    return verify("record", folder / "record.csv", "--log", folder, "--key", log)


def test_an_honest_record_is_verified(log, reader_files):
    assert record_says(log, reader_files) == (
        0,
        "ok: crypto/momentum: all its 12 leaves of hub.example.com/log; 4 calls: 4 closed; win rate 0.0 %; "
        "mean R -1.0794, median R -1.0794; profit factor 0.00",
    )
    call_command("transparency", "verify", stdout=io.StringIO())


EDITS = {
    "one field of one row": "UPDATE trading_signals SET entry_price = 99 WHERE signal_id = 'm-2'",
    "its payload": """UPDATE trading_signals SET raw_payload = '{"late": 1}' WHERE signal_id = 'm-2'""",
    "its agent": "UPDATE trading_signals SET agent_source = 'other' WHERE signal_id = 'm-2'",
    "its time": "UPDATE trading_signals SET recorded_at = '2026-01-01Z' WHERE signal_id = 'm-2'",
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_row_that_was_edited(log, reader_files, edit):
    sql(EDITS[edit])
    assert operator_finds().startswith("differs: leaf 2: crypto/m-2 at position ")
    if edit != "its time":  # which the leaf itself holds, and readers see there
        status, line = record_says(log, reader_files, export("momentum"))
        assert status == 1
        assert "changed since" in line or "leaf 2" in line or "several agents" in line
        write(reader_files / "proof", reader(payload=True).get("signals/crypto/m-2/proof").json())
        assert verify("proof", reader_files / "proof", "--key", log) == (
            1,
            "wrong: the signal is not what was recorded: the leaf commits to another content",
        )


def test_a_row_that_was_deleted(log, reader_files):
    position = TradingSignal.objects.get(signal_id="m-1").position
    despite_triggers(f"DELETE FROM outcome_events WHERE position = {position}")
    sql("DELETE FROM trading_signals WHERE signal_id = 'm-1'")
    assert operator_finds() == f"differs: leaf 1: the signal at position {position} is missing"
    status, line = record_says(log, reader_files, export("momentum"))
    assert status == 1
    assert line.startswith(f"wrong: the record leaves out a signal at position {position}, recorded at 20")


def test_two_rows_that_were_swapped(log, reader_files):
    sql("UPDATE trading_signals SET position = -position WHERE signal_id IN ('m-1', 'm-2')")
    sql(
        "UPDATE trading_signals AS mine SET position = -theirs.position FROM trading_signals AS theirs "
        "WHERE mine.position < 0 AND theirs.position < 0 AND mine.id <> theirs.id"
    )
    assert operator_finds().startswith("differs: leaf 1: crypto/m-2 at position ")
    assert record_says(log, reader_files, export("momentum"))[0] == 1


def test_a_call_that_is_left_out_of_the_record(log, reader_files, capsys):
    rows = list(csv.reader(io.StringIO((reader_files / "record.csv").read_text(), newline="")))
    module = verifier.load()
    for left_out in range(1, len(rows)):
        with (reader_files / "thinned.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows[:left_out] + rows[left_out + 1 :])
        options = ["--log", str(reader_files), "--key", log]
        assert module.main(["record", str(reader_files / "thinned.csv"), *options]) == 1
        line = capsys.readouterr().err
        assert line.startswith("wrong: the record leaves out ")
        assert line.endswith(f"(leaf {rows[left_out][0]})\n")


def test_a_record_with_a_line_twice(log, reader_files):
    lines = (reader_files / "record.csv").read_text().splitlines(keepends=True)
    status, line = record_says(log, reader_files, "".join([*lines, lines[-1]]))
    assert (status, "twice" in line) == (1, True)


def test_an_outcome_that_was_changed(log, reader_files):
    despite_triggers("UPDATE outcome_events SET r_multiple = 2.5 WHERE state = 'closed'")
    assert "outcome event" in operator_finds()
    status, line = record_says(log, reader_files, export("momentum"))
    assert (status, "the outcome at position" in line) == (1, True)


def test_statistics_that_were_changed_in_the_record(log, reader_files):
    text = (reader_files / "record.csv").read_text()
    status, line = record_says(log, reader_files, text.replace("-1.0794", "4.0794"))
    assert (status, "was changed since" in line) == (1, True)


def test_a_leaf_that_was_replaced_together_with_its_tile(log, reader_files, record, seal, log_dir, tmp_path):
    """A row, its leaf and the tree's hashes are rewritten without a trace: the checkpoint still knows."""
    sql("UPDATE trading_signals SET entry_price = 99 WHERE signal_id = 'm-2'")
    with connection.cursor() as cursor:
        [signal] = recorded_signals(cursor, "signal_id = 'm-2'", {})
        [leaf] = log_tables.leaves(cursor, "index = 2", {})
        forged = commitment(leaf.nonce, signal.content)
        cursor.execute("UPDATE log_leaves SET commitment = %s WHERE index = 2", [forged])
        hashes = [merkle.leaf_hash(each.data) for each in log_tables.leaves(cursor, "true", {})]
        cursor.execute("DELETE FROM log_tiles")
        log_tables._write_tiles(cursor, tiles.append({}, 0, hashes))
    assert operator_finds() == "differs: the tree of 15 leaves has another root than the published checkpoint"
    record({})
    assert seal().problem == "the tables contradict the last checkpoint"
    status, line = record_says(log, download(tmp_path / "forged"), export("momentum"))
    assert (status, line) == (
        1,
        "wrong: the copy of the log is not that of its checkpoint: an entry is another",
    )
    # The operator signs the forged tree all the same, having removed what stopped the hub.
    (log_dir / "checkpoint").unlink()
    sql("UPDATE transparency_log SET size = 0")
    head = TransparencyLog.objects.get()
    directory = log_directory()
    with connection.cursor() as cursor:
        [root] = log_tables.read_hashes(cursor, [(0, 15)])
        note = notes.sign(notes.Checkpoint(head.origin, 15, root), directory.keys())
    TransparencyLog.objects.update(size=15, checkpoint=note)
    forged_log = download(tmp_path / "signed")
    kept = reader_files / "checkpoint"
    assert verify("consistency", kept, forged_log / "checkpoint", "--log", forged_log, "--key", log) == (
        1,
        "wrong: the log was forked: two checkpoints of 15 leaves differ",
    )


def test_a_checkpoint_that_another_key_has_signed(log, reader_files, log_dir):
    shutil.rmtree(log_dir)
    TransparencyLog.objects.all().delete()
    log_setup.begin(log_directory(), "hub.example.com")
    forged = write(reader_files / "forged", TransparencyLog.objects.get().checkpoint)
    assert verify("checkpoint", forged, "--key", log) == (
        1,
        f"wrong: {forged} is not signed by hub.example.com/log with the given key",
    )


def test_an_older_tree_that_is_served(log, reader_files, record, seal, tmp_path):
    record({})
    seal()
    newer = download(tmp_path / "newer") / "checkpoint"
    older = reader_files / "checkpoint"
    status, line = verify("consistency", newer, older, "--log", reader_files, "--key", log)
    assert (status, line) == (1, f"wrong: {older} has 15 leaves, fewer than the 16 of {newer}: it is older")


def test_a_fork_after_a_restore(log, reader_files, record, seal, tmp_path):
    """A backup is restored for real: the hub signs nothing that contradicts what was published since."""
    url = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**connection.settings_dict)
    clients = {"PATH": os.pathsep.join([*map(str, packaged()), os.environ["PATH"]]), "URL": url}

    def run(command):
        subprocess.run(["/bin/sh", "-c", command], cwd=tmp_path, env=clients, check=True)

    run('pg_dump --format=custom --file=hub.dump "$URL"')
    record({"signal_id": "lost", "agent_source": "momentum"})
    seal()
    published = download(tmp_path / "published")
    connection.close()
    run('pg_restore --clean --if-exists --no-owner --exit-on-error --dbname="$URL" hub.dump')
    assert not TradingSignal.objects.filter(signal_id="lost").exists()
    record({"signal_id": "other", "agent_source": "momentum"})  # signals are recorded all the same
    head = seal()
    assert (head.size, head.problem) == (15, "the tables are behind the last checkpoint")
    with pytest.raises(CommandError, match="behind the last checkpoint"):
        call_command("transparency", "init")
    assert operator_finds().endswith("the copy of the last checkpoint has 16 leaves, the tables 15")
    # An operator who removes the guard forks the log, and readers find it.
    (log_directory().path / "checkpoint").write_text(head.checkpoint)
    assert seal().checkpoint_size == 16
    forked = download(tmp_path / "forked")
    kept = published / "checkpoint"
    assert verify("consistency", kept, forked / "checkpoint", "--log", forked, "--key", log) == (
        1,
        "wrong: the log was forked: two checkpoints of 16 leaves differ",
    )
    record({}, {})
    seal()
    longer = download(tmp_path / "longer")
    status, line = verify("consistency", kept, longer / "checkpoint", "--log", longer, "--key", log)
    assert (status, line) == (1, f"wrong: the log was forked: it does not extend {kept} of 16 leaves")


def test_files_that_are_damaged_are_one_line_and_no_traceback(log, reader_files, tmp_path):
    proof = json.loads((reader_files / "proof").read_text())
    damaged = [
        *("", "[]", "{", "{}"),
        *(json.dumps({key: value for key, value in proof.items() if key != name}) for name in proof),
        *(json.dumps(proof | {name: other}) for name in proof for other in (7, None, "x", [])),
    ]
    module = verifier.load()
    for number, text in enumerate(damaged):
        file = write(tmp_path / f"{number}", text)
        assert module.main(["proof", str(file), "--key", log]) == 1, text
    assert module.main(["proof", str(reader_files / "proof"), "--key", log]) == 0
    assert module.main(["proof", str(reader_files / "nothing"), "--key", log]) == 1
    assert module.main(["proof", str(reader_files / "proof"), "--key", "hub+x+y"]) == 1

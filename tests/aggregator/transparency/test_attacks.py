"""What an operator may try: each attempt is found by a reader's verifier, or by `transparency verify`."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from aggregator.models import Agent, TradingSignal, TransparencyLog
from aggregator.transparency import log_setup, log_tables, merkle, notes, tiles
from aggregator.transparency.leaves import commitment, recorded_signals
from aggregator.transparency.log_directory import log_directory
from tests.aggregator.track_record.recording import MINUTE, T0, candle_rows, insert, put, score, signal
from tests.aggregator.transparency import verifier
from tests.aggregator.transparency.log_files import VERIFIER, download, verify, write
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
def reader_files(log, seal, tmp_path, client):
    """What a reader has kept of `momentum`: the log, a proof, the public record, its statistics.

    Of its calls, two won, one lost and one is open; two more of its signals are none.
    """
    levels = {"entry_price": 100, "stop_loss": 98, "take_profit": 104}
    calls = [
        signal(signal_id=f"m-{number}", agent_source="momentum", symbol=f"M{number}/USDT", **levels)
        for number in range(4)
    ]
    # Ends of lines to some, "and quotes": what is opened stands in a field of a CSV all the same.
    payload = {"note": 'a\r\nb\u2028c\x85d "e",\'f'}
    holds = [
        signal(signal_id=f"m-{number}", agent_source="momentum", action="HOLD", raw_payload=payload)
        for number in (4, 5)
    ]
    put(*calls, *holds, signal(signal_id="o-1", agent_source="other"))
    won, lost = "101/104.5/101/104", "101/102/97/99"
    for prices in (["100.5/101/100/101"] * 4, [won, lost, won]):
        for number, price in enumerate(prices):
            start = T0 + timedelta(seconds=30) + MINUTE * (len(prices) < 4)
            insert(candle_rows(price, start), instrument=f"M{number}/USDT")
        score()
    now = datetime.now(UTC)
    seen = {"first_seen": now, "last_seen": now, "published_at": now, "last_transport": "webhook"}
    Agent.objects.create(ecosystem="crypto", agent_source="momentum", **seen)
    seal()
    folder = download(tmp_path / "kept")
    granted = reader(payload=True, simulated=True)
    write(folder / "proof", granted.get("signals/crypto/m-2/proof").json())
    write(folder / "statistics.json", client.get("/record/crypto/momentum?format=json").json())
    response = client.get("/record/crypto/momentum?format=csv")
    (folder / "record.csv").write_text(b"".join(response.streaming_content).decode(), newline="")
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


def record_says(log, folder, csv_text=None, *options):
    """What the verifier says of a record, against the log that was kept."""
    if csv_text is not None:
        (folder / "record.csv").write_text(csv_text, newline="")
    return verify("record", folder / "record.csv", "--log", folder, "--key", log, *options)


def lines_of(folder):
    return list(csv.DictReader(io.StringIO((folder / "record.csv").read_text(), newline="")))


def put_together(lines):
    """Return the CSV of these lines."""
    text = io.StringIO()
    writer = csv.DictWriter(text, lines[0].keys())
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


SAYS = (
    "crypto/momentum: all its 13 leaves of the first 15 of hub.example.com/log; "
    "4 simulated calls: 3 closed, 1 open; win rate 66.7 %; mean R 0.5190, median R 1.3182; "
    "profit factor 2.44; maximum drawdown 0.00 R"
)


def test_an_honest_record_is_verified(log, reader_files):
    assert record_says(log, reader_files) == (0, f"ok: {SAYS}")
    statistics = reader_files / "statistics.json"
    assert record_says(log, reader_files, None, "--statistics", statistics) == (
        0,
        f"ok: {SAYS}; {statistics} says the same",
    )
    assert (0, f"ok: {SAYS}") == record_says(log, reader_files, export("momentum"))
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
    status, line = record_says(log, reader_files, export("momentum"))
    assert status == 1
    place = "the signal at position" if edit != "its time" else "crypto/m-2 (BUY M2/USDT 100): recorded_at is"
    assert line.startswith(f"wrong: {place} "), line
    if edit != "its time":
        granted = reader(payload=True, simulated=True)
        write(reader_files / "proof", granted.get("signals/crypto/m-2/proof").json())
        assert verify("proof", reader_files / "proof", "--key", log) == (
            1,
            "wrong: the signal is not what was recorded: the leaf commits to another content",
        )


def test_a_row_that_was_deleted(log, reader_files):
    position = TradingSignal.objects.get(signal_id="m-1").position
    for table in ("outcome_events", "outcomes", "trading_signals"):
        despite_triggers(f"DELETE FROM {table} WHERE position = {position}")
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
    """Without its line, without one of its leaves, or with what opens them in another line."""
    lines, module = lines_of(reader_files), verifier.load()
    thinned = reader_files / "thinned.csv"

    def says(some):
        thinned.write_text(put_together(some), newline="")
        assert module.main(["record", str(thinned), "--log", str(reader_files), "--key", log]) == 1
        return capsys.readouterr().err

    for number, line in enumerate(lines):
        others = lines[:number] + lines[number + 1 :]
        assert "wrong: the record leaves out a" in says(others)
        moved = [others[0] | {"leaves": others[0]["leaves"] + line["leaves"]}, *others[1:]]
        assert says(moved) == f"wrong: the record has no line of the call at position {line['position']}\n"
        leaves = [f"{leaf}\n" for leaf in line["leaves"].split("\n")[:-1]]
        for left_out in leaves:
            fewer = "".join(leaf for leaf in leaves if leaf != left_out)
            said = says([*lines[:number], line | {"leaves": fewer}, *lines[number + 1 :]])
            assert said.startswith("wrong: the record leaves out ")
            assert said.endswith(f"(leaf {left_out.split()[0]})\n")
        hidden = line | {"leaves": "".join(" ".join(leaf.split(" ")[:3]) + "\n" for leaf in leaves)}
        assert "for more than 0:00:00" in says([*lines[:number], hidden, *lines[number + 1 :]])
    assert "stands in the record twice" in says([*lines, lines[-1]])
    assert "the log has no call at position 99, " in says(
        [*lines, lines[0] | {"position": "99", "leaves": ""}]
    )


def test_a_record_that_ends_before_the_log_does(log, reader_files, capsys):
    """A moment's leaves are newer than a download, and said to be; a day's are missing."""
    lines, module = lines_of(reader_files), verifier.load()
    leaves = [leaf for line in lines for leaf in line["leaves"].split("\n") if leaf]
    last = max(leaves, key=lambda leaf: int(leaf.split()[0]))
    cut = [
        line | {"log_size": last.split()[0], "leaves": line["leaves"].replace(f"{last}\n", "")}
        for line in lines
    ]
    [of] = [number for number, line in enumerate(lines) if last in line["leaves"]]
    cut[of] |= {"state": "open", "exit_reason": "", "exited_at": "", "exit_price": ""}
    shorter = reader_files / "shorter.csv"
    shorter.write_text(put_together(cut), newline="")
    arguments = ["record", str(shorter), "--log", str(reader_files), "--key", log]
    assert module.main(arguments) == 0, capsys.readouterr().err
    assert "; 1 newer in the log are not in the record yet; " in capsys.readouterr().out
    module.MAX_AGE = timedelta(seconds=-1)
    assert module.main(arguments) == 1
    assert "is too old for an outcome of the call" in capsys.readouterr().err


def test_an_outcome_that_the_record_hides_of_a_call_that_it_shows(log, reader_files):
    lines = lines_of(reader_files)
    [lost] = [line for line in lines if line["exit_reason"] == "stop"]
    *others, decided = lost["leaves"].split("\n")[:-1]
    lost["leaves"] = "".join(f"{leaf}\n" for leaf in [*others, " ".join(decided.split(" ")[:3])])
    lost |= {"state": "open", "exit_reason": "", "exited_at": "", "exit_price": ""}
    index, position = decided.split(" ")[:2]
    assert record_says(log, reader_files, put_together(lines)) == (
        1,
        f"wrong: the record hides the outcome at position {position} (leaf {index}), whose call it shows",
    )


OUTCOMES = {
    "the event": "UPDATE outcome_events SET r_multiple = 2.5 WHERE state = 'closed'",
    "the row": "UPDATE outcomes SET r_multiple = 2.5 WHERE state = 'closed'",
}


def test_an_outcome_that_was_changed(log, reader_files):
    despite_triggers(OUTCOMES["the event"])
    assert "outcome event" in operator_finds()
    status, line = record_says(log, reader_files, export("momentum"))
    assert (status, line.startswith("wrong: the outcome at position")) == (1, True)


def test_a_figure_that_was_changed_in_the_table_of_outcomes_alone(log, reader_files):
    sql(OUTCOMES["the row"])
    assert record_says(log, reader_files, export("momentum")) == (
        1,
        "wrong: crypto/m-0 (BUY M0/USDT 100): r_multiple is 2.5 in its line, 1.3182 in the log",
    )


def test_figures_that_were_changed_in_the_record(log, reader_files, capsys):
    """Every readable figure of a closed call, and those within what opens a leaf."""
    lines, module = lines_of(reader_files), verifier.load()
    not_in_the_log = {"instrument", "t0", "scored_to", "last_close", "daily_r", "log_size", "hidden_seconds"}
    changed = [{column: f"{value}9" if value else "9"} for column, value in lines[1].items()]
    changed = [each for each in changed if not each.keys() & {*not_in_the_log, "position", "salt", "leaves"}]
    changed.append({"leaves": lines[1]["leaves"].replace("-1.0794", "4.0794")})
    for change in changed:
        text = put_together([lines[0], lines[1] | change, *lines[2:]])
        (reader_files / "changed.csv").write_text(text, newline="")
        options = ["--log", str(reader_files), "--key", log]
        assert module.main(["record", str(reader_files / "changed.csv"), *options]) == 1, change
        capsys.readouterr()


def test_a_figure_that_would_write_another_line(log, reader_files):
    lines = lines_of(reader_files)
    lines[1]["exit_reason"] = "stop\nok: crypto/momentum\x1b[1A"
    status, line = record_says(log, reader_files, put_together(lines))
    assert status == 1
    assert "exit_reason is stop?ok: crypto/momentum?[1A in its line" in line


def test_statistics_that_were_changed(log, reader_files):
    """Each of those that are published is compared with what follows from the calls."""
    published = json.loads((reader_files / "statistics.json").read_text())
    module = verifier.load()
    figures = module.figures_of(lines_of(reader_files))
    for name in figures:
        other = {**published["states"], "closed": 4} if name == "states" else [0.1, 0.9]
        other = other if isinstance(published[name], (dict, list)) else 1.25
        with pytest.raises(module.Wrong, match=f"^{name}( .+)? is "):
            module.require_figures(published | {name: other}, figures, "statistics.json")
    changed = write(reader_files / "changed.json", published | {"win_rate": 1.0})
    assert record_says(log, reader_files, None, "--statistics", changed) == (
        1,
        f"wrong: win_rate is 1.0 in {changed}, 0.6666666666666666 by the record",
    )


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
    published = json.loads((reader_files / "statistics.json").read_text())
    deep = json.dumps(published | {"equity": 0}).replace('"equity": 0', f'"equity": {"[" * 3000}{"]" * 3000}')
    options = ("--statistics", str(write(tmp_path / "deep", deep)), "--log", str(reader_files), "--key", log)
    assert module.main(["record", str(reader_files / "record.csv"), *options]) == 1
    assert module.main(["proof", str(reader_files / "proof"), "--key", log]) == 0
    assert module.main(["proof", str(reader_files / "nothing"), "--key", log]) == 1
    for key in ("hub+x+y", f"hub+01234567+{'A' * 300}", ""):
        assert module.main(["proof", str(reader_files / "proof"), "--key", key]) == 1


def test_what_a_terminal_cannot_show_proves_as_much(log, reader_files, tmp_path):
    file = write(tmp_path / "Prüfung", (reader_files / "checkpoint").read_text())
    command = [sys.executable, str(VERIFIER), "checkpoint", str(file), "--key", log]
    done = subprocess.run(command, env={"PYTHONIOENCODING": "ascii"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Pr?fung is a checkpoint of" in done.stdout

"""`manage.py transparency`: init, rotate, status, verify; and what stops sealing."""

import dataclasses
import io
import re
import shutil

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from aggregator.models import TransparencyLog
from aggregator.transparency.log_directory import log_directory
from aggregator.transparency.notes import Checkpoint, Note
from tests.aggregator.transparency.log_files import opened

pytestmark = pytest.mark.django_db(transaction=True)


def run(*arguments):
    """The lines that a command prints."""
    out = io.StringIO()
    call_command("transparency", *arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue().splitlines()


def problem():
    log = TransparencyLog.objects.get()
    return "; ".join(filter(None, (log.problem, log.problem_detail)))


def given_key(settings, pem):
    settings.ENVIRONMENT = dataclasses.replace(settings.ENVIRONMENT, log_signing_key=pem)


def test_init_makes_the_key_and_prints_the_verifier_key(log_dir):
    out, said = io.StringIO(), io.StringIO()
    call_command("transparency", "init", stdout=out, stderr=said)
    key = out.getvalue().strip()
    assert re.fullmatch(r"hub\.example\.com/log\+[0-9a-f]{8}\+[A-Za-z0-9+/]+=*", key)
    assert str(log_dir / "signing-key.pem") in said.getvalue()
    assert "PRIVATE" not in out.getvalue() + said.getvalue()
    assert [path.stat().st_mode & 0o777 for path in (log_dir, log_dir / "signing-key.pem")] == [0o700, 0o600]
    assert sorted(path.name for path in log_dir.iterdir()) == ["checkpoint", "signing-key.pem"]
    assert opened((log_dir / "checkpoint").read_text(), key)[:2] == ("hub.example.com/log", 0)
    assert run("init") == [key]


def test_init_takes_a_key_of_the_environment(log_dir, settings, tmp_path):
    run("init")
    pem = (log_dir / "signing-key.pem").read_text()
    key = TransparencyLog.objects.get().verifier_keys
    TransparencyLog.objects.all().delete()
    shutil.rmtree(log_dir)
    given_key(settings, pem)
    assert run("init") == key
    assert not (log_dir / "signing-key.pem").exists()


def test_init_needs_the_hubs_public_address(log_dir, settings):
    settings.PUBLIC_HOST = ""
    with pytest.raises(CommandError, match="AGG_SIGNAL_ENDPOINT"):
        run("init")
    assert not log_dir.exists()


def test_init_begins_no_log_where_a_longer_one_was_published(log, record, seal, log_dir):
    record()
    seal()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM transparency_log")
    with pytest.raises(CommandError, match=r"behind the last checkpoint.*--new-origin"):
        run("init")
    [key] = run("init", "--new-origin")
    assert key.startswith("hub.example.com/log-2+")
    assert opened(seal().checkpoint, key)[:2] == ("hub.example.com/log-2", 1)


def test_a_key_that_was_lost_is_never_replaced_by_another(log, record, seal, log_dir):
    (log_dir / "signing-key.pem").rename(log_dir / "elsewhere.pem")
    record()
    assert seal().size == 0
    with pytest.raises(CommandError, match="signing key is not here"):
        run("init")
    (log_dir / "elsewhere.pem").rename(log_dir / "signing-key.pem")
    assert seal().checkpoint_size == 1


def damage(path, text):
    path.write_text(text)


BROKEN = {
    "there is no copy of the last checkpoint": lambda folder: (folder / "checkpoint").unlink(),
    "the copy of the last checkpoint is damaged": lambda folder: damage(folder / "checkpoint", "hub"),
    "the signing key cannot be read": lambda folder: damage(folder / "signing-key.pem", "no key"),
    "the signing key is not private": lambda folder: folder.chmod(0o755),
    "the copy of the checkpoint cannot be written": lambda folder: (folder / "checkpoint.new").symlink_to(
        "/dev/full"
    ),
}


@pytest.mark.parametrize("summary", BROKEN)
def test_nothing_is_published_while_the_folder_is_not_as_it_should_be(
    log, record, seal, log_dir, tmp_path, summary
):
    record()
    before = seal().checkpoint
    shutil.copytree(log_dir, tmp_path / "whole")
    BROKEN[summary](log_dir)
    record()
    assert seal().checkpoint == before
    assert problem().startswith(summary)
    shutil.rmtree(log_dir)
    shutil.copytree(tmp_path / "whole", log_dir)
    head = seal()
    assert (head.checkpoint_size, head.problem) == (2, "")


def test_another_key_does_not_sign(log, record, seal, log_dir, settings):
    record()
    before = seal().checkpoint
    (log_dir / "signing-key.pem").unlink()
    log_directory().add_key()
    record()
    assert seal().checkpoint == before
    assert "the signing key is not the log's" in problem()


def test_tables_that_are_behind_the_copy_stop_the_log(log, record, seal, log_dir):
    record({"signal_id": "a"})
    seal()
    older = TransparencyLog.objects.values().get()
    record({"signal_id": "b"})
    seal()
    TransparencyLog.objects.update(**older)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM log_leaves WHERE index = 1; UPDATE followers SET position = position - 1")
    record({"signal_id": "c"})
    assert seal().size == 1
    assert "the tables are behind the last checkpoint; they hold 1 leaves, the checkpoint 2" in problem()


def test_a_tree_that_contradicts_the_copy_stops_the_log(log, record, seal, log_dir):
    record({"signal_id": "a"}, {"signal_id": "b"})
    before = seal()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE log_tiles SET hashes = sha256('') || substr(hashes, 33)")
    record({"signal_id": "c"})
    assert seal().checkpoint == before.checkpoint
    assert problem().startswith("the tables contradict the last checkpoint")


def test_only_new_origin_begins_another_log(log, record, seal, log_dir):
    record({"signal_id": "a"})
    last = seal().checkpoint
    with connection.cursor() as cursor:
        cursor.execute("UPDATE log_tiles SET hashes = sha256('')")
    record({"signal_id": "b"})
    seal()
    with pytest.raises(CommandError, match="contradict"):
        run("init")
    [key] = run("init", "--new-origin")
    head = seal()
    assert opened(head.checkpoint, key)[:2] == ("hub.example.com/log-2", 2)
    assert head.problem == ""
    assert (log_dir / "checkpoint-hub.example.com-log-1").read_text() == last


def test_during_a_rotation_both_keys_sign(log, record, seal, log_dir):
    record()
    seal()
    keys = run("rotate")
    assert keys[0] == log
    with pytest.raises(CommandError, match="a rotation is under way"):
        run("rotate")
    with pytest.raises(CommandError, match="the second key has signed no checkpoint yet"):
        run("rotate", "--finish")
    both = seal().checkpoint
    assert [opened(both, key)[:2] for key in keys] == [("hub.example.com/log", 1)] * 2
    assert run("rotate", "--finish") == keys[1:]
    record()
    alone = Note.parse(seal().checkpoint)
    assert Checkpoint.parse(alone.text).size == 2
    assert len(alone.signatures) == 1
    assert opened(log_directory().copy(), keys[1])[1] == 2
    with pytest.raises(CommandError, match="no rotation is under way"):
        run("rotate", "--finish")


@pytest.mark.parametrize(
    ("copy", "reason"),
    [(None, "there is no copy of the last checkpoint"), ("torn", "copy of the last checkpoint is damaged")],
)
def test_no_rotation_ends_without_a_sound_copy_of_the_checkpoint(log, seal, log_dir, copy, reason):
    run("rotate")
    seal()
    (log_dir / "checkpoint").unlink()
    if copy:
        (log_dir / "checkpoint").write_text(copy)
    with pytest.raises(CommandError, match=reason):
        run("rotate", "--finish")


def test_a_key_of_the_environment_is_rotated_there(log, record, seal, log_dir, settings):
    first = (log_dir / "signing-key.pem").read_text()
    log_directory().add_key()
    both = (log_dir / "signing-key.pem").read_text()
    (log_dir / "signing-key.pem").unlink()
    given_key(settings, first)
    with pytest.raises(CommandError, match="put the PEM of both keys into it"):
        run("rotate")
    given_key(settings, both)
    assert len(Note.parse(seal().checkpoint).signatures) == 2
    given_key(settings, both.removeprefix(first))
    assert len(Note.parse(seal().checkpoint).signatures) == 1
    assert problem() == ""


def test_status_shows_size_age_key_and_anchors(log, record, seal, log_dir):
    record()
    seal()
    shown = dict(line.split(maxsplit=1) for line in run("status"))
    assert shown["origin"] == "hub.example.com/log"
    assert shown["size"] == "1 leaves"
    assert re.fullmatch(r"1 leaves, \d+ s old", shown["checkpoint"])
    assert shown["key"] == f"{log.split('+')[1]} {log}"
    assert (shown["anchors"], shown["problem"], shown["waiting"]) == ("none", "none", "nothing")
    assert shown["folder"] == f"{log_dir}: 1 signing key, a copy of the checkpoint"


@pytest.mark.parametrize("action", ["status", "verify", "rotate"])
def test_without_a_log_the_other_commands_say_so(log_dir, action):
    with pytest.raises(CommandError, match="no log"):
        run(action)

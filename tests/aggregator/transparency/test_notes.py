"""Signed notes, verifier keys and checkpoints: the examples of their specifications, and what is refused."""

import base64
import contextlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aggregator.transparency import notes
from aggregator.transparency.notes import Checkpoint, InvalidNote, Note, SigningKey, VerifierKey

FOO = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
FOO_NOTE = (
    "This is an example message.\n\n— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_KEY = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
PETER_TEXT = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
)
PETER_LINE = (
    "— PeterNeumann "
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
CHECKPOINT = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa "
    "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
)


@pytest.mark.parametrize(("key", "note"), [(FOO, FOO_NOTE), (PETER, f"{PETER_TEXT}\n{PETER_LINE}")])
def test_published_notes_are_verified(key, note):
    verifier = VerifierKey.parse(key)
    assert str(verifier) == key
    assert Note.parse(note).verified_by([verifier]) == [verifier]


def test_a_published_key_makes_the_published_signature():
    key = SigningKey(Ed25519PrivateKey.from_private_bytes(base64.b64decode(PETER_KEY)[1:]))
    assert str(key.verifier("PeterNeumann")) == PETER
    assert key.signature_line("PeterNeumann", PETER_TEXT) == PETER_LINE


def test_the_published_checkpoint_is_read():
    note = Note.parse(CHECKPOINT)
    checkpoint = Checkpoint.parse(note.text)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert checkpoint.text == note.text


def test_a_checkpoint_with_two_signatures_is_verified_by_either_key():
    keys = [SigningKey(Ed25519PrivateKey.generate()) for _ in range(3)]
    note = Note.parse(notes.sign(Checkpoint("hub.example.com/log", 5, bytes(32)), keys[:2]))
    verifiers = [key.verifier("hub.example.com/log") for key in keys]
    assert [note.verified_by([each]) for each in verifiers] == [[verifiers[0]], [verifiers[1]], []]
    assert note.verified_by([keys[0].verifier("hub.example.com/other")]) == []


def test_every_changed_character_of_a_note_is_noticed():
    key = VerifierKey.parse(FOO)
    for at in range(len(FOO_NOTE)):
        changed = FOO_NOTE[:at] + chr(ord(FOO_NOTE[at]) ^ 1) + FOO_NOTE[at + 1 :]
        with contextlib.suppress(InvalidNote):
            assert Note.parse(changed).verified_by([key]) == [], at


@pytest.mark.parametrize("at", range(len(FOO)))
def test_every_changed_character_of_a_verifier_key_is_noticed(at):
    with pytest.raises(InvalidNote):
        VerifierKey.parse(FOO[:at] + chr(ord(FOO[at]) + 1) + FOO[at + 1 :])


@pytest.mark.parametrize(
    "key",
    [
        "",
        FOO[:-4],
        "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        PETER.replace("c74f20a3", "C74F20A3"),
    ],
)
def test_other_texts_are_no_verifier_keys(key):
    with pytest.raises(InvalidNote):
        VerifierKey.parse(key)


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "text\n",
        "text\n\n",
        PETER_TEXT + PETER_LINE,
        f"{PETER_TEXT}\n{PETER_LINE}".rstrip("\n"),
        f"{PETER_TEXT}\n{PETER_LINE.replace('—', '-')}",
        f"{PETER_TEXT}\n{PETER_LINE.replace('PeterNeumann', 'Peter Neumann')}",
        f"{PETER_TEXT}\n{PETER_LINE}\t\n",
        f"a\tb\n\n{PETER_LINE}",
        f"{PETER_TEXT}\n{PETER_LINE.replace('AM=', 'AN=')}",
        f"{'x' * 70_000}\n\n{PETER_LINE}",
    ],
)
def test_other_texts_are_no_notes(raw):
    with pytest.raises(InvalidNote):
        Note.parse(raw)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "origin\n1\n",
        "origin\n01\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
        "origin\n-1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
        "origin\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=",
        "\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
        "origin\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jx\n",
        "origin\n99999999999999999999\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
    ],
)
def test_other_texts_are_no_checkpoints(text):
    with pytest.raises(InvalidNote):
        Checkpoint.parse(text)

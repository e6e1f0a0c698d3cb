import pytest
from hypothesis import given
from hypothesis import strategies as st

from commerce.feed import cursors
from commerce.ledger_window import Place


@given(st.integers(0, 2**63 - 1))
def test_a_cursor_gives_its_position_back(position):
    text = cursors.encode(position)
    assert cursors.decode(text) == position
    assert len(text) == cursors.LENGTH


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_a_cursor_of_a_place_says_both_and_is_one_of_its_position(position, decided):
    text = cursors.encode_place(Place(position, decided))
    assert cursors.decode_place(text) == (position, decided)
    assert cursors.decode(text) == position
    assert len(text) == cursors.PLACE_LENGTH
    assert cursors.decode_place(cursors.encode(position)) == (position, None)


@given(st.text(max_size=40) | st.binary(max_size=20).map(lambda raw: raw.decode("latin-1")))
def test_any_other_text_is_refused(text):
    with pytest.raises(cursors.InvalidCursor):
        cursors.decode(text)


@given(st.integers(0, 10_000), st.integers(0, cursors.LENGTH - 1), st.sampled_from("AQgw_-09=. é"))
def test_a_cursor_with_one_wrong_character_is_refused(position, place, character):
    for text in (cursors.encode(position), cursors.encode_place(Place(position, 7))):
        mangled = text[:place] + character + text[place + 1 :]
        if mangled != text:
            with pytest.raises(cursors.InvalidCursor):
                cursors.decode(mangled)

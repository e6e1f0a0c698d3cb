"""The tree: published vectors, and the recursive definitions of RFC 6962 as a second implementation."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.transparency import merkle, tiles
from tests.aggregator.transparency import rfc6962
from tests.aggregator.transparency.rfc6962 import CONSISTENCY, INCLUSION, LEAVES, ROOTS, hashes

MANY = [number.to_bytes(3) for number in range(70_000)]


def grown(leaves, *steps):
    """The tiles of a tree that grew in steps of these sizes, then of what is left."""
    known, size = {}, 0
    for upto in [*steps, len(leaves)]:
        edge = {tile: known[tile] for tile in tiles.edge(size)}
        known |= tiles.append(edge, size, [merkle.leaf_hash(leaf) for leaf in leaves[size:upto]])
        size = upto
    return known


def hashes_of(known, spans):
    """What a hub computes: from the tiles that it reads for these nodes, and no others."""
    return tiles.node_hashes({tile: known[tile] for tile in tiles.tiles_of(spans)}, spans)


@pytest.fixture(scope="module")
def large():
    return grown(MANY, 3, 255, 300, 65_535)


@pytest.mark.parametrize("size", range(9))
def test_roots_are_the_published_ones(size):
    assert hashes_of(grown(LEAVES[:size]), [(0, size)]) == [ROOTS[size]]
    assert rfc6962.mth(LEAVES[:size]) == ROOTS[size]


@pytest.mark.parametrize(("index", "size"), INCLUSION)
def test_inclusion_proofs_are_the_published_ones(index, size):
    found = hashes_of(grown(LEAVES), merkle.inclusion_ranges(index, size))
    assert found == hashes(INCLUSION[index, size])


@pytest.mark.parametrize(("old", "new"), CONSISTENCY)
def test_consistency_proofs_are_the_published_ones(old, new):
    found = hashes_of(grown(LEAVES), merkle.consistency_ranges(old, new))
    assert found == hashes(CONSISTENCY[old, new])
    assert merkle.is_consistent(old, new, ROOTS[old], ROOTS[new], found)


def test_every_small_tree_is_that_of_the_definition():
    known = grown(LEAVES, 2, 5)
    for size in range(1, 9):
        for index in range(size):
            spans = merkle.inclusion_ranges(index, size)
            assert hashes_of(known, spans) == rfc6962.path(index, LEAVES[:size])
        for old in range(size + 1):
            spans = merkle.consistency_ranges(old, size)
            assert hashes_of(known, spans) == rfc6962.proof(old, LEAVES[:size])


def agrees(known, index, old, size):
    leaves = MANY[:size]
    assert hashes_of(known, [(0, size)]) == [rfc6962.mth(leaves)]
    assert hashes_of(known, merkle.inclusion_ranges(index, size)) == rfc6962.path(index, leaves)
    proof = hashes_of(known, merkle.consistency_ranges(old, size))
    assert proof == rfc6962.proof(old, leaves)
    return merkle.is_consistent(old, size, rfc6962.mth(leaves[:old]), rfc6962.mth(leaves), proof)


@settings(max_examples=40)
@given(data=st.data())
def test_a_tree_of_any_size_is_that_of_the_definition(large, data):
    size = data.draw(st.integers(1, 700))
    assert agrees(large, data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size)), size)


@pytest.mark.parametrize(("index", "old", "size"), [(65_535, 65_537, 69_999), (300, 255, 65_536)])
def test_so_is_one_of_three_levels(large, index, old, size):
    assert agrees(large, index, old, size)


@settings(max_examples=40)
@given(sizes=st.lists(st.integers(0, 600), max_size=4), size=st.integers(0, 600))
def test_how_a_tree_grew_makes_no_difference(sizes, size):
    steps = sorted(each for each in sizes if each <= size)
    assert grown(MANY[:size], *steps) == grown(MANY[:size])


def corrupted(proof):
    """A proof with each hash changed, left out, or one too many."""
    for at, each in enumerate(proof):
        yield [*proof[:at], bytes([each[0] ^ 16, *each[1:]]), *proof[at + 1 :]]
        yield [*proof[:at], *proof[at + 1 :]]
    yield [*proof, ROOTS[0]]
    yield [ROOTS[0], *proof]


@pytest.mark.parametrize("new", range(1, 9))
@pytest.mark.parametrize("old", range(1, 9))
def test_no_other_proof_shows_consistency(old, new):
    proof = rfc6962.proof(old, LEAVES[:new]) if old <= new else []
    assert merkle.is_consistent(old, new, ROOTS[old], ROOTS[new], proof) is (old <= new)
    wrong = [(old, new, ROOTS[old], ROOTS[new], each) for each in corrupted(proof)]
    wrong += [(old, new, ROOTS[0], ROOTS[new], proof), (old, new, ROOTS[old], ROOTS[0], proof)]
    wrong += [(old, new + new, ROOTS[old], ROOTS[new], proof), (new + 1, new, ROOTS[old], ROOTS[new], proof)]
    if old != new:
        wrong += [(old, new, ROOTS[new], ROOTS[old], proof), (new, old, ROOTS[new], ROOTS[old], proof)]
    assert [each for each in wrong if merkle.is_consistent(*each)] == []


def test_every_tree_extends_the_empty_one():
    assert merkle.is_consistent(0, 8, ROOTS[0], ROOTS[8], [])
    assert merkle.is_consistent(0, 0, ROOTS[0], ROOTS[0], [])
    assert not merkle.is_consistent(0, 8, ROOTS[1], ROOTS[8], [])
    assert not merkle.is_consistent(0, 0, ROOTS[0], ROOTS[8], [])


@pytest.mark.parametrize(("index", "size"), [(0, 0), (8, 8), (-1, 8)])
def test_a_leaf_that_is_not_there_has_no_proof(index, size):
    with pytest.raises(ValueError, match="has no leaf"):
        merkle.inclusion_ranges(index, size)


def test_a_smaller_tree_extends_no_larger_one():
    with pytest.raises(ValueError, match="extends none"):
        merkle.consistency_ranges(9, 8)

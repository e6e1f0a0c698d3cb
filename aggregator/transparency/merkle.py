"""The Merkle tree of RFC 6962, section 2.1, which RFC 9162 keeps: hashes, roots, proofs. Touches no database.

A node of the tree is named by the range of leaves below it. Every such range consists of complete subtrees,
whose hashes never change once their leaves exist: from those, roots and proofs of any size are
computed with a few look-ups.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()

Range = tuple[int, int]
"""The leaves from the first index up to, but without, the second."""


class Subtree(NamedTuple):
    """The complete subtree of 2**height leaves that begins at leaf number * 2**height."""

    height: int
    number: int


def leaf_hash(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def subtrees(span: Range) -> list[Subtree]:
    """Return the complete subtrees that a node's range consists of, from left to right."""
    start, end = span
    found = []
    while start < end:
        height = (end - start).bit_length() - 1
        found.append(Subtree(height, start >> height))
        start += 1 << height
    return found


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """Return the nodes whose hashes prove leaf `index` in a tree of `size` (RFC 9162, section 2.1.3.1)."""
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    return [sibling for _, sibling in _way_to(index, size)][::-1]


def consistency_ranges(old: int, new: int) -> list[Range]:
    """Return the nodes whose hashes prove that a tree of `new` leaves extends one of `old` (RFC 9162)."""
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} leaves extends none of {old}")
    if old in {0, new}:
        return []
    found = []
    for node, sibling in _way_to(old - 1, new):
        found.append(sibling)
        if node[1] == old:
            return ([node] if node[0] else []) + found[::-1]
    raise AssertionError("the way ends at the last leaf of the old tree")


def is_consistent(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Return whether a proof shows that the second tree extends the first (RFC 9162, section 2.1.4)."""
    if old == 0:
        return old_root == EMPTY_ROOT and not proof and (new > 0 or new_root == EMPTY_ROOT)
    if old > new or len(spans := consistency_ranges(old, new)) != len(proof):
        return False
    left = right = old_root
    for (start, end), node in zip(spans, proof, strict=True):
        if end == old:  # where the way begins, unless that is the old root
            left = right = node
        elif start < old:
            left, right = node_hash(node, left), node_hash(node, right)
        else:
            right = node_hash(right, node)
    return left == old_root and right == new_root


def _way_to(leaf: int, size: int) -> Iterator[tuple[Range, Range]]:
    """Yield the nodes below the root on the way to a leaf, each with its sibling."""
    start, end = 0, size
    while end - start > 1:
        # The left one has the largest power of two that is smaller than the tree.
        middle = start + (1 << (end - start - 1).bit_length() - 1)
        halves = (start, middle), (middle, end)
        (start, end), sibling = halves if leaf < middle else halves[::-1]
        yield (start, end), sibling

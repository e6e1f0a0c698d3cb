"""Tiles (C2SP tlog-tiles): the tree in pieces of 256 hashes, and where a subtree's hash is found in them.

A tile of level l holds the hashes of subtrees of 256**l leaves. Only the last one of a level is partial; it
grows, and what it holds never changes.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from aggregator.transparency.merkle import EMPTY_ROOT, HASH_BYTES, Range, Subtree, node_hash, subtrees

HEIGHT = 8
WIDTH = 1 << HEIGHT
FULL_BYTES = WIDTH * HASH_BYTES
MAX_LEVEL = 63
_PATH = re.compile(r"([0-9]{1,2}|entries)/((?:x[0-9]{3}/){0,5}[0-9]{3})(?:\.p/([0-9]{1,3}))?", re.ASCII)


class Tile(NamedTuple):
    level: int
    number: int
    """Counted from the left, within its level."""


class TilePath(NamedTuple):
    """What a path asks for."""

    level: int | None
    """None for a bundle of entries."""
    number: int
    width: int
    """How many of its hashes or entries; WIDTH for a full tile."""


def tile_path(level: int | None, number: int, width: int = WIDTH) -> str:
    """Return the path below `tile/`; without a level that of a bundle of entries."""
    digits = str(number)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    parts = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    path = "/".join([*(f"x{part}" for part in parts[:-1]), parts[-1]])
    return f"{'entries' if level is None else level}/{path}" + (f".p/{width}" if width < WIDTH else "")


def parse_path(path: str) -> TilePath | None:
    """Return what a path below `tile/` asks for, None for what is no path of a tile."""
    match = _PATH.fullmatch(path)
    if match is None:
        return None
    level = None if match[1] == "entries" else int(match[1])
    asked = TilePath(level, int(re.sub("[x/]", "", match[2])), int(match[3] or WIDTH))
    # Every tile has one path only: no number has leading zeroes, and no full tile a width.
    exists = (level or 0) <= MAX_LEVEL and asked.width > 0 and tile_path(*asked) == path
    return asked if exists else None


def entry_bundle(entries: Iterable[bytes]) -> bytes:
    """Return entries as a bundle: each after its length in two bytes."""
    return b"".join(len(entry).to_bytes(2) + entry for entry in entries)


def tile_of(subtree: Subtree) -> Tile:
    """Return the tile that a subtree's hash is found in, or computed from."""
    level, height = divmod(subtree.height, HEIGHT)
    return Tile(level, subtree.number >> (HEIGHT - height))


def tiles_of(spans: Iterable[Range]) -> set[Tile]:
    """Return the tiles that the hashes of these nodes are computed from."""
    return {tile_of(each) for span in spans for each in subtrees(span)}


def edge(size: int) -> list[Tile]:
    """Return the partial tiles at the right edge of a tree, the lowest level first; not the empty ones."""
    levels = range(-(-size.bit_length() // HEIGHT))
    counts = [size >> HEIGHT * level for level in levels]
    return [Tile(level, count // WIDTH) for level, count in enumerate(counts) if count % WIDTH]


def node_hashes(tiles: Mapping[Tile, bytes], spans: Iterable[Range]) -> list[bytes]:
    """Return the hashes of nodes, from the tiles that `tiles_of` names; of no leaves the empty tree's.

    Raises KeyError or IndexError where these lack something.
    """
    found = []
    for span in spans:
        hashes = []
        for subtree in subtrees(span):
            count = 1 << subtree.height % HEIGHT
            start = subtree.number * count % WIDTH
            hashes.append(complete_hash(_hashes(tiles[tile_of(subtree)])[start : start + count], count))
        node = hashes.pop() if hashes else EMPTY_ROOT
        while hashes:
            node = node_hash(hashes.pop(), node)
        found.append(node)
    return found


def complete_hash(hashes: Sequence[bytes], count: int) -> bytes:
    """Return the hash of a complete subtree of `count` of a tile's hashes. Raises IndexError for fewer."""
    if len(hashes) != count:
        raise IndexError("the tile is too short")
    while len(hashes) > 1:
        hashes = [node_hash(hashes[at], hashes[at + 1]) for at in range(0, len(hashes), 2)]
    return hashes[0]


def append(tiles: Mapping[Tile, bytes], size: int, hashes: Sequence[bytes]) -> dict[Tile, bytes]:
    """Return the tiles that new leaf hashes change in a tree of `size`, whose `edge` is in `tiles`."""
    changed: dict[Tile, bytes] = {}
    level = 0
    while hashes:
        first, width = divmod(size >> HEIGHT * level, WIDTH)
        data = (tiles[Tile(level, first)] if width else b"") + b"".join(hashes)
        parts = [data[at : at + FULL_BYTES] for at in range(0, len(data), FULL_BYTES)]
        changed |= {Tile(level, number): part for number, part in enumerate(parts, first)}
        hashes = [complete_hash(_hashes(part), WIDTH) for part in parts if len(part) == FULL_BYTES]
        level += 1
    return changed


def _hashes(data: bytes) -> list[bytes]:
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]

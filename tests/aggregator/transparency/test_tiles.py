"""Tiles and their paths, as C2SP's tlog-tiles defines them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.transparency import merkle, tiles
from aggregator.transparency.tiles import TilePath


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ((0, 0, 256), "0/000"),
        ((0, 273, 112), "0/273.p/112"),
        ((2, 1234067, 256), "2/x001/x234/067"),
        ((63, 1000, 1), "63/x001/000.p/1"),
        ((None, 999, 255), "entries/999.p/255"),
        ((None, 1_000_000, 256), "entries/x001/x000/000"),
    ],
)
def test_paths_are_those_of_the_specification(asked, path):
    assert tiles.tile_path(*asked) == path
    assert tiles.parse_path(path) == TilePath(*asked)


NO_PATHS = [
    "",
    "0",
    "0/",
    "0/0",
    "0/00",
    "0/0000",
    "0/x000",
    "0/x000/000",
    "0/x001/67",
    "0/001/002",
    "0/000.p/0",
    "0/000.p/256",
    "0/000.p/01",
    "0/000.p/",
    "0/000.p",
    "64/000",
    "00/000",
    "01/000",
    "-1/000",
    "data/000",
    "entries/000.p/300",
    "0/000/",
    "/0/000",
    "0/000\n",
    "0/\u0660\u0660\u0660",
]


@pytest.mark.parametrize("path", [*NO_PATHS, f"0/{'x999/' * 30}999"])
def test_other_paths_name_no_tile(path):
    assert tiles.parse_path(path) is None


@given(level=st.none() | st.integers(0, 63), index=st.integers(0, 10**18 - 1), width=st.integers(1, 256))
def test_every_tile_has_one_path(level, index, width):
    assert tiles.parse_path(tiles.tile_path(level, index, width)) == (level, index, width)


def test_a_tree_of_70000_leaves_has_the_tiles_of_the_specification():
    known = tiles.append({}, 0, [merkle.leaf_hash(bytes([number % 256])) for number in range(70_000)])
    widths = {tile: len(data) // 32 for tile, data in known.items()}
    assert sum(tile.level == 0 and width == 256 for tile, width in widths.items()) == 273
    partial = {tile: width for tile, width in widths.items() if width < 256}
    assert partial == {(0, 273): 112, (1, 1): 17, (2, 0): 1}
    assert set(partial) == set(tiles.edge(70_000))


def test_a_bundle_holds_each_entry_after_its_length():
    assert tiles.entry_bundle([b"", b"ab", b"x" * 300]) == b"\0\0\0\2ab\1\x2c" + b"x" * 300


def test_a_tile_that_is_cut_off_is_noticed():
    known = tiles.append({}, 0, [merkle.leaf_hash(b"")] * 300)
    known[tiles.Tile(0, 0)] = known[tiles.Tile(0, 0)][:-32]
    with pytest.raises(IndexError):
        tiles.node_hashes(known, [(128, 256)])

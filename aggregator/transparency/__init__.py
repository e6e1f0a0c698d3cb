"""The transparency log: a Merkle tree over what was recorded, its checkpoints and proofs."""

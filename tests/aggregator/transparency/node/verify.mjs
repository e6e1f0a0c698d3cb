// Reads {"key", "proofs"}: a verifier key and proofs of the API. Verifies each with the code that checks what npm
// publishes, and writes a line each.
import { createPublicKey } from "node:crypto";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const { verifyCheckpoint } = require("./node_modules/@sigstore/verify/dist/tlog/checkpoint.js");
const { verifyMerkleInclusion } = require("./node_modules/@sigstore/verify/dist/tlog/merkle.js");

let text = "";
for await (const part of process.stdin) text += part;
const { key, proofs } = JSON.parse(text);
const [, name, keyId, encoded] = key.match(/^(\S+?)\+([0-9a-f]{8})\+(\S+)$/);
const raw = Buffer.from(encoded, "base64").subarray(1);
const spki = Buffer.concat([Buffer.from("302a300506032b6570032100", "hex"), raw]);
const log = {
  baseURL: `https://${name}`,
  logID: Buffer.from(keyId, "hex"),
  publicKey: createPublicKey({ key: spki, format: "der", type: "spki" }),
};
for (const { index, leaf_data, proof, checkpoint } of proofs) {
  const entry = {
    canonicalizedBody: Buffer.from(leaf_data),
    inclusionProof: {
      logIndex: String(index),
      hashes: proof.map((hash) => Buffer.from(hash, "base64")),
      checkpoint: { envelope: checkpoint },
    },
  };
  try {
    verifyMerkleInclusion(entry, verifyCheckpoint(entry, [log]));
    console.log("verified");
  } catch (error) {
    console.log("refused");
  }
}

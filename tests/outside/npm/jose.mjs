// Who signed a record, by jose (npm): each core, and the same core with bits flipped.
//
//     node jose.mjs KEY RECORD.sdjwt ...       KEY: the signer's public key, 64 hex digits; jose beside this script
//
// Prints JSON: the claims of each record, how many flips were tried, and which of them passed.

import { readFileSync } from "node:fs";
import { base64url, compactVerify, importJWK } from "jose";

const [key, ...records] = process.argv.slice(2);
const x = base64url.encode(Buffer.from(key, "hex"));
const signer = await importJWK({ kty: "OKP", crv: "Ed25519", x }, "EdDSA");

async function verified(core) {
  const { payload, protectedHeader } = await compactVerify(core, signer, { algorithms: ["EdDSA"] });
  if (protectedHeader.typ !== "fmesh-record+sd-jwt") throw new Error("not a record");
  return JSON.parse(new TextDecoder().decode(payload));
}

// A bit of each character of what is signed, and each bit of the signature as bytes: as text its last character has
// bits that say nothing, which readers may pass over.
function* broken(core) {
  const dot = core.lastIndexOf(".");
  for (let at = 0; at < dot; at++) {
    const flipped = String.fromCharCode(core.charCodeAt(at) ^ (1 << at % 7));
    yield core.slice(0, at) + flipped + core.slice(at + 1);
  }
  const signature = base64url.decode(core.slice(dot + 1));
  for (let bit = 0; bit < 8 * signature.length; bit++) {
    const flipped = Uint8Array.from(signature);
    flipped[bit >> 3] ^= 1 << (bit & 7);
    yield `${core.slice(0, dot)}.${base64url.encode(flipped)}`;
  }
}

const claims = [];
const passed = [];
let flips = 0;
for (const record of records) {
  const core = readFileSync(record, "ascii").split("~")[0];
  claims.push(await verified(core));
  for (const other of broken(core)) {
    flips++;
    await verified(other).then(() => passed.push([record, flips]), () => {});
  }
}
console.log(JSON.stringify({ claims, flips, passed }));

"""The whole check of exported records, without our code: PyJWT, cryptography, hashlib.

    python3 verify.py SITE RECORD.sdjwt ...  each with its .tlog-proof and .keys.sdjwt beside it

SITE is the site's public key, 64 hex digits. It is all that is trusted, so get it from the site itself
and not from whom the files came from. Prints a line of JSON for each record, or fails.
"""

import json
import pathlib
import sys

import jwt

from plain import Refused, included, need, opened
from signatures import author, log


def verify(site, record, proof, manifest):
    """Files as bytes -> what is proven."""
    # The site's root key signed the manifest; the manifest names the keys for records and for the log.
    core, claims, keys, _ = opened(manifest)
    author(core, bytes.fromhex(site))
    need((claims["kind"], claims["iss"], claims["seq"]) == ("keys", site, 0), "not this site's manifest")

    core, claims, slots, feeds = opened(record)
    signer = site if claims["kind"] == "keys" else keys["record"]
    need(author(core, bytes.fromhex(signer)) == claims, "two readers differ")
    need(claims["iss"] == site, "the record is of another site")

    checkpoint = proof.split(b"\n\n", 1)[1]
    origin, size, root = log(checkpoint, bytes.fromhex(keys["log"]))
    need(included(core, claims, proof) == (size, root), "two readers differ")
    withheld = sorted(set(claims["body"]) - set(slots))
    place = {"origin": origin, "seq": claims["seq"], "size": size, "root": root.hex()}
    return {**place, "kind": claims["kind"], "slots": slots, "withheld": withheld, "feeds": feeds}


if __name__ == "__main__":
    site, *records = sys.argv[1:]
    for name in records:
        record = pathlib.Path(name)
        files = [record, record.with_suffix(".tlog-proof"), record.with_suffix(".keys.sdjwt")]
        try:
            print(json.dumps(verify(site, *(file.read_bytes() for file in files))))
        except (Refused, jwt.InvalidTokenError, ValueError, LookupError, TypeError) as why:
            sys.exit(f"{name}: refused: {why!r}")

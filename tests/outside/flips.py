"""Flips every bit of one record's files, one at a time, and asks the check that must notice.

    python3 flips.py SITE RECORD.sdjwt       with its .tlog-proof and .keys.sdjwt beside it

Prints JSON: for each part the number of flips, and which of them passed. Fails if an untouched part does.
"""

import json
import pathlib
import sys

import jwt

from plain import Refused, included, opened
from signatures import author, log

# What an outsider's script may well raise on broken bytes. Anything else is a mistake of the script.
REFUSALS = (Refused, jwt.InvalidTokenError, ValueError, LookupError, TypeError, AttributeError)


def flips(file, start, end, check):
    """Asks `check` about `file` with each bit of bytes start..end flipped."""
    check(file)
    passed = []
    for bit in range(8 * start, 8 * end):
        broken = bytearray(file)
        broken[bit // 8] ^= 1 << bit % 8
        try:
            check(bytes(broken))
            passed.append(bit)
        except REFUSALS:
            pass
    return {"flips": 8 * (end - start), "passed": passed}


def author_of(view, key):
    return author(view.split(b"~")[0], key)


def main(site, record):
    record = pathlib.Path(record)
    view, manifest = record.read_bytes(), record.with_suffix(".keys.sdjwt").read_bytes()
    proof = record.with_suffix(".tlog-proof").read_bytes()
    core, claims, _, _ = opened(view)
    site = bytes.fromhex(site)
    keys = {role: bytes.fromhex(key) for role, key in opened(manifest)[2].items()}

    # Every byte of every file belongs to one part. The ~ after a core ends it, so it goes with the core.
    header, payload, _ = (len(part) + 1 for part in core.split("."))
    body = len(core) + 1
    body_of_keys = manifest.index(b"~") + 1
    path = proof.index(b"\n\n") + 2

    def by_author(file):
        author_of(file, keys["record"])

    def by_leaf(file):
        included(file.split(b"~")[0].decode(), claims, proof)

    return {
        "header": flips(view, 0, header, by_author),
        "payload": flips(view, header, header + payload, by_author),
        "signature": flips(view, header + payload, body, by_author),
        "disclosures": flips(view, body, len(view), opened),
        "leaf": flips(view, 0, body, by_leaf),
        "path": flips(proof, 0, path, lambda file: included(core, claims, file)),
        "checkpoint": flips(proof, path, len(proof), lambda file: log(file[path:], keys["log"])),
        "manifest": flips(manifest, 0, body_of_keys, lambda file: author_of(file, site)),
        "manifest disclosures": flips(manifest, body_of_keys, len(manifest), opened),
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))

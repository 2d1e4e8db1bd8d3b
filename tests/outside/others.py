"""One log of a bundle, by tools of three other people; each also with bits flipped.

    python3 others.py LOG SITE WITNESS ...   LOG: the directory logs/<site> of a bundle; SITE: 64 hex digits;
                                             WITNESS: verifier keys, name+hash+base64

Prints JSON. jwcrypto: who signed each record. PyNaCl: which witnesses cosigned the newest checkpoint, and when.
pymerkle: the roots of the log's beginning, from the records themselves.
"""

import base64
import json
import pathlib
import sys

import nacl.exceptions
import nacl.signing
import pymerkle
from jwcrypto import jwk, jws
from jwcrypto.common import JWException

from plain import Refused, from_base64, from_base64url, need, opened, to_base64url


def flipped(data, bit):
    broken = bytearray(data)
    broken[bit // 8] ^= 1 << bit % 8
    return bytes(broken)


def author(core, key):
    """The payload of a core that `key` signed, by jwcrypto."""
    token = jws.JWS()
    token.allowed_algs = ["EdDSA"]
    token.deserialize(core, jwk.JWK(kty="OKP", crv="Ed25519", x=to_base64url(key)))
    # jwcrypto checks what header and payload decode to, and so passes over the last bits of each, which say nothing.
    for part in core.split("."):
        from_base64url(part)
    need(json.loads(token.objects["protected"])["typ"] == "fmesh-record+sd-jwt", "not a record")
    return json.loads(token.payload)


def broken_cores(core):
    """A bit of each character of what is signed, and each bit of the signature as bytes."""
    signed, signature = core.rsplit(".", 1)
    for at in range(len(signed)):
        yield signed[:at] + chr(ord(signed[at]) ^ 1 << at % 7) + signed[at + 1:] + "." + signature
    signature = from_base64url(signature)
    for bit in range(8 * len(signature)):
        yield signed + "." + to_base64url(flipped(signature, bit))


def cosigned(note, witness):
    """The time of the cosignature of `witness` on a checkpoint, by PyNaCl; None if it gave none."""
    name, hashed, key = witness.split("+", 2)
    key = from_base64(key)
    need(key[:1] == b"\x04" and len(key) == 33, "not a witness key")
    text, lines = note.decode().rsplit("\n\n", 1)
    for line in lines.splitlines():
        dash, signer, blob = line.split(" ")
        blob = from_base64(blob)
        if dash != "\u2014" or (signer, blob[:4].hex()) != (name, hashed):
            continue
        time = int.from_bytes(blob[4:12], "big")
        message = f"cosignature/v1\ntime {time}\n{text}\n"
        nacl.signing.VerifyKey(key[1:]).verify(message.encode(), blob[12:])
        return time
    return None


def flips(check, broken):
    """Asks `check` about each; it must refuse, or find nothing."""
    tried, passed = 0, []
    for n, other in enumerate(broken):
        tried += 1
        try:
            if check(other) is not None:
                passed.append(n)
        except (Refused, JWException, nacl.exceptions.CryptoError, ValueError, LookupError, TypeError):
            pass
    return {"flips": tried, "passed": passed}


def main(log, site, *witnesses):
    log = pathlib.Path(log)
    files = sorted(log.glob("keys/*.sdjwt")) + sorted(log.glob("records/*.sdjwt"))
    views = [file.read_bytes() for file in files]
    cores = [opened(view)[0] for view in views]
    keys = opened(views[0])[2]
    signers = [bytes.fromhex(site if file.parent.name == "keys" else keys["record"]) for file in files]
    found = {"jwcrypto": {"claims": [author(core, key) for core, key in zip(cores, signers)]}}
    broken = ((other, key) for core, key in zip(cores, signers) for other in broken_cores(core))
    found["jwcrypto"] |= flips(lambda pair: author(*pair), broken)

    note = (log / "log/checkpoint").read_bytes()
    end = note.index(b"\n\n") + 2
    found["nacl"] = {"times": [cosigned(note, witness) for witness in witnesses]}
    for n, witness in enumerate(witnesses):
        # The text, and the witness's own line: what others signed is not its matter. The dash is more than a byte.
        line = note.index(b"\xe2\x80\x94 " + witness.split("+")[0].encode() + b" ", end)
        bits = [*range(8 * (end - 2)), *range(8 * line, 8 * note.index(b"\n", line))]
        found["nacl"][n] = flips(lambda other: cosigned(other, witness), (flipped(note, bit) for bit in bits))

    tree = pymerkle.InmemoryTree(algorithm="sha256")
    roots = []
    for core in cores:
        tree.append_entry(core.encode())
        roots.append(tree.get_state())

    def same_root(changed):
        other = pymerkle.InmemoryTree(algorithm="sha256")
        for core in changed:
            other.append_entry(core)
        return True if other.get_state() == roots[-1] else None

    encoded = [core.encode() for core in cores]
    changed = (
        [*encoded[:n], flipped(core, bit), *encoded[n + 1:]]
        for n, core in enumerate(encoded)
        for bit in range(0, 8 * len(core), 61)
    )
    found["pymerkle"] = {"roots": [root.hex() for root in roots], **flips(same_root, changed)}
    return found


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))

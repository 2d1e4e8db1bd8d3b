"""Who signed: a record's author by PyJWT, a checkpoint's log by the cryptography package."""

import hashlib

import jwt
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from plain import from_base64, need, strict_json


def author(core, key):
    """The claims of a core that `key` (32 bytes) signed. Raises jwt.InvalidTokenError otherwise."""
    # The author's clock decides nothing, so a time that is ahead of ours is no reason to refuse.
    options = {"verify_iat": False}
    token = jwt.decode_complete(core, Ed25519PublicKey.from_public_bytes(key), ["EdDSA"], options)
    need(token["header"]["typ"] == "fmesh-record+sd-jwt", "not a record")
    need(token["header"]["kid"] == hashlib.sha256(key).hexdigest(), "signed with another key")
    return token["payload"]


def log(note, key):
    """(origin, size, root) of a checkpoint (C2SP signed note) that `key` signed in the name of its origin."""
    text, signatures = note.decode().rsplit("\n\n", 1)
    need(signatures.endswith("\n"), "the last line is cut short")
    text += "\n"
    origin, size, root, end = text.split("\n")
    need(end == "", "a checkpoint has three lines")
    key_id = hashlib.sha256(origin.encode() + b"\n\x01" + key).digest()[:4]
    signed = False
    for line in signatures[:-1].split("\n"):
        dash, name, blob = line.split(" ")
        need(dash == "\u2014", "a signature line begins with a dash")
        blob = from_base64(blob)
        if (name, blob[:4]) == (origin, key_id):  # others may have signed, too: witnesses
            try:
                Ed25519PublicKey.from_public_bytes(key).verify(blob[4:], text.encode())
            except InvalidSignature:
                need(False, "the log's signature does not match")
            signed = True
    need(signed, "the log did not sign")
    return origin, int(size), from_base64(root)

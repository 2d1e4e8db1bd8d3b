"""What an exported record proves by hashes alone, in plain Python: hashlib and nothing else.

    python3 plain.py RECORD.sdjwt ...        each with its .tlog-proof beside it

Two checks: every disclosure opens exactly one slot (RFC 9901), and the core is the leaf from which
the proof leads to the checkpoint's root (RFC 6962). Who signed is the matter of signatures.py.
"""

import base64
import hashlib
import json
import pathlib
import sys


class Refused(Exception):
    """The files do not show what they should."""


def need(holds, why):
    if not holds:
        raise Refused(why)


def opened(view):
    """core~disclosure~...~ -> the core, what it says, the slots that are opened, the feed positions that are."""
    core, *disclosures = view.decode("ascii").split("~")
    need(disclosures and disclosures.pop() == "", "a view ends with ~")
    need(core.count(".") == 2, "a core has three parts")
    claims = strict_json(from_base64url(core.split(".")[1]))
    need(claims["_sd_alg"] == "sha-256", "digests are SHA-256")
    plain = claims["kind"] in ("keys", "membership")

    places = {}  # digest -> where it stands
    for element in claims["feeds"]:
        place(places, element, "feed")
    for name, elements in {} if plain else claims["body"].items():
        need(len(elements) == 1, f"slot {name} has one element")
        place(places, elements[0], name)

    slots, feeds = dict(claims["body"]) if plain else {}, []
    for disclosure in disclosures:
        digest = to_base64url(hashlib.sha256(disclosure.encode()).digest())
        name = places.pop(digest, None)
        need(name is not None, f"a disclosure opens nothing, or nothing further: {disclosure}")
        salt, value = strict_json(from_base64url(disclosure))
        need(len(from_base64url(salt)) == 16, "a salt has sixteen bytes")
        if name == "feed":
            feeds.append(value)
        else:
            slots[name] = value
    return core, claims, slots, feeds


def place(places, element, name):
    need(list(element) == ["..."], "an element is hidden by its digest")
    need(element["..."] not in places, "one digest stands in two places")
    places[element["..."]] = name


def included(core, claims, proof):
    """Follows a .tlog-proof file from the leaf to the root; gives (size, root) that the checkpoint states."""
    head, checkpoint = proof.decode().split("\n\n", 1)
    title, index, *path = head.split("\n")
    need(title == "c2sp.org/tlog-proof@v1", "not a .tlog-proof file")
    need(index == f"index {claims['seq']}", "the proof is for another leaf")
    origin, size, root = checkpoint.split("\n")[:3]
    mesh, site = claims["mesh"], claims["iss"]
    need(origin == f"fmesh/{mesh or origin[6:70]}/{site}", "the checkpoint is of another log")
    size, root = decimal(size), from_base64(root)

    node, last = claims["seq"], size - 1
    need(0 <= node <= last, "the leaf is not below the size")
    found = hashlib.sha256(b"\x00" + core.encode()).digest()
    for step in path:
        step = from_base64(step)
        need(last > 0, "the path is too long")
        if node % 2 or node == last:
            found = hashlib.sha256(b"\x01" + step + found).digest()
            while node and node % 2 == 0:
                node, last = node // 2, last // 2
        else:
            found = hashlib.sha256(b"\x01" + found + step).digest()
        node, last = node // 2, last // 2
    need(last == 0, "the path is too short")
    need(found == root, "the path does not lead to the root")
    return size, root


def strict_json(text):
    """JSON as records have it: no member twice, whole numbers only."""

    def members(pairs):
        need(len(dict(pairs)) == len(pairs), "a member stands twice")
        return dict(pairs)

    def no_float(number):
        raise Refused(f"{number} is not a whole number")

    return json.loads(text, object_pairs_hook=members, parse_float=no_float, parse_constant=no_float)


def decimal(text):
    need(text.isascii() and text.isdigit() and str(int(text)) == text, f"{text} is not a size")
    return int(text)


def from_base64(text):
    data = base64.b64decode(text, validate=True)
    need(base64.b64encode(data).decode() == text, f"{text} has another spelling")
    return data


def from_base64url(text):
    data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    need(to_base64url(data) == text, f"{text} has another spelling")
    return data


def to_base64url(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        record = pathlib.Path(name)
        core, claims, slots, feeds = opened(record.read_bytes())
        size, root = included(core, claims, record.with_suffix(".tlog-proof").read_bytes())
        print(json.dumps({"seq": claims["seq"], "size": size, "root": root.hex(), "slots": slots, "feeds": feeds}))

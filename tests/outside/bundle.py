"""Checks an audit bundle from proto/FORMAT.md alone: hashlib from Python, Ed25519 by the cryptography package.

    python3 bundle.py DIRECTORY SITE ...     SITE: ids of the sites that are trusted, 64 hex digits each

Prints JSON about what is shown, or fails with the reason. With --flips before the directory it flips bits and says
which flips passed. For an archive: tar -xf it into an empty directory first.
"""

import base64
import hashlib
import json
import os
import re
import sys
from fractions import Fraction

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FORMAT = "fmesh.bundle/v1"
MEMBERS = "v mesh iss log seq kind id rev prev iat retired _sd_alg feeds body".split()
COLUMNS = ("total", "committed", "available", "unattainable")
NAMES = re.compile(
    r"forks/[0-9]{4}\.fork-proof|manifest\.json|withheld\.json|SHA256SUMS"
    r"|logs/[0-9a-f]{64}/(checkpoints/[0-9]{10,}|(keys|records)/[0-9]{10,}\.(sdjwt|tlog-proof)"
    r"|log/checkpoint|log/tile/[0-9]+/(x[0-9]{3}/)*[0-9]{3}(\.p/[0-9]+)?)"
)


class Refused(Exception):
    """The bundle does not show what it should."""


def need(holds, why):
    if not holds:
        raise Refused(why)


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def base64_of(text, url=False):
    data = base64.b64decode(text + "=" * (-len(text) % 4 if url else 0), b"-_" if url else None, validate=True)
    again = (base64.urlsafe_b64encode(data).rstrip(b"=") if url else base64.b64encode(data)).decode()
    need(again == text, "a text in base64 has another spelling")
    return data


def strict_json(data):
    def members(pairs):
        need(len(dict(pairs)) == len(pairs), "a member stands twice")
        return dict(pairs)

    def no_float(number):
        raise Refused(f"{number} is not a whole number")

    return json.loads(data, object_pairs_hook=members, parse_float=no_float, parse_constant=no_float)


def signed(key, message, signature, what):
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        raise Refused(f"{what}: the signature does not match") from None


def read_files(root):
    files = {}
    for directory, _, names in os.walk(root):
        for name in names:
            path = os.path.join(directory, name)
            need(not os.path.islink(path), f"{path} is a link")
            short = os.path.relpath(path, root).replace(os.sep, "/")
            need(NAMES.fullmatch(short), f"no file of a bundle is called {short}")
            with open(path, "rb") as file:
                files[short] = file.read()
    return files


def check_sums(files):
    listed = files["SHA256SUMS"].decode()
    there = sorted(name for name in files if name != "SHA256SUMS")
    expected = "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in there)
    need(listed == expected, "SHA256SUMS does not list these files")


def checkpoint_of(note, site, log_key):
    """(mesh, size, root) that the site's log key signed."""
    text, lines = note.decode().rsplit("\n\n", 1)
    text += "\n"
    origin, size, root, end = text.split("\n")
    name, mesh, of = origin.split("/")
    need((name, of, end) == ("fmesh", site, ""), "a checkpoint of another log")
    need(re.fullmatch("[0-9a-f]{64}", mesh) and size == str(int(size)), "an origin or size in another spelling")
    need(lines.endswith("\n") and lines.count("\n") <= 16, "signature lines")
    key_id = sha256(origin.encode(), b"\n\x01", log_key)[:4]
    found, seen = False, set()
    for line in lines[:-1].split("\n"):
        dash, name, blob = line.split(" ")
        blob = base64_of(blob)
        need(dash == "\u2014" and (name, blob[:4]) not in seen, "signature lines")
        seen.add((name, blob[:4]))
        if (name, blob[:4]) == (origin, key_id):
            signed(log_key, text.encode(), blob[4:], "checkpoint")
            found = True
    need(found, "the log did not sign its checkpoint")
    root = base64_of(root)
    need(len(root) == 32, "a root has 32 bytes")
    return mesh, int(size), root


def root_of(leaves):
    if not leaves:
        return sha256()
    level = list(leaves)
    while len(level) > 1:
        above = [sha256(b"\x01", a, b) for a, b in zip(level[::2], level[1::2])]
        level = above + level[len(level) - len(level) % 2:]
    return level[0]


def tiles_of(leaves):
    tiles, level, nodes = {}, 0, list(leaves)
    while nodes:
        for first in range(0, len(nodes), 256):
            part = nodes[first:first + 256]
            digits = str(first // 256)
            digits = digits.zfill(-(-len(digits) // 3) * 3)
            groups = [digits[at:at + 3] for at in range(0, len(digits), 3)]
            name = "/".join(["x" + group for group in groups[:-1]] + groups[-1:])
            partial = f".p/{len(part)}" if len(part) < 256 else ""
            tiles[f"{level}/{name}{partial}"] = b"".join(part)
        full = len(nodes) // 256
        nodes = [root_of(nodes[256 * n:256 * (n + 1)]) for n in range(full)]
        level += 1
    return tiles


def path_root(leaf, index, size, path):
    node, last, found = index, size - 1, leaf
    for step in path:
        need(last > 0, "the path is too long")
        if node % 2 or node == last:
            found = sha256(b"\x01", step, found)
            while node and node % 2 == 0:
                node, last = node // 2, last // 2
        else:
            found = sha256(b"\x01", found, step)
        node, last = node // 2, last // 2
    need(last == 0, "the path is too short")
    return found


def record_of(view, key):
    """Payload, opened slots, opened feeds of a record that `key` signed."""
    core, *disclosures = view.decode("ascii").split("~")
    need(disclosures and disclosures.pop() == "", "a record ends with ~")
    header, payload, signature = core.split(".")
    kid = hashlib.sha256(key).hexdigest()
    need(base64_of(header, True) == b'{"alg":"EdDSA","typ":"fmesh-record+sd-jwt","kid":"%s"}' % kid.encode(), "header, or another key")
    signed(key, f"{header}.{payload}".encode(), base64_of(signature, True), "record")
    claims = strict_json(base64_of(payload, True))
    need(list(claims) == MEMBERS and claims["v"] == 1 and claims["_sd_alg"] == "sha-256", "members of the payload")

    plain = claims["kind"] in ("keys", "membership")
    places = {}
    hidden = [("feeds", element) for element in claims["feeds"]]
    for name, elements in {} if plain else claims["body"].items():
        need(len(elements) == 1, f"slot {name} has one element")
        hidden.append((name, elements[0]))
    for name, element in hidden:
        need(list(element) == ["..."] and element["..."] not in places, "a digest in two places")
        places[element["..."]] = name
    slots, feeds = (dict(claims["body"]) if plain else {}), []
    for disclosure in disclosures:
        digest = base64.urlsafe_b64encode(sha256(disclosure.encode())).rstrip(b"=").decode()
        name = places.pop(digest, None)
        need(name is not None, "a disclosure opens nothing")
        salt, value = strict_json(base64_of(disclosure, True))
        need(len(base64_of(salt, True)) == 16, "a salt has 16 bytes")
        if name == "feeds":
            feeds.append(tuple(value))
        else:
            slots[name] = value
    if claims["kind"] == "capacity" and all(isinstance(slots.get(name), list) for name in COLUMNS):
        for numbers in zip(*(slots[name] for name in COLUMNS)):
            if None not in numbers:
                total, *parts = map(Fraction, numbers)
                need(total == sum(parts), "total = committed + available + unattainable")
    return core, claims, slots, feeds


def check_log(site, files, withheld):
    """One log: what is proven about it."""
    root_key = bytes.fromhex(site)
    numbered = lambda folder: sorted(int(name[len(folder):-6]) for name in files if name.startswith(folder) and name.endswith(".sdjwt"))

    # Keys, by leaf.
    versions, before = [], None
    for leaf in numbered("keys/"):
        core, claims, keys, _ = record_of(files[f"keys/{leaf:010}.sdjwt"], root_key)
        rev = len(versions) + 1
        need((claims["kind"], claims["iss"], claims["seq"], claims["rev"], claims["mesh"]) == ("keys", site, leaf, rev, None), "keys record")
        need(claims["prev"] == before and (rev > 1) == (leaf > 0), "keys records follow each other")
        versions.append((leaf, {role: bytes.fromhex(key) for role, key in keys.items()}))
        need(versions[0][1]["log"] == versions[-1][1]["log"], "the log key does not change")
        before = hashlib.sha256(core.encode()).hexdigest()
    need(versions, "no key manifest")
    log_key = versions[0][1]["log"]

    # Checkpoints and leaves.
    newest = files["log/checkpoint"]
    mesh, size, root = checkpoint_of(newest, site, log_key)
    prefix = "log/tile/"
    tiles = {name[len(prefix):]: data for name, data in files.items() if name.startswith(prefix)}
    lowest = sorted((name for name in tiles if name.startswith("0/")), key=lambda name: int(re.sub("[x/]", "", name[2:].split(".")[0])))
    hashes = b"".join(tiles[name] for name in lowest)
    leaves = [hashes[at:at + 32] for at in range(0, len(hashes), 32)]
    need(len(leaves) == size and root_of(leaves) == root, "the leaves do not lead to the root")
    need(tiles_of(leaves) == tiles, "tiles")
    for name in files:
        if name.startswith("checkpoints/"):
            older = checkpoint_of(files[name], site, log_key)
            need(older[0] == mesh and older[1] == int(name[12:]) < size, "an older checkpoint")
            need(root_of(leaves[:older[1]]) == older[2], "the log does not begin with an older checkpoint: a fork")

    # Records.
    shown, revisions, positions, values = set(), {}, {}, 0
    for folder in ("keys/", "records/"):
        for leaf in numbered(folder):
            stem = f"{folder}{leaf:010}"
            # The newest keys record below the leaf names its key.
            signer = root_key if folder == "keys/" else [keys for at, keys in versions if at < leaf][-1]["record"]
            core, claims, slots, feeds = record_of(files[f"{stem}.sdjwt"], signer)
            need((claims["iss"], claims["seq"]) == (site, leaf), "a record in another's place")
            need(claims["mesh"] == (None if folder == "keys/" else mesh), "a record of another mesh")
            hashed = sha256(b"\x00", core.encode())
            need(leaves[leaf] == hashed, "the log has another leaf there")
            head, note = files[f"{stem}.tlog-proof"].split(b"\n\n", 1)
            title, index, *path = head.decode().split("\n")
            need(title == "c2sp.org/tlog-proof@v1" and index == f"index {leaf}" and note == newest, "proof")
            need(path_root(hashed, leaf, size, [base64_of(step) for step in path]) == root, "the proof's path")
            shown.add(leaf)
            values += len(slots)
            key = claims["kind"], claims["id"]
            rev, digest = revisions.get(key, (0, None))
            need(claims["rev"] > rev, "revisions out of order")
            need(claims["rev"] > rev + 1 or claims["prev"] == digest, "a revision names another one before it")
            revisions[key] = claims["rev"], hashlib.sha256(core.encode()).hexdigest()
            for circle, position in feeds:
                need(positions.setdefault((circle, position), leaf) == leaf, "one feed position twice: a fork")
    for circle in {circle for circle, _ in positions}:
        order = [leaf for (of, position), leaf in sorted(positions.items()) if of == circle]
        need(order == sorted(order), "a feed in another order than the log")

    # Every leaf is shown or withheld with a reason.
    hidden = [leaf for run in withheld for leaf in range(run["from"], run["to"] + 1)]
    need(all(run["reason"] in ("not-held", "not-selected", "not-disclosed") for run in withheld), "a reason")
    need(sorted([*shown, *hidden]) == list(range(size)), "a leaf is neither shown nor withheld, or both")
    stated = {"site": site, "origin": f"fmesh/{mesh}/{site}", "size": size, "root": root.hex(),
              "keys": len(versions), "records": len(shown) - len(versions), "withheld": len(hidden)}
    return stated, {**stated, "objects": len(revisions), "values": values}


def check_bundle(root, sites):
    return check_files(read_files(root), sites)


def check_files(files, sites, sums=True):
    if sums:
        check_sums(files)
    manifest, withheld = strict_json(files["manifest.json"]), strict_json(files["withheld.json"])
    need(manifest["format"] == withheld["format"] == FORMAT, "format")
    logs = {}
    for name, data in files.items():
        if name.startswith("logs/"):
            _, site, rest = name.split("/", 2)
            need(site in sites, f"site {site} is not trusted")
            logs.setdefault(site, {})[rest] = data
    reasons = {log["site"]: log["leaves"] for log in withheld["logs"]}
    found = [check_log(site, logs[site], reasons[site]) for site in sorted(logs)]
    need(manifest["logs"] == [stated for stated, _ in found], "manifest.json states other logs")
    need(not any(name.startswith("forks/") for name in files) and manifest["forks"] == 0, "a fork proof: look at it")
    return [log for _, log in found]


def fields(name, data):
    """A bit in each field of a file: of each hash in a tile, of each word elsewhere, and of what stands between."""
    if "/tile/" in name:
        return [8 * at + at // 32 % 8 for at in range(0, len(data), 32)]
    words = [(word.start(), word.end()) for word in re.finditer(rb"[^\s~.,:{}\[\]\"]+|[~.]", data)]
    spots = {at for start, end in words for at in (start, (start + end) // 2, end - 1)}
    return [8 * at + at % 7 for at in sorted(spots)]


def flips(root, sites):
    """Flips a bit in each field of every file: with the old sums, and with new ones as a forger would make them."""
    files = read_files(root)
    check_files(files, sites)
    tried, passed = 0, []
    for name, data in files.items():
        # What the maker says was asked for proves nothing, so only the sums protect it.
        forged = (True, False) if name.startswith(("logs/", "withheld")) else (True,)
        for bit in fields(name, data):
            broken = bytearray(data)
            broken[bit // 8] ^= 1 << bit % 8
            for sums in forged:
                tried += 1
                try:
                    check_files({**files, name: bytes(broken)}, sites, sums)
                    passed.append([name, bit])
                except (Refused, ValueError, LookupError, TypeError, AttributeError):
                    pass
    return {"tried": tried, "passed": passed, "files": len(files)}


if __name__ == "__main__":
    flipping = sys.argv[1] == "--flips"
    root, *sites = sys.argv[1 + flipping:]
    try:
        result = flips(root, sites) if flipping else check_bundle(root, sites)
        print(json.dumps(result))
    except (Refused, ValueError, LookupError, TypeError, AttributeError) as why:
        sys.exit(f"{root}: refused: {why!r}")

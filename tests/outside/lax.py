"""What the SD-JWT library `sd-jwt` makes of exported records: it is too lax to be evidence, and here one sees where.

    python3 lax.py RECORD.sdjwt ...          each with its .keys.sdjwt beside it

Prints a line of JSON for each record: the slots that the library shows, or why it refuses.
"""

import json
import pathlib
import sys

from jwcrypto import jwk
from jwcrypto.common import JWException
from sd_jwt.verifier import SDJWTVerifier

from plain import opened, to_base64url


def shown(record, manifest):
    _, _, keys, _ = opened(manifest)
    key = jwk.JWK(kty="OKP", crv="Ed25519", x=to_base64url(bytes.fromhex(keys["record"])))
    payload = SDJWTVerifier(record.decode(), lambda *_: key).get_verified_payload()
    return {name: values for name, values in payload["body"].items() if values}


if __name__ == "__main__":
    for name in sys.argv[1:]:
        record = pathlib.Path(name)
        try:
            found = {"slots": shown(record.read_bytes(), record.with_suffix(".keys.sdjwt").read_bytes())}
        except (JWException, ValueError, LookupError, TypeError) as why:
            found = {"refused": repr(why)}
        print(json.dumps(found))

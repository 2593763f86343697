"""How a webhook's message is signed, and how who receives it makes sure.

    X-Squeeze-Timestamp: 1795286400
    X-Squeeze-Signature: v1=6f0c…     HMAC-SHA256 of "1795286400." and the body, in hex

The time is part of what is signed, so that a copied request is worth nothing later. Only the standard library: a
consumer may copy this file.
"""

import hmac
import time

TOLERANCE_SECONDS = 300


def sign(secret: bytes, timestamp: int, body: bytes) -> str:
    """The signature of a body that is sent at a time, in UTC seconds.

    >>> sign(b"an example of a secret", 1795286400, b"{}")[:5]
    'v1=6d'
    """
    return "v1=" + hmac.new(secret, b"%d." % timestamp + body, "sha256").hexdigest()


def verify(
    secret: bytes,
    timestamp: str,
    signature: str,
    body: bytes,
    now_s: float | None = None,
    tolerance_seconds: float = TOLERANCE_SECONDS,
) -> bool:
    """Whether a request is from who knows the secret, unaltered, and recent.

    `timestamp` and `signature` are the two headers as they came, `body` the bytes before anything parses them. One that
    is more than the tolerance old, or as far ahead of this clock, is none.

    >>> signature = sign(b"an example of a secret", 1795286400, b"{}")
    >>> verify(b"an example of a secret", "1795286400", signature, b"{}", now_s=1795286401.0)
    True
    >>> verify(b"an example of a secret", "1795286400", signature, b"{} ", now_s=1795286401.0)
    False
    """
    if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 12):
        return False
    now_s = time.time() if now_s is None else now_s
    expected = sign(secret, int(timestamp), body)
    is_same = hmac.compare_digest(expected.encode(), signature.encode(errors="replace"))
    return is_same and abs(now_s - int(timestamp)) <= tolerance_seconds

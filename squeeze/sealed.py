"""A stream's snapshot as a file: one line that says whose it is, then the body, both under one seal.

    {"format":"squeeze stream","version":2,"model":"…","spec":"…","strategy":"…","used":true,"seal":"…"}\n<MessagePack>

It is verified like a model: what was altered, cut off, or made by another release, model, spec or strategy is refused
in one line that says which.
"""

import hashlib
from typing import Literal

import msgspec

from squeeze.errors import StepError

VERSION = 2
"""Raised whenever the body's layout, or the meaning of anything in it, changes."""


class Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose snapshot it is."""

    format: Literal["squeeze stream"] = "squeeze stream"
    version: int = VERSION
    model: str
    """Digest of the model file."""
    spec: str
    strategy: str
    used: bool
    """Whether the signal machine has looked; one that has not is the same under every strategy."""
    seal: str = ""
    """SHA-256 of the header with an empty seal, and the body."""


def seal(header: Header, body: bytes) -> bytes:
    """The bytes of a snapshot."""
    return msgspec.json.encode(msgspec.structs.replace(header, seal=_digest(header, body))) + b"\n" + body


def unseal(snapshot: bytes, ours: Header) -> bytes:
    """The body of a snapshot that fits `ours`; `StepError` for any other."""
    line, _, body = snapshot.partition(b"\n")
    try:
        header = msgspec.json.decode(line, type=Header)
    except msgspec.MsgspecError as error:
        raise StepError(f"not a stream's snapshot: {error}") from None
    except UnicodeDecodeError:
        raise StepError("not a stream's snapshot: its first line is no text") from None
    if header.version != VERSION:
        raise StepError(f"the snapshot is of format version {header.version}, this release reads {VERSION}")
    if header.seal != _digest(header, body) or line != msgspec.json.encode(header):
        raise StepError("the snapshot was altered or cut off: its seal does not hold")
    for name in ("model", "spec", "strategy"):
        theirs, mine = getattr(header, name), getattr(ours, name)
        if theirs != mine and (name != "strategy" or header.used):
            raise StepError(f"the snapshot was taken with {name} {theirs[:16]}, this one is {mine[:16]}")
    return body


def _digest(header: Header, body: bytes) -> str:
    unsealed = msgspec.json.encode(msgspec.structs.replace(header, seal=""))
    return hashlib.sha256(unsealed + b"\n" + body).hexdigest()

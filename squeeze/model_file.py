"""One self-describing model file: an ONNX graph whose metadata says all that is needed to use it rightly, sealed by its
own hash.

The seal is the SHA-256 of the whole file with the 64 digits of the seal itself set to zeros, so that a changed byte
anywhere, graph or card, is noticed before anything is parsed. It guards against accident and staleness, not against
someone who seals anew.
"""

import hashlib
from pathlib import Path

import msgspec

from squeeze.drift_spec import DriftReference
from squeeze.errors import ModelFileError
from squeeze.signals.alarm_threshold import AlarmThreshold
from squeeze.spec import SPEC_VERSION, Spec
from squeeze.strict import Strict

CARD_KEY = "squeeze.card"
SEAL_KEY = "squeeze.sha256"
SEAL_BLANK = "0" * 64
_SEAL_FIELD = SEAL_KEY.encode() + b"\x12\x40"
"""In the protobuf encoding of a metadata entry: the key, then the tag of the value and its length of 64."""


class ModelCard(Strict, frozen=True, kw_only=True):
    """What a model file says of itself."""

    spec: Spec
    scalar_names: tuple[str, ...]
    """The scalars of a frame, in order."""
    masked_scalars: tuple[str, ...]
    """Scalars the network does not see: not recorded where it was trained."""
    channel_names: tuple[str, ...]
    """The channels of a frame, in order."""
    masked_channels: tuple[str, ...]
    """Channels the network does not see: never known, or never other than one value, where it was trained."""
    required_channels: tuple[str, ...] = ()
    """Channels of the atlas that were hardly ever missing in training; without one of them the model abstains."""
    hidden: int
    """Width of the carried state, per side, whatever the temporal core makes of it."""
    degraded: int
    """Union of `Degraded` flags seen in training; a frame with any other is refused."""
    base_rates: dict[str, tuple[float, ...]]
    """Share of training rows that came true, per side and horizon."""
    trained_from: str
    trained_until: str
    """UTC; no label interval of a training row ends after this."""
    data_digest: str
    """SHA-256 of the training inputs."""
    licence: str
    """What may be done with a model that was trained on these data."""
    commit: str
    """Of the code that trained it."""
    scores: dict[str, float] = msgspec.field(default_factory=dict)
    """As measured before export; `models/README.md` says on what."""
    drift: DriftReference | None = None
    """What training's inputs looked like, for `squeeze.drift.DriftMonitor`; null where it was not made."""
    alarms: tuple[AlarmThreshold, ...] = ()
    """Thresholds that keep a budget of false alarms, each with its guarantee and its assumption."""


def seal(model: bytes) -> bytes:
    """The file with its seal filled in; `model` carries the blank."""
    at = _seal_position(model, "model to seal")
    digest = hashlib.sha256(model).hexdigest().encode()
    return model[:at] + digest + model[at + 64 :]


def read(path: str | Path) -> tuple[bytes, str]:
    """A model file's bytes and seal, once the seal was found to hold; `ModelFileError` otherwise."""
    try:
        model = Path(path).read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror}") from None
    at = _seal_position(model, str(path))
    found = model[at : at + 64].decode(errors="replace")
    expected = hashlib.sha256(model[:at] + SEAL_BLANK.encode() + model[at + 64 :]).hexdigest()
    if found != expected:
        raise ModelFileError(f"{path}: was altered: its seal says {found[:16]}…, its content is {expected[:16]}…")
    return model, found


def read_card(metadata: dict[str, str], place: str) -> ModelCard:
    """The card from a model's metadata; `ModelFileError` if it speaks another spec version."""
    text = metadata.get(CARD_KEY, "")
    try:
        return msgspec.json.decode(text, type=ModelCard)
    except msgspec.ValidationError as error:
        raise ModelFileError(
            f"{place}: its card does not fit this release (spec version {SPEC_VERSION}): {error}"
        ) from None
    except msgspec.DecodeError as error:
        raise ModelFileError(f"{place}: its card cannot be read: {error}") from None


def _seal_position(model: bytes, place: str) -> int:
    if model.count(_SEAL_FIELD) != 1:
        raise ModelFileError(
            f"{place}: is no squeeze model: expected one {SEAL_KEY} entry, found {model.count(_SEAL_FIELD)}"
        )
    at = model.index(_SEAL_FIELD) + len(_SEAL_FIELD)
    if len(model) < at + 64:
        raise ModelFileError(f"{place}: is cut off in its seal")
    return at

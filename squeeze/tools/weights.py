"""The file of fitted leverage weights: by walk-forward block, with the range of dates behind each and a hash of all.

It is JSON, for people and for `network.leverage_weights`; a changed file is refused.
"""

import hashlib
from pathlib import Path

import msgspec

from squeeze.errors import DataError
from squeeze.files import whole
from squeeze.strict import Strict


class Score(Strict, frozen=True, kw_only=True):
    """How a block's weights did on the rows of the block, which they had not seen."""

    rows: int
    """Intervals, each side counting."""
    deviance: float
    """Mean Tweedie deviance, in the unit of the fit."""
    prior_deviance: float
    """... of the prior's mix, its level and background fitted to the same rows."""
    climatology_deviance: float
    """... of each side's mean over the rows that were fitted."""
    calibration: float
    """Σ expected / Σ observed."""
    top_share: float
    """Share of what was liquidated that lies in the 1 % of rows where most was expected."""
    prior_top_share: float
    """The same for the prior's mix."""


class BlockWeights(Strict, frozen=True, kw_only=True):
    """The weights that may be used from `cut` on."""

    block: str
    """`validation 0` to `test 4`."""
    cut: str
    """UTC: the first instant of the block."""
    first: str
    """UTC: close of the oldest interval that was used."""
    last: str
    """... and of the newest."""
    rows: int
    """Recorded intervals, each side counting."""
    liquidations: int
    """Those with a liquidation."""
    days: int
    """UTC days among them."""
    weights: tuple[float, ...]
    """By leverage; with an unknown share only their mix is of the data, and their sum is the prior's."""
    standard_errors: tuple[float, ...]
    """By bootstrap over days; the prior's bias is not in them."""
    data_share: tuple[float | None, ...]
    """How much of each weight is the data's and not the prior's; null where neither speaks."""
    unspoken: tuple[float, ...]
    """Leverages of which the data hardly spoke."""
    share: float
    """θ: what part of liquidations is reported, a difference of units included."""
    share_known: bool
    """Whether that was given."""
    background: float
    """β: base coins per interval and side that are liquidated besides."""
    deviance: float
    """On the rows that were fitted."""
    null_deviance: float
    """... of their mean."""
    converged: bool
    """The fit, and where asked for the fixed point."""
    changes: tuple[float, ...] = ()
    """Largest change of a weight by round of fold and fit; empty where the map was folded under the prior."""
    score: Score | None = None
    """Of validation blocks alone: no test block is looked at."""


class WeightsFile(Strict, frozen=True, kw_only=True):
    """All blocks of one task, and what they depend on."""

    task: str
    """Whose blocks they are."""
    symbol: str
    """As the lake calls it."""
    liquidations: str
    """The venue, or the venues in one sum."""
    leverages: tuple[float, ...]
    """The buckets of the map."""
    prior: tuple[float, ...]
    """The weights that the fit leans on, and under which the map closes, unless `changes` says otherwise."""
    share_unknown: str
    """Why only the mix of the weights is identified; empty where the level is, too."""
    spec_digest: str
    """Of the spec that the map was folded under."""
    data_digest: str
    """SHA-256 of the rows of the lake."""
    blocks: tuple[BlockWeights, ...]
    """In the order of their cuts."""
    sha256: str = ""
    """Of all the rest."""

    def hashed(self) -> "WeightsFile":
        """The same with its hash."""
        bare = msgspec.structs.replace(self, sha256="")
        digest = hashlib.sha256(msgspec.json.encode(bare, order="sorted")).hexdigest()
        return msgspec.structs.replace(self, sha256=digest)


def write_weights(file: WeightsFile, path: Path) -> None:
    """Write it whole, with its hash."""
    with whole(path) as part:
        part.write_bytes(msgspec.json.format(msgspec.json.encode(file.hashed()), indent=1))


def read_weights(path: Path) -> WeightsFile:
    """A file that `write_weights` wrote; `DataError` for anything else, and for one that was changed since."""
    try:
        file = msgspec.json.decode(path.read_bytes(), type=WeightsFile)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise DataError(f"{path}: is no file of weights: {error}") from None
    if file.hashed().sha256 != file.sha256:
        raise DataError(f"{path}: its hash is not that of its content; fit again with `squeeze weights`")
    return file

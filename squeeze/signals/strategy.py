"""The user's strategy: every number of the signal machine, of size and of exits, as domain.md §6 gives them.

It is read from YAML (`configs/strategy.yaml` shows every key) and is no part of a model file: the model says how likely
a squeeze is, the strategy what somebody does about it. The defaults are those for BTC.
"""

import hashlib
import math
from pathlib import Path

import msgspec

from squeeze.errors import ConfigError
from squeeze.signals.staleness import StalenessSpec
from squeeze.signals.strategy_setup import (
    ApproachRules,
    CascadeRules,
    EntryRules,
    HealthRules,
    TriggerRules,
    ZoneRules,
)
from squeeze.signals.strategy_trade import Account, ExitRules, PortfolioRules, RiskRules
from squeeze.strict import Strict, convert, require


class MessageRules(Strict, frozen=True, kw_only=True):
    """How long messages hold; an entry holds for `entry.expires_seconds`."""

    valid_seconds: float = 300.0
    """All others."""

    def __post_init__(self) -> None:
        require(0 < self.valid_seconds < math.inf, "valid_seconds is positive")


class StrategySpec(Strict, frozen=True, kw_only=True):
    """Everything of the signal machine that is the user's; no key is needed, the defaults are those for BTC.

    >>> StrategySpec().risk.cap_percent
    1.0
    """

    staleness: StalenessSpec = StalenessSpec()
    """When data are too old to act on."""
    health: HealthRules = HealthRules()
    """How the machine comes back from that."""
    zones: ZoneRules = ZoneRules()
    """Which zones are watched."""
    approach: ApproachRules = ApproachRules()
    """When the price runs toward one."""
    trigger: TriggerRules = TriggerRules()
    """When it gives way."""
    cascade: CascadeRules = CascadeRules()
    """When that is a cascade, and when it is over."""
    entry: EntryRules = EntryRules()
    """When a trade is advised."""
    risk: RiskRules = RiskRules()
    """How large."""
    exits: ExitRules = ExitRules()
    """How it ends."""
    portfolio: PortfolioRules = PortfolioRules()
    """What holds for all trades together."""
    account: Account = Account()
    """What is traded, and with how much."""
    messages: MessageRules = MessageRules()
    """How long messages hold."""

    def digest(self) -> str:
        """First 16 hex digits of the SHA-256 of the strategy's canonical JSON: `config_hash` of its messages."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()[:16]


def read_strategy(path: str | Path) -> StrategySpec:
    """The strategy of a YAML file; `ConfigError` names the file and the key."""
    import yaml  # only the command line reads files

    try:
        text = Path(path).read_text(encoding="utf-8")
        value = yaml.safe_load(text)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is no YAML: {' '.join(str(error).split())}") from None
    return convert({} if value is None else value, StrategySpec, str(path))

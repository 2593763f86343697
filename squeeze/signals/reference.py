"""What is written down from the code: the JSON Schema of all messages, and a strategy file with every key.

    python -m squeeze.signals.reference    writes docs/message-schema.json and configs/strategy.yaml

A test keeps both up to date.
"""

import ast
import inspect
import textwrap
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from squeeze.signals.message import AnyMessage
from squeeze.signals.strategy import StrategySpec

SCHEMA, STRATEGY = Path("docs/message-schema.json"), Path("configs/strategy.yaml")
HEAD = """\
# The strategy of the signal machine: every key with its default, which is for BTC. Leave out what you do not change.
# Written by `python -m squeeze.signals.reference`; copy it, and keep your copy. For DOT: staleness.price_seconds 5,
# zones.reach_percent 5, exits.least_stop_percent 0.3, and the contract's numbers in account.
"""


def schema_text() -> str:
    """The JSON Schema of every message, as text; what each field means is in `squeeze.signals.message`."""
    schema = msgspec.json.schema(AnyMessage)
    return msgspec.json.format(msgspec.json.encode(schema, order="sorted"), indent=2).decode() + "\n"


def strategy_text() -> str:
    """A YAML file with every key of a strategy, its default, and the sentence under it."""
    lines = [HEAD]
    for name, part in msgspec.structs.asdict(StrategySpec()).items():
        lines += ["", *_comment(sentences(StrategySpec)[name], ""), f"{name}:"]
        for key, value in msgspec.structs.asdict(part).items():
            lines += [*_comment(sentences(type(part))[key], "  "), f"  {key}: {_yaml(value)}"]
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


def sentences(kind: type) -> dict[str, str]:
    """The sentence under each field of a struct."""
    (body,) = (node.body for node in ast.parse(textwrap.dedent(inspect.getsource(kind))).body)  # type: ignore[attr-defined]
    said = {}
    for field, below in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
            said[ast.unparse(field.target)] = " ".join(str(ast.literal_eval(below.value)).split())
    return said


def _comment(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, 118, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")


def _yaml(value: Any) -> str:
    return msgspec.json.encode(value).decode()


if __name__ == "__main__":
    SCHEMA.write_text(schema_text(), encoding="utf-8")
    STRATEGY.write_text(strategy_text(), encoding="utf-8")

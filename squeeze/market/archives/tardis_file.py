"""One of Tardis' files: its exchange, its rows, and base coins where its amounts are something else.

Apart from `tardis`, which recognises files, and `tardis_books`: both read through it.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from squeeze.market.archives.archive import LINEAR, Options, Skipped, in_base
from squeeze.market.archives.block import NUMBER, TEXT, WHOLE, Block, Types
from squeeze.market.archives.reading import blocks
from squeeze.market.events import NAME
from squeeze.market.instruments import ours

VENUES = {"binance-futures": "binance", "bybit": "bybit", "okex-swap": "okx"}
"""Our venue of an exchange whose amounts are base coins, or can be made so."""

COMMON = ("exchange", "symbol", "timestamp", "local_timestamp")
STAMPS: Types = {"exchange": TEXT, "symbol": TEXT, "timestamp": WHOLE, "local_timestamp": WHOLE}
FILLS = {"side": TEXT, "price": NUMBER, "amount": NUMBER}


class Reader:
    """One file: its exchange, and what its amounts are."""

    def __init__(self, path: Path, exchange: str, columns: list[str], options: Options, skipped: Skipped):
        self.path = path
        self.exchange = exchange
        self.venue = VENUES.get(exchange, exchange)
        self.columns = columns
        self.options = options
        self.skipped = skipped

    def blocks(self, types: Types) -> Iterator[Block]:
        """The rows, each of the file's exchange."""
        for block in blocks(self.path, [], dict(STAMPS) | dict(types)):
            block.only("exchange", self.exchange)
            yield block

    def symbols(self, block: Block) -> Iterator[tuple[str, str, np.ndarray]]:
        """(native name, our symbol, its rows); a contract whose amounts are USD is refused."""
        natives, which = block.names("symbol")
        for number, native in enumerate(natives):
            rows = np.flatnonzero(which == number)
            linear = LINEAR.get(self.venue)
            if not self.options.native_amounts and linear and not linear.fullmatch(native):
                block.fail(int(rows[0]), "symbol", "a linear contract, with amounts in base coins", native)
            symbol = ours(self.venue, native) if self.venue in LINEAR else native
            if not NAME.fullmatch(symbol):
                block.fail(int(rows[0]), "symbol", "a name of letters, digits and + . _ -", native)
            yield native, symbol, rows

    def base(self, native: str, amounts: np.ndarray, event_ns: np.ndarray) -> np.ndarray:
        """Amounts in base coins."""
        if self.venue != "okx" or self.options.native_amounts:
            return amounts
        in_coins: np.ndarray = amounts * in_base(self.options, self.path.name, self.venue, native, event_ns)
        return in_coins

"""Maps of the market by price: liquidations, resting orders, volume, open interest, funding, stops and taker flow."""

"""The network: encoder over price, temporal cores, what is exported, and the device it trains on."""

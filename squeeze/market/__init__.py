"""From recorded or live market data to `Step`s: events, the lake that keeps them, the importer, and the step builder."""

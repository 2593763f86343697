"""From recorded or live market data to `Step`s: events, the lake that keeps them, the importer, the step builder."""

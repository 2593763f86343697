"""From recorded or live market data to `Step`s.

feeds ─► raw log ─► venues ─► session ─► events ─► tally, steps ─► Step
                                 │          ▲
          archives, importer ─► lake ───────┘
"""

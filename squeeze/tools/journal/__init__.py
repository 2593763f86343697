"""Reads and predictions as they were made, chained by hash, and graded when their time is over (`squeeze journal`).

read, checklist, probability ─► entry ─► entries.jsonl ─► outcome from the lake ─► grade, itself an entry ─► tables
                                  └─► figures/<its own hash>.png
"""

"""Runs on their way into MLflow, their comparison, the champion's gate, and the ledger of looks."""

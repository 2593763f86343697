"""How good probabilities are: figures, intervals, alarms, and the report beside every baseline."""

"""From calibrated probabilities to signals: the machine that decides, and the JSON lines that say so."""

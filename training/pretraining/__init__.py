"""Pre-training on proxies: sequences, the task, checkpoints, the boosted family, and the student of them all."""

"""The proof on simulated markets whose truth is known."""

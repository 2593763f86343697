"""What a model must beat on the same rows, with the same calibration."""

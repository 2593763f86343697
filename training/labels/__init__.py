"""What came true, row by row: labels, their checks and report, and how far the proxy label agrees with the prints."""

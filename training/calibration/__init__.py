"""Calibration, thresholds that keep a budget of false alarms, and what drift is measured against."""

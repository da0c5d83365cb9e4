"""Measurements, as ratios within one run. Run them with ``make bench``."""

"""Levels of the theory compared on one data set (``lrcalc benchmark levels``)."""

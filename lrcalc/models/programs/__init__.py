"""Triton programs: imported when they are used."""

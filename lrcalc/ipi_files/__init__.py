"""The one reader of what i-PI reads and writes, in lrcalc's units.

Inputs, RESTART files and checkpoints, cells, properties, trajectories, extras, beads: whole or cut
short, of one run or of a run that was continued. Nothing else in lrcalc parses these files.
"""

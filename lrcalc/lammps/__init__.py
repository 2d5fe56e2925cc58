"""LAMMPS: `pair_style lrcalc` on many processes, each with a part of the atoms.

LAMMPS runs inside Python (`host`), with a plugin (`plugin/`, compiled by `build`) that lends it
atoms, pairs and halo exchange (`library`, `exchange`). `server` answers the plugin on each rank.
"""

"""Replicas: molecular dynamics of many copies of a structure at once, in tensors on a device.

The integrators are those of `lrcalc.integrators`, written for a batch: velocity Verlet, Bussi's
thermostat, Martyna, Tobias and Klein's barostat. A replica is the run that `lrcalc.dynamics` would
make of it alone, to rounding: it has its own random numbers, and no number of another one.
"""

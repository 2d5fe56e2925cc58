"""The commands of `lrcalc`: options and calls, no physics."""

"""What a watched run does above a limit; apart, because options are declared without torch."""

ACTIONS = ("warn", "stop", "save")
"""A line, the first time; the end of the run, with its frame; frames in a file."""

EVERY = 20
"""Steps from one look to the next."""

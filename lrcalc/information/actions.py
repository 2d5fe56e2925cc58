"""What a watched run looks at, and does above a limit.

Apart, because options are declared without torch.
"""

ACTIONS = ("warn", "stop", "save")
"""A line, the first time; the end of the run, with its frame; frames in a file."""

EVERY = 40
"""Steps from one look to the next, for each further member of a committee: less than a twentieth of
the cost of a run, also of a compiled one (`benchmarks/watching.py`)."""

SCORES = ("delta-h", "features", "committee")
"""δH of environments; distance of the model's features; spread of several models."""

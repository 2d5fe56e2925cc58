"""What a watched run looks at, and does above a limit.

Apart, because options are declared without torch.
"""

ACTIONS = ("warn", "stop", "save")
"""A line, the first time; the end of the run, with its frame; frames in a file."""

EVERY = 20
"""Steps from one look to the next."""

SCORES = ("delta-h", "features", "committee")
"""δH of environments; distance of the model's features; spread of several models."""

EVERY_FEATURES = 25
"""The same for features, which cost a model's energy without its forces."""

EVERY_MEMBER = 30
"""The same for each further member of a committee, which costs a step."""

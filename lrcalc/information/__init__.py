"""What a run has left, and what it has become: information in atomic environments."""

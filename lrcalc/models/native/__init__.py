"""The backbone of our own: neighbour densities and their products."""

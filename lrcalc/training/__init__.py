"""From energies, forces and stresses of a data set to a model file."""

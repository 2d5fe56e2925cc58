// What LAMMPS and Python show one another. `lrcalc/lammps/library.py` has the same structure.

#ifndef LRCALC_VIEW_H
#define LRCALC_VIEW_H

#include <cstdint>

namespace lrcalc {

constexpr int LAYOUT = 2;      // changes whenever the structure does
constexpr int N_MOMENTS = 9;   // dipole (3), field (3), energy in the field, electrostatic energy, charge

enum Request { SETTINGS = 0, COEFF = 1, INIT = 2, COMPUTE = 3, SERIES_OPEN = 4, SERIES = 5 };

struct View {
  void *pair;                    // for lrcalc_exchange
  // a command of the input
  int64_t narg;
  char **arg;
  // answers to it: Angstrom; whether ghosts need pairs of their own
  double cutoff, reach;
  int64_t ghost_pairs;
  // the box and the atoms
  int64_t ntypes, nlocal, nghost, natoms;
  double *x, *f, *v, *mass;      // (n, 3), (n, 3), (nlocal, 3), per type from 1
  int32_t *type, *image;         // (n), (nlocal, 3) in boxes
  int64_t *tag;                  // (n), IDs
  double cell[9];
  int64_t periodic[3];
  // pairs of owned atoms (and of ghosts, if asked for) within the cutoff, sorted by the first
  int64_t npairs;
  int64_t *pair_i, *pair_j;
  double closest;                // Angstrom, of all pairs looked at
  int64_t closest_i, closest_j;
  int64_t rebuilt;               // ghosts or owners have changed
  // what is wanted
  int64_t want_energy, want_atomic, want_virial, want_moments, want_current;
  // answers: of this rank (its share)
  double energy, coulomb, virial[6];
  double *atomic;                // (nlocal)
  double moments[N_MOMENTS];
  // time
  int64_t step;
  double dt;                     // ps
  double temperature;            // K, of the compute that a series is given
  char message[8192];
};

typedef int (*Callback)(int request, View *view);

}    // namespace lrcalc

#endif

#include "pair_lrcalc.h"

#include "atom.h"
#include "comm.h"
#include "domain.h"
#include "error.h"
#include "fix_lrcalc.h"
#include "force.h"
#include "memory.h"
#include "modify.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "update.h"

#include <algorithm>
#include <cmath>
#include <cstring>

using namespace LAMMPS_NS;
using namespace lrcalc;

namespace {
constexpr int WIDTH = 4;    // numbers of a row that travel at a time
}

Callback PairLRCalc::callback = nullptr;

PairLRCalc::PairLRCalc(LAMMPS *lmp) : Pair(lmp)
{
  single_enable = 0;
  restartinfo = 0;    // the input names the model again
  one_coeff = 1;
  manybody_flag = 1;
  no_virial_fdotr_compute = 1;    // the virial is the derivative by a strain
  centroidstressflag = CENTROID_NOTAVAIL;
  unit_convert_flag = 0;
  comm_forward = comm_reverse = WIDTH;
  nextra = N_MOMENTS;
  pvector = new double[N_MOMENTS]();
  memset(&view, 0, sizeof(view));
  view.pair = this;
}

PairLRCalc::~PairLRCalc()
{
  delete[] pvector;
  if (allocated) {
    memory->destroy(setflag);
    memory->destroy(cutsq);
    memory->destroy(cutghost);
  }
}

void PairLRCalc::ask(Request request, bool together)
{
  if (!callback)
    error->all(FLERR,
               "pair_style lrcalc runs in Python, which has not announced itself: start LAMMPS as "
               "'mpirun -n N lrcalc lammps -in INPUT'");
  view.message[0] = 0;
  int bad = callback(request, &view);
  if (!together) {
    if (bad) error->one(FLERR, "{}", view.message);
    return;
  }
  // the message of the first rank that has one; all ranks see it
  int lowest = bad ? comm->me : comm->nprocs, found;
  MPI_Allreduce(&lowest, &found, 1, MPI_INT, MPI_MIN, world);
  if (found == comm->nprocs) return;
  MPI_Bcast(view.message, sizeof(view.message), MPI_CHAR, found, world);
  error->all(FLERR, "{}", view.message);
}

void PairLRCalc::settings(int narg, char **arg)
{
  if (strcmp(update->unit_style, "metal") != 0)
    error->all(FLERR, "pair_style lrcalc works in 'units metal' (eV, Angstrom, ps), not in 'units {}'",
               update->unit_style);
  view.narg = narg;
  view.arg = arg;
  ask(SETTINGS, true);
}

void PairLRCalc::allocate()
{
  allocated = 1;
  int n = atom->ntypes + 1;
  memory->create(setflag, n, n, "pair:setflag");
  memory->create(cutsq, n, n, "pair:cutsq");
  memory->create(cutghost, n, n, "pair:cutghost");
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++) setflag[i][j] = 0;
}

void PairLRCalc::coeff(int narg, char **arg)
{
  if (!allocated) allocate();
  if (narg < 2 || strcmp(arg[0], "*") != 0 || strcmp(arg[1], "*") != 0)
    error->all(FLERR, "pair_coeff of pair_style lrcalc is '* * ELEMENT ...', one element for each atom type");
  view.ntypes = atom->ntypes;
  view.narg = narg - 2;
  view.arg = arg + 2;
  ask(COEFF, true);
  cutoff = view.cutoff;
  for (int i = 1; i <= atom->ntypes; i++)
    for (int j = i; j <= atom->ntypes; j++) setflag[i][j] = 1;
}

void PairLRCalc::init_style()
{
  if (!force->newton_pair)
    error->all(FLERR, "pair_style lrcalc needs 'newton on': forces on ghosts go back to their owners");
  if (atom->tag_enable == 0) error->all(FLERR, "pair_style lrcalc needs atom IDs");
  if (domain->triclinic_general)
    error->all(FLERR, "pair_style lrcalc does not take general triclinic boxes, which LAMMPS turns: "
                      "fields and dipoles would be along other axes; give a restricted one");
  if (neighbor->nex_type || neighbor->nex_group || neighbor->nex_mol)
    error->all(FLERR, "pair_style lrcalc needs all pairs: leave out 'neigh_modify exclude'");
  if (atom->molecular != Atom::ATOMIC)
    for (int k = 1; k < 4; k++)
      if (force->special_lj[k] != 1.0)
        error->all(FLERR, "pair_style lrcalc needs all pairs, also bonded ones: give "
                          "'special_bonds lj/coul 1.0 1.0 1.0', or use atom_style atomic");
  fill_view();
  ask(INIT, true);
  ghostneigh = view.ghost_pairs ? 1 : 0;
  neighbor->add_request(this, NeighConst::REQ_FULL | (ghostneigh ? NeighConst::REQ_GHOST : 0));
  comm->cutghostuser = std::max(comm->cutghostuser, view.reach + neighbor->skin);
}

double PairLRCalc::init_one(int i, int j)
{
  if (setflag[i][j] == 0) error->all(FLERR, "pair_style lrcalc: not all pair coeffs are set");
  cutghost[i][j] = cutghost[j][i] = cutoff;
  return cutoff;
}

void PairLRCalc::fill_view()
{
  view.ntypes = atom->ntypes;
  view.nlocal = atom->nlocal;
  view.nghost = atom->nghost;
  view.natoms = atom->natoms;
  view.x = atom->x && atom->nmax ? atom->x[0] : nullptr;
  view.f = atom->f && atom->nmax ? atom->f[0] : nullptr;
  view.v = atom->v && atom->nmax ? atom->v[0] : nullptr;
  view.mass = atom->mass;
  view.type = atom->type;
  double lo[9] = {domain->xprd, 0, 0, domain->xy, domain->yprd, 0, domain->xz, domain->yz, domain->zprd};
  memcpy(view.cell, lo, sizeof(lo));
  for (int k = 0; k < 3; k++) view.periodic[k] = domain->periodicity[k];
  view.step = update->ntimestep;
  view.dt = update->dt;
}

void PairLRCalc::find_pairs()
{
  first.clear();
  second.clear();
  double **x = atom->x;
  double limit = cutoff * cutoff, least = INFINITY;
  int rows_of = list->inum + (ghostneigh ? list->gnum : 0);
  view.closest_i = view.closest_j = 0;
  for (int ii = 0; ii < rows_of; ii++) {
    int i = list->ilist[ii];
    const int *near = list->firstneigh[i];
    double xi = x[i][0], yi = x[i][1], zi = x[i][2];
    for (int jj = 0; jj < list->numneigh[i]; jj++) {
      int j = near[jj] & NEIGHMASK;
      double dx = x[j][0] - xi, dy = x[j][1] - yi, dz = x[j][2] - zi;
      double square = dx * dx + dy * dy + dz * dz;
      if (square >= limit) continue;
      if (square < least) {
        least = square;
        view.closest_i = i;
        view.closest_j = j;
      }
      first.push_back(i);
      second.push_back(j);
    }
  }
  view.closest = std::sqrt(least);
  view.npairs = (int64_t) first.size();
  view.pair_i = first.data();
  view.pair_j = second.data();
}

bool PairLRCalc::series_due() const
{
  for (auto *fix : modify->get_fix_by_style("^lrcalc$"))
    if (update->ntimestep % fix->nevery == 0) return true;
  return false;
}

void PairLRCalc::compute(int eflag, int vflag)
{
  ev_init(eflag, vflag);
  if (vflag_atom || cvflag_atom)
    error->all(FLERR, "pair_style lrcalc has no virial of single atoms (compute stress/atom, heat/flux): "
                      "long-range energies belong to all atoms at once; use the global pressure");
  fill_view();
  find_pairs();
  images.resize(3 * (size_t) atom->nlocal);
  for (int i = 0; i < atom->nlocal; i++) {
    imageint image = atom->image[i];
    images[3 * i] = (image & IMGMASK) - IMGMAX;
    images[3 * i + 1] = (image >> IMGBITS & IMGMASK) - IMGMAX;
    images[3 * i + 2] = (image >> IMG2BITS) - IMGMAX;
  }
  view.image = images.data();
  tags.assign(atom->tag, atom->tag + atom->nlocal + atom->nghost);
  view.tag = tags.data();
  bool series = series_due(), current = false;
  if (series)
    for (auto *fix : modify->get_fix_by_style("^lrcalc$"))
      current = current || ((FixLRCalc *) fix)->current;
  view.rebuilt = neighbor->ago == 0;
  view.want_energy = eflag_global || series;
  view.want_moments = eflag_global || series;
  view.want_atomic = eflag_atom;
  view.want_virial = vflag_global;
  view.want_current = current;
  view.atomic = eflag_atom ? eatom : nullptr;
  view.energy = view.coulomb = 0.0;
  memset(view.virial, 0, sizeof(view.virial));
  memset(view.moments, 0, sizeof(view.moments));
  ask(COMPUTE, false);
  if (eflag_global) {
    eng_vdwl += view.energy;
    eng_coul += view.coulomb;
    memcpy(pvector, view.moments, sizeof(view.moments));
  }
  if (vflag_global)
    for (int k = 0; k < 6; k++) virial[k] += view.virial[k];
}

void PairLRCalc::exchange(double *values, int width, bool reverse)
{
  rows = values;
  row_width = width;
  for (column = 0; column < width; column += WIDTH) {
    columns = std::min(WIDTH, width - column);
    if (reverse)
      comm->reverse_comm(this, columns);
    else
      comm->forward_comm(this, columns);
  }
}

int PairLRCalc::pack_forward_comm(int n, int *atoms, double *buffer, int, int *)
{
  int m = 0;
  for (int i = 0; i < n; i++)
    for (int k = 0; k < columns; k++) buffer[m++] = rows[(size_t) atoms[i] * row_width + column + k];
  return m;
}

void PairLRCalc::unpack_forward_comm(int n, int start, double *buffer)
{
  int m = 0;
  for (int i = start; i < start + n; i++)
    for (int k = 0; k < columns; k++) rows[(size_t) i * row_width + column + k] = buffer[m++];
}

int PairLRCalc::pack_reverse_comm(int n, int start, double *buffer)
{
  int m = 0;
  for (int i = start; i < start + n; i++)
    for (int k = 0; k < columns; k++) buffer[m++] = rows[(size_t) i * row_width + column + k];
  return m;
}

void PairLRCalc::unpack_reverse_comm(int n, int *atoms, double *buffer)
{
  int m = 0;
  for (int i = 0; i < n; i++)
    for (int k = 0; k < columns; k++) rows[(size_t) atoms[i] * row_width + column + k] += buffer[m++];
}

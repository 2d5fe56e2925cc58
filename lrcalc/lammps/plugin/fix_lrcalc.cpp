#include "fix_lrcalc.h"

#include "atom.h"
#include "error.h"
#include "force.h"
#include "pair_lrcalc.h"
#include "update.h"
#include "utils.h"

#include <cstring>

using namespace LAMMPS_NS;
using namespace lrcalc;

FixLRCalc::FixLRCalc(LAMMPS *lmp, int narg, char **arg) : Fix(lmp, narg, arg)
{
  if (narg < 5 || narg > 6 || (narg == 6 && strcmp(arg[5], "current") != 0))
    error->all(FLERR, "fix lrcalc is 'fix ID all lrcalc N FILE [current]'");
  if (igroup != 0) error->all(FLERR, "fix lrcalc is of all atoms: 'fix ID all lrcalc N FILE [current]'");
  nevery = utils::inumeric(FLERR, arg[3], false, lmp);
  if (nevery <= 0) error->all(FLERR, "fix lrcalc: every {} steps makes no series; give 1 or more", nevery);
  current = narg == 6;
  words[0] = utils::strdup(arg[4]);
  words[1] = utils::strdup(current ? "current" : "");
}

int FixLRCalc::setmask()
{
  return FixConst::END_OF_STEP;
}

PairLRCalc *FixLRCalc::pair()
{
  auto *found = dynamic_cast<PairLRCalc *>(force->pair_match("lrcalc", 1));
  if (!found) error->all(FLERR, "fix lrcalc writes what pair_style lrcalc computes: give that first");
  return found;
}

void FixLRCalc::init()
{
  auto *style = pair();
  if (opened) return;
  View &view = style->view;
  char step[32];
  snprintf(step, sizeof(step), "%d", nevery);
  char *told[3] = {words[0], words[1], step};
  view.narg = 3;
  view.arg = told;
  style->ask(SERIES_OPEN, true);
  opened = true;
}

void FixLRCalc::setup(int)
{
  if (update->ntimestep % nevery == 0) end_of_step();
}

void FixLRCalc::end_of_step()
{
  auto *style = pair();
  View &view = style->view;
  view.narg = 2;
  view.arg = words;
  view.nlocal = atom->nlocal;
  view.v = atom->v && atom->nmax ? atom->v[0] : nullptr;
  style->ask(SERIES, false);
}

#include "fix_lrcalc.h"

#include "atom.h"
#include "compute.h"
#include "error.h"
#include "force.h"
#include "modify.h"
#include "pair_lrcalc.h"
#include "update.h"
#include "utils.h"

#include <cstring>

using namespace LAMMPS_NS;
using namespace lrcalc;

static const char USAGE[] = "'fix ID all lrcalc N FILE [current] [temp ID]'";

FixLRCalc::FixLRCalc(LAMMPS *lmp, int narg, char **arg) : Fix(lmp, narg, arg)
{
  if (narg < 5) error->all(FLERR, "fix lrcalc is {}", USAGE);
  if (igroup != 0) error->all(FLERR, "fix lrcalc is of all atoms: {}", USAGE);
  nevery = utils::inumeric(FLERR, arg[3], false, lmp);
  if (nevery <= 0) error->all(FLERR, "fix lrcalc: every {} steps makes no series; give 1 or more", nevery);
  file = arg[4];
  for (int k = 5; k < narg; k++) {
    if (strcmp(arg[k], "current") == 0)
      current = true;
    else if (strcmp(arg[k], "temp") == 0 && k + 1 < narg)
      temperature = arg[++k];
    else
      error->all(FLERR, "fix lrcalc does not know '{}': it is {}", arg[k], USAGE);
  }
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

void FixLRCalc::ask(int request, const std::vector<std::string> &words, bool together)
{
  auto *style = pair();
  std::vector<char *> pointers;
  for (auto &word : words) pointers.push_back(const_cast<char *>(word.c_str()));
  style->view.narg = (int64_t) pointers.size();
  style->view.arg = pointers.data();
  style->ask((Request) request, together);
}

// ID, style and target temperature (or "") of each
std::vector<std::string> FixLRCalc::other_fixes() const
{
  std::vector<std::string> words;
  for (auto *fix : modify->get_fix_list()) {
    if (fix == this) continue;
    int dimension = 0;
    auto *target = (double *) fix->extract("t_target", dimension);
    words.push_back(fix->id);
    words.push_back(fix->style);
    words.push_back(target && dimension == 0 ? std::to_string(*target) : "");
  }
  return words;
}

void FixLRCalc::init()
{
  pair();
  if (!modify->get_compute_by_id(temperature) || !modify->get_compute_by_id(temperature)->tempflag)
    error->all(FLERR, "fix lrcalc: there is no compute {} of a temperature", temperature);
  opened = false;
}

void FixLRCalc::setup(int)
{
  if (!opened) {
    std::vector<std::string> words = {file, current ? "current" : "", std::to_string(nevery)};
    for (auto &word : other_fixes()) words.push_back(word);
    ask(SERIES_OPEN, words, true);
    opened = true;
  }
  if (update->ntimestep % nevery == 0) end_of_step();
}

void FixLRCalc::end_of_step()
{
  View &view = pair()->view;
  auto *compute = modify->get_compute_by_id(temperature);
  if (compute->invoked_scalar != update->ntimestep) compute->compute_scalar();
  view.temperature = compute->scalar;
  view.nlocal = atom->nlocal;
  view.v = atom->v && atom->nmax ? atom->v[0] : nullptr;
  view.step = update->ntimestep;
  view.dt = update->dt;
  ask(SERIES, {file, current ? "current" : ""}, false);
}

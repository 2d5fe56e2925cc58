// Entry of the plugin, and what Python calls in it.

#include "fix_lrcalc.h"
#include "lammps.h"
#include "lmptype.h"
#include "pair_lrcalc.h"

#include <cstring>

using namespace LAMMPS_NS;

// what a plugin tells LAMMPS, as its documentation has it (Developer_plugins)
extern "C" {
typedef void *(plugin_factory1) (void *);
typedef void *(plugin_factory2) (void *, int, char **);
typedef struct {
  const char *version, *style, *name, *info, *author;
  union {
    plugin_factory1 *v1;
    plugin_factory2 *v2;
  } creator;
  void *handle;
} lammpsplugin_t;
typedef void (*lammpsplugin_regfunc)(lammpsplugin_t *, void *);
}

static void *make_pair(void *lmp)
{
  return new PairLRCalc((LAMMPS *) lmp);
}

static void *make_fix(void *lmp, int narg, char **arg)
{
  return new FixLRCalc((LAMMPS *) lmp, narg, arg);
}

extern "C" {

void lammpsplugin_init(void *lmp, void *handle, void *regfunc)
{
  lammpsplugin_t plugin;
  auto add = (lammpsplugin_regfunc) regfunc;
  memset(&plugin, 0, sizeof(plugin));
  plugin.version = ((LAMMPS *) lmp)->version;    // Python has compared it already
  plugin.author = "lrcalc";
  plugin.handle = handle;
  plugin.name = "lrcalc";
  plugin.style = "pair";
  plugin.info = "energies and forces of lrcalc models";
  plugin.creator.v1 = make_pair;
  add(&plugin, lmp);
  plugin.style = "fix";
  plugin.info = "series of dipole and current";
  plugin.creator.v2 = make_fix;
  add(&plugin, lmp);
}

int lrcalc_layout()
{
  return lrcalc::LAYOUT * 100000 + (int) sizeof(lrcalc::View);
}

// YYYYMMDD of the headers that this was compiled against
int lrcalc_lammps_version()
{
  return LRCALC_LAMMPS_VERSION;
}

void lrcalc_integers(int *sizes)
{
  sizes[0] = sizeof(tagint);
  sizes[1] = sizeof(bigint);
  sizes[2] = sizeof(imageint);
}

void lrcalc_serve(lrcalc::Callback callback)
{
  PairLRCalc::callback = callback;
}

void lrcalc_exchange(lrcalc::View *view, double *rows, int width, int reverse)
{
  ((PairLRCalc *) view->pair)->exchange(rows, width, reverse != 0);
}
}

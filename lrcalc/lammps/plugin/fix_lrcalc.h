// fix ID all lrcalc N FILE [current]: series of dipole, field and current, every N steps.

#ifndef LMP_FIX_LRCALC_H
#define LMP_FIX_LRCALC_H

#include "fix.h"

namespace LAMMPS_NS {

class FixLRCalc : public Fix {
 public:
  FixLRCalc(class LAMMPS *, int, char **);
  int setmask() override;
  void init() override;
  void setup(int) override;
  void end_of_step() override;

  bool current = false;

 private:
  class PairLRCalc *pair();
  bool opened = false;
  char *words[2];
};

}    // namespace LAMMPS_NS

#endif

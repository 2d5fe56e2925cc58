// fix ID all lrcalc N FILE [current] [temp ID]: series of dipole, field and current.

#ifndef LMP_FIX_LRCALC_H
#define LMP_FIX_LRCALC_H

#include "fix.h"

#include <string>
#include <vector>

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
  void ask(int request, const std::vector<std::string> &words, bool together);
  std::vector<std::string> other_fixes() const;

  bool opened = false;
  std::string file, temperature = "thermo_temp";
};

}    // namespace LAMMPS_NS

#endif

// pair_style lrcalc: lends LAMMPS' atoms, pairs and halo exchange to lrcalc, which runs in Python.

#ifndef LMP_PAIR_LRCALC_H
#define LMP_PAIR_LRCALC_H

#include "lrcalc_view.h"
#include "pair.h"

#include <string>
#include <vector>

namespace LAMMPS_NS {

class PairLRCalc : public Pair {
 public:
  explicit PairLRCalc(class LAMMPS *);
  ~PairLRCalc() override;

  void settings(int, char **) override;
  void coeff(int, char **) override;
  void init_style() override;
  double init_one(int, int) override;
  void compute(int, int) override;

  int pack_forward_comm(int, int *, double *, int, int *) override;
  void unpack_forward_comm(int, int, double *) override;
  int pack_reverse_comm(int, int, double *) override;
  void unpack_reverse_comm(int, int *, double *) override;

  // rows (nlocal + nghost, width): owned rows to ghosts, or ghosts' rows added to owned ones
  void exchange(double *rows, int width, bool reverse);
  // ask Python; an error that all ranks see ends LAMMPS on all, one of this rank alone on it
  void ask(lrcalc::Request request, bool together);

  lrcalc::View view;
  static lrcalc::Callback callback;

 private:
  void allocate();
  void find_pairs();
  void fill_view();

  bool series_due() const;

  double *rows = nullptr;
  int row_width = 0, column = 0, columns = 0;
  std::vector<int64_t> first, second;
  std::vector<int32_t> images;
  std::vector<int64_t> tags;
  double cutoff = 0.0;
};

}    // namespace LAMMPS_NS

#endif

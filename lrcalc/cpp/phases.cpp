// Structure factors of multipoles over half of reciprocal space, and the way back to the atoms.
//
// As lrcalc/electrostatics/direct.py, which is the reference, does with matrix products. Constant of
// the compilation: REAL. Derivatives along the three phases come as 1; x, y, z; xx, xy, xz, yy, yz,
// zz; ... Waves are n = (first, second, t): pairs (first, second) side by side, their number a
// multiple of LANES, t = 0 ... third - 1.
#include <cmath>
#include <type_traits>

#include "threads.h"

namespace {

constexpr int LANES = 64 / int(sizeof(REAL));  // numbers worked on side by side
constexpr int TOP = 7;                          // more than the highest derivative

constexpr int count(int order) { return (order + 1) * (order + 2) * (order + 3) / 6; }

constexpr int place(int x, int y, int z) {
    const int n = x + y + z, rest = y + z;
    return n * (n + 1) * (n + 2) / 6 + rest * (rest + 1) / 2 + z;
}

// Of a power x of the first and y of the second number.
constexpr int plane_of(int x, int y) { return (x + y) * (x + y + 1) / 2 + y; }

}  // namespace

extern "C" {

struct Waves {
    const REAL *at;                // phases (atoms, 3)
    const int64_t *batch;          // (atoms)
    const int64_t *first, *second; // (pairs)
    int64_t atoms, structures, pairs, third, limit1, limit2, threads;
};

}  // extern "C"

namespace {

// exp(i n x) for n = -limit ... limit, each from a product of two that are known.
struct Powers {
    std::vector<double> real, imaginary;
    int64_t limit;

    explicit Powers(int64_t limit)
        : real(2 * limit + 1), imaginary(2 * limit + 1), limit(limit) {}

    void set(double x) {
        const double c = std::cos(x), s = std::sin(x);
        double *re = &real[limit], *im = &imaginary[limit];
        re[0] = 1, im[0] = 0;
        for (int64_t n = 1; n <= limit; ++n) {
            re[n] = re[n - 1] * c - im[n - 1] * s, im[n] = re[n - 1] * s + im[n - 1] * c;
            re[-n] = re[n], im[-n] = -im[n];
        }
    }
};

// Pairs low ... high of one first number, whose second numbers follow one another.
struct Run {
    int64_t low, high, first, second;
};

std::vector<Run> runs_of(const Waves *w, int64_t low, int64_t high) {
    std::vector<Run> runs;
    for (int64_t p = low; p < high; ++p) {
        const bool goes_on = p > low && w->first[p] == w->first[p - 1]
                             && w->second[p] == w->second[p - 1] + 1;
        if (goes_on) ++runs.back().high;
        else runs.push_back({p, p + 1, w->first[p], w->second[p]});
    }
    return runs;
}

// Phases of an atom over pairs and over t.
struct Atom {
    std::vector<Run> runs;
    Powers one, two, three;
    std::vector<REAL> real, imaginary, row_real, row_imaginary;

    Atom(const Waves *w, int64_t low, int64_t high)
        : runs(runs_of(w, low, high)), one(w->limit1), two(w->limit2), three(w->third - 1),
          real(w->pairs), imaginary(w->pairs), row_real(2 * w->limit2 + 1),
          row_imaginary(2 * w->limit2 + 1) {}

    void set(const Waves *w, int64_t atom) {
        one.set(w->at[3 * atom]), two.set(w->at[3 * atom + 1]), three.set(w->at[3 * atom + 2]);
        std::copy(two.real.begin(), two.real.end(), row_real.begin());
        std::copy(two.imaginary.begin(), two.imaginary.end(), row_imaginary.begin());
        for (const Run &run : runs) {
            const REAL c = REAL(one.real[one.limit + run.first]);
            const REAL s = REAL(one.imaginary[one.limit + run.first]);
            const REAL *re = &row_real[two.limit + run.second];
            const REAL *im = &row_imaginary[two.limit + run.second];
            REAL *to_re = &real[run.low], *to_im = &imaginary[run.low];
            for (int64_t k = 0; k < run.high - run.low; ++k) {
                to_re[k] = c * re[k] - s * im[k];
                to_im[k] = c * im[k] + s * re[k];
            }
        }
    }

    double along_real(int64_t t) const { return three.real[three.limit + t]; }
    double along_imaginary(int64_t t) const { return three.imaginary[three.limit + t]; }
};

// first^x second^y of the pairs, (planes, pairs), up to x + y = top.
std::vector<REAL> planes(const Waves *w, int top) {
    std::vector<REAL> out((top + 1) * (top + 2) / 2 * w->pairs);
    for (int x = 0; x <= top; ++x)
        for (int y = 0; y <= top - x; ++y)
            for (int64_t p = 0; p < w->pairs; ++p)
                out[plane_of(x, y) * w->pairs + p] = REAL(
                    std::pow(double(w->first[p]), x) * std::pow(double(w->second[p]), y));
    return out;
}

// work(int constant) for the one that is `order`, so that loops have known lengths.
template <int ORDER = 0, class Work>
void of_order(int64_t order, Work work) {
    if constexpr (ORDER < TOP) {
        if (order == ORDER) work(std::integral_constant<int, ORDER>());
        else of_order<ORDER + 1>(order, work);
    }
}

template <int ORDER>
void spread_all(const Waves *w, const REAL *moments, REAL *out) {
    constexpr int channels = (ORDER + 1) * (ORDER + 2) / 2;
    const std::vector<REAL> all = planes(w, ORDER);
    in_parts(w->pairs / LANES, w->threads, [=, &all](int64_t part, int64_t parts) {
        const int64_t pieces = w->pairs / LANES;
        const int64_t low = pieces * part / parts * LANES, high = pieces * (part + 1) / parts * LANES;
        Atom own(w, low, high);
        std::vector<REAL> along(w->third * 2 * channels);
        for (int64_t atom = 0; atom < w->atoms; ++atom) {
            own.set(w, atom);
            const REAL *m = moments + atom * count(ORDER);
            for (int64_t t = 0; t < w->third; ++t) {
                const double c = own.along_real(t), s = own.along_imaginary(t);
                REAL *re = &along[t * 2 * channels], *im = re + channels;
                for (int x = 0; x <= ORDER; ++x)
                    for (int y = 0; y <= ORDER - x; ++y) {
                        double power = 1, of[4] = {};  // 1, i, -1, -i
                        for (int z = 0; z <= ORDER - x - y; ++z, power *= double(t))
                            of[(x + y + z) % 4] += power * m[place(x, y, z)];
                        const double a = of[0] - of[2], b = of[1] - of[3];
                        re[plane_of(x, y)] = REAL(a * c - b * s);
                        im[plane_of(x, y)] = REAL(a * s + b * c);
                    }
            }
            REAL *rows = out + w->batch[atom] * w->third * 2 * w->pairs;
            for (int64_t p = low; p < high; p += LANES) {
                const REAL *cosine = &own.real[p], *sine = &own.imaginary[p];
                for (int64_t t = 0; t < w->third; ++t) {
                    const REAL *re = &along[t * 2 * channels], *im = re + channels;
                    REAL *real = rows + t * 2 * w->pairs + p, *imaginary = real + w->pairs;
                    REAL a[LANES], b[LANES];
                    for (int l = 0; l < LANES; ++l) a[l] = re[0], b[l] = im[0];
#pragma GCC unroll 36
                    for (int k = 1; k < channels; ++k) {
                        const REAL *with = &all[k * w->pairs + p];
                        for (int l = 0; l < LANES; ++l) a[l] += re[k] * with[l], b[l] += im[k] * with[l];
                    }
                    for (int l = 0; l < LANES; ++l) {
                        real[l] += a[l] * cosine[l] - b[l] * sine[l];
                        imaginary[l] += a[l] * sine[l] + b[l] * cosine[l];
                    }
                }
            }
        }
    });
}

// Components up to HIGHEST of one atom: sums over all waves.
template <int HIGHEST>
void gather_one(const Waves *w, const Atom &own, const REAL *rows, const REAL *all,
                const REAL *along, double *found) {
    REAL sums[count(HIGHEST)][LANES] = {};
    for (int64_t p = 0; p < w->pairs; p += LANES) {
        const REAL *cosine = &own.real[p], *sine = &own.imaginary[p];
        // sums over t of t^z exp(i t x3) times the conjugate of what is given
        REAL re[HIGHEST + 1][LANES] = {}, im[HIGHEST + 1][LANES] = {};
        for (int64_t t = 0; t < w->third; ++t) {
            const REAL *real = rows + t * 2 * w->pairs + p, *imaginary = real + w->pairs;
            const REAL *phase = along + t * 2 * (HIGHEST + 1);
#pragma GCC unroll 8
            for (int z = 0; z <= HIGHEST; ++z) {
                const REAL c = phase[2 * z], s = phase[2 * z + 1];
                for (int l = 0; l < LANES; ++l) {
                    re[z][l] += c * real[l] + s * imaginary[l];
                    im[z][l] += s * real[l] - c * imaginary[l];
                }
            }
        }
#pragma GCC unroll 8
        for (int z = 0; z <= HIGHEST; ++z) {
            REAL a[LANES], b[LANES];
            for (int l = 0; l < LANES; ++l) {
                a[l] = re[z][l] * cosine[l] - im[z][l] * sine[l];
                b[l] = re[z][l] * sine[l] + im[z][l] * cosine[l];
            }
#pragma GCC unroll 8
            for (int x = 0; x <= HIGHEST - z; ++x)
#pragma GCC unroll 8
                for (int y = 0; y <= HIGHEST - z - x; ++y) {
                    // the real part of i^n times it
                    const int n = (x + y + z) % 4;
                    const REAL *part = n % 2 ? b : a, *with = all + plane_of(x, y) * w->pairs + p;
                    const REAL sign = n == 1 || n == 2 ? -1 : 1;
                    REAL *sum = sums[place(x, y, z)];
                    for (int l = 0; l < LANES; ++l) sum[l] += sign * with[l] * part[l];
                }
        }
    }
    for (int k = 0; k < count(HIGHEST); ++k) {
        found[k] = 0;
        for (int l = 0; l < LANES; ++l) found[k] += sums[k][l];
    }
}

template <int HIGHEST>
void gather_all(const Waves *w, const REAL *given, int order, const REAL *moments, REAL *values,
                REAL *slopes) {
    const std::vector<REAL> all = planes(w, HIGHEST);
    in_parts(w->atoms, w->threads, [=, &all](int64_t part, int64_t parts) {
        Atom own(w, 0, w->pairs);
        std::vector<REAL> along(w->third * 2 * (HIGHEST + 1));
        for (int64_t atom = w->atoms * part / parts; atom < w->atoms * (part + 1) / parts; ++atom) {
            own.set(w, atom);
            for (int64_t t = 0; t < w->third; ++t) {
                double power = 1;
                for (int z = 0; z <= HIGHEST; ++z, power *= double(t)) {
                    along[(t * (HIGHEST + 1) + z) * 2] = REAL(power * own.along_real(t));
                    along[(t * (HIGHEST + 1) + z) * 2 + 1] = REAL(power * own.along_imaginary(t));
                }
            }
            double found[count(HIGHEST)];
            const REAL *rows = given + w->batch[atom] * w->third * 2 * w->pairs;
            gather_one<HIGHEST>(w, own, rows, all.data(), along.data(), found);
            REAL *to = values + atom * count(order);
            for (int k = 0; k < count(order); ++k) to[k] = REAL(found[k]);
            if (!slopes) continue;
            const REAL *m = moments + atom * count(order);
            double sum[3] = {};
            for (int x = 0; x <= order; ++x)
                for (int y = 0; y <= order - x; ++y)
                    for (int z = 0; z <= order - x - y; ++z) {
                        const double with = m[place(x, y, z)];
                        sum[0] += with * found[place(x + 1, y, z)];
                        sum[1] += with * found[place(x, y + 1, z)];
                        sum[2] += with * found[place(x, y, z + 1)];
                    }
            for (int k = 0; k < 3; ++k) slopes[3 * atom + k] = REAL(sum[k]);
        }
    });
}

}  // namespace

extern "C" {

// Add sum_a moments_a D_a exp(i n·x) of all atoms to (structures, third, 2, pairs) of zeros; the
// middle index is of real and imaginary part. Threads have pairs of their own.
void spread(const Waves *w, const REAL *moments, int64_t order, REAL *out) {
    of_order(order, [=](auto constant) { spread_all<decltype(constant)::value>(w, moments, out); });
}

// Transpose: values (atoms, count) and, if there are slopes (atoms, 3), those of their sum with the
// moments.
void gather(const Waves *w, const REAL *given, int64_t order, const REAL *moments, REAL *values,
            REAL *slopes) {
    of_order(order + (slopes ? 1 : 0), [=](auto constant) {
        gather_all<decltype(constant)::value>(w, given, int(order), moments, values, slopes);
    });
}

}  // extern "C"

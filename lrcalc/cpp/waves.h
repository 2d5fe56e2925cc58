// Waves of the radial functions.
#pragma once

namespace {

constexpr double PI = 3.14159265358979323846;
constexpr int LANES = 64 / int(sizeof(REAL));  // numbers worked on side by side

// sin and cos of pi x, 0 <= x <= 1: Taylor series about the middle.
inline void turned(double x, double &sine, double &cosine) {
    const double y = (x - 0.5) * PI, y2 = y * y;
    constexpr int terms = sizeof(REAL) == 8 ? 11 : 8;
    double s = 1, c = 1;
#pragma GCC unroll 16
    for (int k = terms; k > 0; --k) {
        c = 1 - c * y2 * (1.0 / ((2 * k - 1) * (2 * k)));
        s = 1 - s * y2 * (1.0 / ((2 * k) * (2 * k + 1)));
    }
    sine = c;
    cosine = -s * y;
}

}  // namespace

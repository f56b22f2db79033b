// The hunt of chapter 9: group norm, forward, launched directly on the emulator in eleven schedules. docs/book/hunt/hunt.sh
// compiles it.
#include "common/common.cuh"
#include "emulator/launch.h"

namespace {
#include "group_norm.cu"
}

constexpr int PIXELS = 64, C = 32, GROUPS = 8, SLAB_GROUPS = 4, THREADS = 128;
constexpr float EPS = 1e-6f;

// y as the formula says, in double.
void formula(double* y, const float* x) {
  constexpr int WIDTH = C / GROUPS;
  for (int g = 0; g < GROUPS; g++) {
    double mean = 0, variance = 0;
    auto each = [&](auto f) {
      for (int p = 0; p < PIXELS; p++)
        for (int c = g * WIDTH; c < (g + 1) * WIDTH; c++) f(p * C + c);
    };
    each([&](int i) { mean += x[i] / double(PIXELS * WIDTH); });
    each([&](int i) { variance += (x[i] - mean) * (x[i] - mean) / double(PIXELS * WIDTH); });
    each([&](int i) { y[i] = (x[i] - mean) / sqrt(variance + EPS); });
  }
}

int main() {
  std::vector<float> x(PIXELS * C), y(PIXELS * C), stats(2 * GROUPS), gamma(C, 1.f), beta(C, 0.f);
  std::vector<double> want(PIXELS * C);
  for (int i = 0; i < PIXELS * C; i++) x[i] = float(i * 37 % 101) / 50.f - 1.f;
  formula(want.data(), x.data());

  int failures = 0;
  for (int run = 0; run < 11; run++) {
    emu::Options options;
    if (run > 0) options.schedule = emu::Schedule::Skew, options.seed = run;
    // 8 bytes for each thread and channel of its vector, for each channel of a slab and for each group of it.
    const size_t shared = 8 * (THREADS * 4 + SLAB_GROUPS * C / GROUPS + SLAB_GROUPS);
    emu::launch(group_norm_fwd<float, false, false, false>, dim3(GROUPS / SLAB_GROUPS), dim3(THREADS), shared, options,
                y.data(), stats.data(), x.data(), nullptr, nullptr, gamma.data(), beta.data(), nullptr, PIXELS, C, C, GROUPS,
                SLAB_GROUPS, 0, 0, EPS, 0, Dropout{});
    int wrong = 0, first = -1;
    for (int i = 0; i < PIXELS * C; i++)
      if (!(fabs(y[i] - want[i]) <= 1e-5) && wrong++ == 0) first = i;
    failures += wrong > 0;
    if (run == 0) printf("fifo           ");
    else printf("skew, seed %2d  ", run);
    if (wrong == 0) printf("right\n");
    else printf("%4d of %d wrong, the first is y[%d] = %g instead of %g\n", wrong, PIXELS * C, first, y[first], want[first]);
  }
  return failures > 0;
}

// The mask of a dropout layer: mask[i] = (word(seed, step, stream, image, i) >= p 2^32), and what is kept is scaled by
// 1 / (1 - p). The comparison is between integers, so the mask is the same on every device and in every kernel that
// draws it.
#pragma once

// A dropout layer, as launches pass it.
struct Dropout {
  uint32_t stream;     // of the random numbers
  uint32_t threshold;  // p 2^32
  float scale;         // 1 / (1 - p)
};

class DropoutMask {
 public:
  __device__ __forceinline__ DropoutMask(const uint32_t* __restrict__ rng,  // [4]
                                         uint32_t image, const Dropout& layer)
      : key(make_uint2(rng[0], rng[1])), image(rng[3] + image), step(rng[2]), layer(layer) {}

  // Drops or scales the elements first .. first + N - 1 of the image. One element, or fours that share a counter: then
  // `first` is a multiple of 4.
  template <int N> __device__ __forceinline__ void apply(float (&x)[N], uint32_t first) const {
    static_assert(N == 1 || N % 4 == 0, "one element or whole counters");
    if constexpr (N == 1) {
      const uint4 words = draw(first / 4);
      const uint32_t low = first % 2 ? words.y : words.x, high = first % 2 ? words.w : words.z;
      x[0] = kept(x[0], first % 4 < 2 ? low : high);
    } else {
#pragma unroll
      for (int i = 0; i + 3 < N; i += 4) {
        const uint4 words = draw((first + i) / 4);
        x[i] = kept(x[i], words.x);
        x[i + 1] = kept(x[i + 1], words.y);
        x[i + 2] = kept(x[i + 2], words.z);
        x[i + 3] = kept(x[i + 3], words.w);
      }
    }
  }

 private:
  __device__ __forceinline__ uint4 draw(uint32_t quad) const {
    return philox4x32(make_uint4(quad, image, step, layer.stream), key);
  }
  __device__ __forceinline__ float kept(float x, uint32_t word) const {
    return word >= layer.threshold ? x * layer.scale : 0.f;
  }

  uint2 key;
  uint32_t image, step;
  Dropout layer;
};

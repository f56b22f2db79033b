// Concatenation along channels: y [n, h, w, ca + cb] = a [n, h, w, ca] beside b [n, h, w, cb].
//
//   y[.., k] = a[.., k] for k < ca, else b[.., k - ca]        da, db = the two slices of dy
//
// A thread moves V neighbouring channels: 16 bytes where both ca and cb allow it, else one channel. grid.y = image.
#include "common/common.cuh"

// Where a thread's channels are: `part` of a or b, the same channels in `whole`.
template <int V>
struct Slice {
  bool inside, in_a;
  size_t part, whole;

  __device__ __forceinline__ Slice(int pixels, int ca, int cb) {
    const int slices = (ca + cb) / V, item = blockIdx.x * 256 + threadIdx.x, pixel = item / slices;
    const int channel = item % slices * V;
    const size_t row = size_t(blockIdx.y) * pixels + pixel;
    inside = pixel < pixels;
    in_a = channel < ca;
    part = in_a ? row * ca + channel : row * cb + channel - ca;
    whole = row * (ca + cb) + channel;
  }
};

template <int V, class T>
__device__ __forceinline__ void join(T* y, const T* a, const T* b, int pixels, int ca, int cb) {
  const Slice<V> s(pixels, ca, cb);
  if (s.inside) store_vec(y + s.whole, load_vec<V>((s.in_a ? a : b) + s.part));
}

template <int V, class T>
__device__ __forceinline__ void split(T* da, T* db, const T* dy, int pixels, int ca, int cb) {
  const Slice<V> s(pixels, ca, cb);
  T* part = s.in_a ? da : db;
  if (s.inside && part != nullptr) store_vec(part + s.part, load_vec<V>(dy + s.whole));
}

template <class T>
__global__ void __launch_bounds__(256) concat_fwd(T* __restrict__ y,        // [n, pixels, ca + cb]
                                                  const T* __restrict__ a,  // [n, pixels, ca]
                                                  const T* __restrict__ b,  // [n, pixels, cb]
                                                  int pixels, int ca, int cb) {
  if (rows_are_vectors<T>(ca) && rows_are_vectors<T>(cb)) join<Vec<T>::SIZE>(y, a, b, pixels, ca, cb);
  else join<1>(y, a, b, pixels, ca, cb);
}

template <class T>
__global__ void __launch_bounds__(256) concat_bwd(T* __restrict__ da,        // [n, pixels, ca], or null: not wanted
                                                  T* __restrict__ db,        // [n, pixels, cb], or null
                                                  const T* __restrict__ dy,  // [n, pixels, ca + cb]
                                                  int pixels, int ca, int cb) {
  if (rows_are_vectors<T>(ca) && rows_are_vectors<T>(cb)) split<Vec<T>::SIZE>(da, db, dy, pixels, ca, cb);
  else split<1>(da, db, dy, pixels, ca, cb);
}

EXPORT_F32_BF16(concat_fwd)
EXPORT_F32_BF16(concat_bwd)

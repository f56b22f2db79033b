// Storage types and vector access. Values are stored as T = float or __nv_bfloat16 and computed with as float.
#pragma once

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }

template <class T> __device__ __forceinline__ T from_float(float x);
template <> __device__ __forceinline__ float from_float<float>(float x) { return x; }
template <> __device__ __forceinline__ __nv_bfloat16 from_float<__nv_bfloat16>(float x) { return __float2bfloat16_rn(x); }

// N values of T that move as one. `Vec<T>` is a 16-byte access: 4 floats or 8 bf16.
template <class T, int N = 16 / int(sizeof(T))> struct alignas(N * sizeof(T)) Vec {
  static constexpr int SIZE = N;
  T at[N];
  __device__ __forceinline__ T& operator[](int i) { return at[i]; }
  __device__ __forceinline__ const T& operator[](int i) const { return at[i]; }
};

namespace detail {
template <int BYTES> struct Word;
template <> struct Word<16> { using type = uint4; };
template <> struct Word<8> { using type = uint2; };
template <> struct Word<4> { using type = uint32_t; };
template <> struct Word<2> { using type = uint16_t; };
}  // namespace detail

// True if a 16-byte access is allowed at every multiple of `n` elements of a tensor (whose base is always aligned).
template <class T> __device__ __forceinline__ bool rows_are_vectors(int n) { return n % (16 / int(sizeof(T))) == 0; }

// One load or store of N * sizeof(T) bytes; `p` must be aligned to as many.
template <int N, class T> __device__ __forceinline__ Vec<T, N> load_vec(const T* p) {
  using Word = typename detail::Word<N * sizeof(T)>::type;
#if !defined(__CUDACC__)
  emu::require_aligned(p, sizeof(Word), "vector load");
#endif
  const Word word = *reinterpret_cast<const Word*>(p);
  Vec<T, N> v;
  memcpy(&v, &word, sizeof v);
  return v;
}
template <class T> __device__ __forceinline__ Vec<T> load_vec(const T* p) { return load_vec<Vec<T>::SIZE>(p); }

template <class T, int N> __device__ __forceinline__ void store_vec(T* p, const Vec<T, N>& v) {
  using Word = typename detail::Word<N * sizeof(T)>::type;
#if !defined(__CUDACC__)
  emu::require_aligned(p, sizeof(Word), "vector store");
#endif
  Word word;
  memcpy(&word, &v, sizeof v);
  *reinterpret_cast<Word*>(p) = word;
}

// a + b, each element rounded to T.
template <class T, int N> __device__ __forceinline__ Vec<T, N> sum(const Vec<T, N>& a, const Vec<T, N>& b) {
  Vec<T, N> c;
#pragma unroll
  for (int i = 0; i < N; i++) c[i] = from_float<T>(to_float(a[i]) + to_float(b[i]));
  return c;
}

// Loads and stores with the conversion to and from float: `float x[8]; load_floats(x, p);`.
template <int N, class T> __device__ __forceinline__ void load_floats(float (&out)[N], const T* p) {
  const Vec<T, N> v = load_vec<N>(p);
#pragma unroll
  for (int i = 0; i < N; i++) out[i] = to_float(v[i]);
}
template <int N, class T> __device__ __forceinline__ void store_floats(T* p, const float (&in)[N]) {
  Vec<T, N> v;
#pragma unroll
  for (int i = 0; i < N; i++) v[i] = from_float<T>(in[i]);
  store_vec(p, v);
}

namespace detail {
// Elements of one access when N of them move: 16 bytes, or all if they are fewer.
template <class T, int N> constexpr int ACCESS = 16 / int(sizeof(T)) < N ? 16 / int(sizeof(T)) : N;
template <class T, int N> __device__ __forceinline__ bool is_aligned(const T* p) {
  return reinterpret_cast<uintptr_t>(p) % (ACCESS<T, N> * sizeof(T)) == 0;
}
}  // namespace detail

// Elements first .. first + N - 1 of a row of n, of which `p` points to the first: what lies beyond the row is read as 0
// and not written. Whole vectors where the address allows it.
template <int N, class T>
__device__ __forceinline__ void load_up_to(float (&out)[N], const T* p, size_t first, size_t n) {
  constexpr int STEP = detail::ACCESS<T, N>;
  if (first + N <= n && detail::is_aligned<T, N>(p)) {
#pragma unroll
    for (int i = 0; i < N; i += STEP) {
      const Vec<T, STEP> v = load_vec<STEP>(p + i);
#pragma unroll
      for (int j = 0; j < STEP; j++) out[i + j] = to_float(v[j]);
    }
  } else {
#pragma unroll
    for (int i = 0; i < N; i++) out[i] = first + i < n ? to_float(p[i]) : 0.f;
  }
}
template <int N, class T>
__device__ __forceinline__ void store_up_to(T* p, const float (&in)[N], size_t first, size_t n) {
  constexpr int STEP = detail::ACCESS<T, N>;
  if (first + N <= n && detail::is_aligned<T, N>(p)) {
#pragma unroll
    for (int i = 0; i < N; i += STEP) {
      Vec<T, STEP> v;
#pragma unroll
      for (int j = 0; j < STEP; j++) v[j] = from_float<T>(in[i + j]);
      store_vec(p + i, v);
    }
  } else {
#pragma unroll
    for (int i = 0; i < N; i++)
      if (first + i < n) p[i] = from_float<T>(in[i]);
  }
}

// The logistic function 1 / (1 + e^-x).
__device__ __forceinline__ float sigmoid(float x) { return __fdividef(1.f, 1.f + __expf(-x)); }

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

// The same with the conversion to and from float: `float x[8]; load_floats(x, p);`.
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

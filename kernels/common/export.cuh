// How a kernel gets the name by which the program launches it.
//
//   EXPORT(philox_uniform)             a kernel that is not a template, under its own name
//   EXPORT_F32_BF16(silu_fwd)          silu_fwd<float> as silu_fwd_f32, silu_fwd<__nv_bfloat16> as silu_fwd_bf16
//   EXPORT_T(silu_fwd, float)          one of the two
//   EXPORT_AS(conv_fwd_64, conv_fwd<float, 64>)   any instantiation under any name; all template arguments, literal
//   EXPORT_CLUSTER_AS(conv_fwd_64_pair, 2, conv_fwd<float, 64>)   the same, in clusters of two blocks along x
//
// One at the start of each line, not from within another macro: build.rs reads the lines as they stand.
//
// Under nvcc an export instantiates the template, and build.rs pairs the export's name with the mangled one. On the host
// it enters the kernel, with the types of its parameters, into the emulator's table.
#pragma once

#define EXPORT_SUFFIX_float f32
#define EXPORT_SUFFIX___nv_bfloat16 bf16
#define EXPORT_JOIN_(kernel, suffix) kernel##_##suffix
#define EXPORT_JOIN(kernel, suffix) EXPORT_JOIN_(kernel, suffix)

#if defined(__CUDACC__)
#define EXPORT(kernel) static_assert(sizeof(&kernel) != 0, "a kernel");
#define EXPORT_AS(name, ...) template __global__ decltype(__VA_ARGS__) __VA_ARGS__;
#define EXPORT_CLUSTER_AS(name, blocks, ...) \
  template __global__ __cluster_dims__(blocks, 1, 1) decltype(__VA_ARGS__) __VA_ARGS__;
#else
#define EXPORT(kernel) EXPORT_AS(kernel, kernel)
#define EXPORT_AS(name, ...) EXPORT_CLUSTER_AS(name, 1, __VA_ARGS__)
#define EXPORT_CLUSTER_AS(name, blocks, ...)                                                                \
  static emu::Kernel kernel_##name = emu::describe<emu::Signature<&__VA_ARGS__>>(#name, __FILE__, blocks); \
  EMU_AT_START static void enter_##name() { emu::enter(kernel_##name); }
#endif

#define EXPORT_AS_EXPANDED(name, ...) EXPORT_AS(name, __VA_ARGS__)
#define EXPORT_T(kernel, T) EXPORT_AS_EXPANDED(EXPORT_JOIN(kernel, EXPORT_SUFFIX_##T), kernel<T>)
#define EXPORT_F32_BF16(kernel) \
  EXPORT_T(kernel, float)       \
  EXPORT_T(kernel, __nv_bfloat16)

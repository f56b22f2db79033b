// The table of exported kernels and how one is launched: by name through emu_launch, which src/bridge.rs calls, or directly
// from C++ through emu::launch, to step through a kernel in a debugger.
#pragma once
#include "engine.h"

namespace emu {

// What a parameter of a kernel is, so that a launch with the wrong arguments is an error and not a wrong result.
// A struct by value is Struct plus its size.
enum class Parameter : uint16_t { Pointer, Int32, Int64, Float, TensorMap, Unknown, Struct = 0x1000 };

template <class T> constexpr Parameter parameter_of() {
  if constexpr (std::is_pointer_v<T>) return Parameter::Pointer;
  else if constexpr (std::is_integral_v<T> && sizeof(T) == 4) return Parameter::Int32;
  else if constexpr (std::is_integral_v<T> && sizeof(T) == 8) return Parameter::Int64;
  else if constexpr (std::is_same_v<T, float>) return Parameter::Float;
  else if constexpr (std::is_same_v<T, ::TensorMap>) return Parameter::TensorMap;
  else if constexpr (std::is_class_v<T>) return Parameter(unsigned(Parameter::Struct) + sizeof(T));
  else return Parameter::Unknown;
}

// Calls a kernel with arguments given by address, as cuLaunchKernel takes them, and knows its parameters.
template <auto KERNEL> struct Signature;
template <class... P, void (*KERNEL)(P...)> struct Signature<KERNEL> {
  static constexpr Parameter parameters[sizeof...(P) + 1] = {parameter_of<P>()..., Parameter::Unknown};
  static constexpr size_t count = sizeof...(P);
  static void call(void** args) { call(args, std::index_sequence_for<P...>()); }
  template <size_t... I> static void call(void** args, std::index_sequence<I...>) { KERNEL(*static_cast<P*>(args[I])...); }
};

struct Kernel {
  const char *name, *file;
  unsigned cluster;  // blocks
  void (*call)(void** args);
  const Parameter* parameters;
  size_t count;
  const Kernel* next;  // in the table of kernels, which is a list
};

extern const Kernel* first_kernel;

template <class SIGNATURE> constexpr Kernel describe(const char* name, const char* file, unsigned cluster) {
  return {name, file, cluster, SIGNATURE::call, SIGNATURE::parameters, SIGNATURE::count, nullptr};
}

// Entering a kernel is all that runs at the program's start, whatever the program is for: it must not use the vector
// instructions that kernels are compiled for, since the processor may lack them.
#define EMU_ANY_PROCESSOR __attribute__((target("arch=x86-64")))
#define EMU_AT_START EMU_ANY_PROCESSOR __attribute__((constructor))

EMU_ANY_PROCESSOR inline void enter(Kernel& kernel) {
  kernel.next = first_kernel;
  first_kernel = &kernel;
}

// Runs all blocks of a grid. Returns what went wrong, or nothing.
std::string run_grid(const Work& work, const Options& options);

template <class... P, class... A>
void launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes, const Options& options, A... given) {
  struct Bound {
    void (*kernel)(P...);
    std::tuple<P...> arguments;
  } bound{kernel, {given...}};
  void* args = &bound;
  const auto call = [](void** args) {
    auto* bound = static_cast<Bound*>(static_cast<void*>(args));
    std::apply(bound->kernel, bound->arguments);
  };
  const std::string error = run_grid({call, static_cast<void**>(args), grid, block, 1, shared_bytes}, options);
  if (!error.empty()) throw std::runtime_error(error);
}

}  // namespace emu

// Compiles one kernel file: EMU_KERNEL is its path, EMU_PRELUDE the header that declares all that it uses.
#include EMU_PRELUDE

namespace {
#include EMU_KERNEL
}

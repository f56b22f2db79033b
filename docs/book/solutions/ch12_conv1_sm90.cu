// Version 1: one warpgroup and the instruction. The threads bring both operands to where it reads them.
#include "common/common.cuh"
#include "ch12_conv.cuh"

struct alignas(1024) Operands1 {
  unsigned char weights[64 * ROW], pixels[64 * ROW];  // [64 output channels or 8 x 8 pixels][64 input channels]
};

__global__ void __launch_bounds__(128) ch12_conv1(__nv_bfloat16* __restrict__ y,        // [n, h, width, c_out]
                                                  const __nv_bfloat16* __restrict__ x,  // [n, h, width, c_in]
                                                  const __nv_bfloat16* __restrict__ w,  // [c_out, 9, c_in]
                                                  int n, int h, int width, int c_in, int c_out) {
  using namespace ch12;
  DYNAMIC_SMEM(Operands1, shared);
  const Tile tile = Tiles<8, 64>(n, h, width, c_out).at(blockIdx.x);
  float d[32];
  for (int k = 0; k < c_in; k += 64)
    for (int tap = 0; tap < 9; tap++) {
      for (int i = threadIdx.x; i < 64 * 8; i += 128) {
        const int line = i / 8, chunk = i % 8;
        const int swizzled = line * ROW + (chunk ^ line % 8) * 16;
        const int row = tile.row + line / 8 + tap / 3 - 1, column = tile.column + line % 8 + tap % 3 - 1;
        const bool inside = unsigned(row) < unsigned(h) && unsigned(column) < unsigned(width);
        Vec<__nv_bfloat16> pixel = {};
        if (inside) pixel = load_vec(x + ((size_t(tile.image) * h + row) * width + column) * c_in + k + chunk * 8);
        store_vec(reinterpret_cast<__nv_bfloat16*>(shared->pixels + swizzled), pixel);
        store_vec(reinterpret_cast<__nv_bfloat16*>(shared->weights + swizzled),
                  load_vec(w + (size_t(tile.channel + line) * 9 + tap) * c_in + k + chunk * 8));
      }
      fence_proxy_async();  // what this thread has written, wgmma sees
      __syncthreads();      // and what the others have
      start_product<64>(d, shared->weights, shared->pixels, k + tap > 0);
      wgmma_wait<0>(d);
      __syncthreads();  // no warp overwrites what another one's products still read
    }
  store<64>(y, d, tile, tile.channel, n, h, width, c_out);
}

EXPORT(ch12_conv1)

// What tests/wrappers.rs runs of Hopper's instructions, on a GPU and on the emulator. All template arguments are written
// out, as the compiled names have them; the last is the bug: none, or what bugs
// are set against.
#include "common/common.cuh"
#include "self_test/cluster.cuh"
#include "self_test/hopper.cuh"

EXPORT(store_matrices)
EXPORT_AS(load_box_2d, load_box<2>)
EXPORT_AS(load_box_3d, load_box<3>)
EXPORT_AS(load_box_4d, load_box<4>)
EXPORT_AS(load_box_5d, load_box<5>)
EXPORT_AS(store_box_2d, store_box<2>)
EXPORT_AS(store_box_3d, store_box<3>)
EXPORT_AS(store_box_4d, store_box<4>)
EXPORT_AS(store_many, store_many<0>)
EXPORT_CLUSTER_AS(sum_in_cluster_3d, 2, sum_in_cluster<3, 0>)
EXPORT_CLUSTER_AS(sum_in_cluster_4d, 2, sum_in_cluster<4, 0>)
EXPORT_AS(product_8, product<8, false, false, false, 0>)
EXPORT_AS(product_16_mn_k, product<16, true, false, false, 0>)
EXPORT_AS(product_32_k_mn, product<32, false, true, false, 0>)
EXPORT_AS(product_64, product<64, false, false, false, 0>)
EXPORT_AS(product_64_mn_k, product<64, true, false, false, 0>)
EXPORT_AS(product_64_k_mn, product<64, false, true, false, 0>)
EXPORT_AS(product_64_mn_mn, product<64, true, true, false, 0>)
EXPORT_AS(product_96_mn_mn, product<96, true, true, false, 0>)
EXPORT_AS(product_128, product<128, false, false, false, 0>)
EXPORT_AS(product_128_mn_mn, product<128, true, true, false, 0>)
EXPORT_AS(product_192_k_mn, product<192, false, true, false, 0>)
EXPORT_AS(product_256, product<256, false, false, false, 0>)
EXPORT_AS(product_256_mn_mn, product<256, true, true, false, 0>)
EXPORT_AS(product_doubled, product<64, false, false, false, 15>)
EXPORT_AS(product_restarted, product<64, false, false, false, 16>)
EXPORT_AS(product_registers_64, product<64, false, false, true, 0>)
EXPORT_AS(product_registers_64_mn, product<64, false, true, true, 0>)
EXPORT_AS(product_registers_128, product<128, false, false, true, 0>)
EXPORT_AS(product_registers_32_mn, product<32, false, true, true, 0>)
EXPORT_AS(product_registers_256_mn, product<256, false, true, true, 0>)
EXPORT_AS(product_second_half, product<32, false, true, true, 17>)

// Hopper's instructions with one planted bug each, for tests/emu/hopper.rs.
#include "common/common.cuh"
#include "self_test/hopper.cuh"

EXPORT_AS(store_many_without_wait, store_many<STORES_DO_NOT_WAIT>)
EXPORT_AS(store_many_never_waited, store_many<STORES_NEVER_WAIT>)
EXPORT_AS(store_many_without_fence, store_many<STORES_WITHOUT_FENCE>)
EXPORT_AS(product_doubled_without_fence, product<64, false, false, false, DOUBLED_WITHOUT_FENCE>)
EXPORT_AS(product_no_full_wait, product<64, false, false, false, NO_FULL_WAIT>)
EXPORT_AS(product_no_empty_wait, product<64, false, false, false, NO_EMPTY_WAIT>)
EXPORT_AS(product_no_product_wait, product<64, false, false, false, NO_PRODUCT_WAIT>)
EXPORT_AS(product_late_product_wait, product<64, false, false, false, LATE_PRODUCT_WAIT>)
EXPORT_AS(product_half_announced, product<64, false, false, false, HALF_ANNOUNCED>)
EXPORT_AS(product_too_much_announced, product<64, false, false, false, TOO_MUCH_ANNOUNCED>)
EXPORT_AS(product_no_fence, product<64, false, false, false, NO_FENCE>)
EXPORT_AS(product_extra_arrival, product<64, false, false, false, EXTRA_ARRIVAL>)
EXPORT_AS(product_descriptor_overrun, product<64, false, false, false, DESCRIPTOR_OVERRUN>)
EXPORT_AS(product_misaligned_box, product<64, false, false, false, MISALIGNED_BOX>)
EXPORT_AS(product_different_descriptors, product<64, false, false, false, DIFFERENT_DESCRIPTORS>)
EXPORT_AS(product_never_waited, product<64, false, false, false, NEVER_WAITED>)
EXPORT_AS(product_not_initialised, product<64, false, false, false, NOT_INITIALISED>)

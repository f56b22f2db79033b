// Records: numbers that the host writes for a step. src/engine/ops/records.rs defines them and explains each number; a
// test there compares this file with that one.
#pragma once

struct alignas(16) NoiseRecord {
  float a, sigma, c_x, c_eps;
};

struct alignas(16) HybridLossRecord {
  float w, w_vb, p_z, p_out, share, log_min, log_max, decodes;
};

struct alignas(16) SamplerRecord {
  float p_z, p_out, limit, m_z, m_x, m_previous, m_out, rho, log_min, log_max, w_class, w_none;
};

struct alignas(16) AdamRecord {
  float lr, beta1, beta2, eps, decay, c1, c2, ema_decay;
};

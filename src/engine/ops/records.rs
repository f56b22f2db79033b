//! Records: small groups of numbers that the host writes for a step and kernels read by name.
//!
//! `kernels/common/records.cuh` holds the same structs in CUDA; a test keeps the two equal. A tensor of them is f32
//! `[.., LEN]`.

use bytemuck::{Pod, Zeroable};

/// Defines a record: floats in the order in which they lie in memory, a multiple of 16 bytes.
macro_rules! record {
    ($(#[$meta:meta])* pub struct $record:ident { $($(#[$doc:meta])* $field:ident,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
        #[repr(C)]
        pub struct $record {
            $($(#[$doc])* pub $field: f32,)*
        }

        impl $record {
            #[cfg(test)]
            const FIELDS: &'static [&'static str] = &[$(stringify!($field)),*];
            /// Number of floats.
            pub const LEN: usize = size_of::<$record>() / size_of::<f32>();

            /// The floats, as they lie in a tensor.
            pub fn values(&self) -> &[f32] {
                bytemuck::cast_slice(std::slice::from_ref(self))
            }
        }
    };
}

record! {
    /// Coefficients of one image in [`noise`](super::noise_loss::noise).
    pub struct NoiseRecord {
        /// Scale of the clean image in the noisy one.
        a,
        /// Scale of the noise in the noisy image.
        sigma,
        /// Share of the clean image in the target.
        c_x,
        /// Share of the noise in the target.
        c_eps,
    }
}

record! {
    /// Coefficients of one image in [`hybrid_loss`](super::hybrid_loss::hybrid_loss).
    pub struct HybridLossRecord {
        /// Weight of the squared error.
        w,
        /// Weight of the variational bound.
        w_vb,
        /// Share of z in x_0, which is `p_z z + p_out mean`.
        p_z,
        /// Share of the predicted mean in x_0.
        p_out,
        /// Share of x_0 in the posterior's mean.
        share,
        /// Smallest ln variance.
        log_min,
        /// Largest ln variance.
        log_max,
        /// 1 in the first time step, where the bound is a decoder's; else 0.
        decodes,
    }
}

record! {
    /// Coefficients of one step of a sampler, in [`sampler_step`](super::sampler_step::sampler_step).
    pub struct SamplerRecord {
        /// Share of z in x_0, which is `p_z z + p_out out`.
        p_z,
        /// Share of the network's output in x_0.
        p_out,
        /// Largest absolute value of x_0; infinite: it is not clipped.
        limit,
        /// Share of z in the next z.
        m_z,
        /// Share of x_0 in the next z.
        m_x,
        /// Share of the previous step's x_0 in the next z; at 0 that is not read.
        m_previous,
        /// Share of the network's output in the next z.
        m_out,
        /// Scale of the fresh noise; at 0 none is drawn.
        rho,
        /// Smallest ln variance, where the network predicts one.
        log_min,
        /// Largest ln variance.
        log_max,
        /// Weight of the output with the label, where guided.
        w_class,
        /// Weight of the output without.
        w_none,
    }
}

record! {
    /// Numbers of one step of the optimiser, in [`adam`](super::adam::adam).
    pub struct AdamRecord {
        /// Learning rate.
        lr,
        /// Decay of the first moment.
        beta1,
        /// Decay of the second moment.
        beta2,
        /// Keeps the denominator from zero.
        eps,
        /// Weight decay.
        decay,
        /// Correction of the first moment, `1 / (1 - beta1^t)`.
        c1,
        /// Correction of the second moment, `1 / (1 - beta2^t)`.
        c2,
        /// Share of the moving average that stays.
        ema_decay,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "\
// Records: numbers that the host writes for a step. src/engine/ops/records.rs defines them and explains each number; a
// test there compares this file with that one.
#pragma once
";

    #[test]
    fn kernels_read_the_same_records() {
        let records: [(&str, &[&str], usize); 4] = [
            ("NoiseRecord", NoiseRecord::FIELDS, NoiseRecord::LEN),
            ("HybridLossRecord", HybridLossRecord::FIELDS, HybridLossRecord::LEN),
            ("SamplerRecord", SamplerRecord::FIELDS, SamplerRecord::LEN),
            ("AdamRecord", AdamRecord::FIELDS, AdamRecord::LEN),
        ];
        let mut want = HEADER.to_owned();
        for (name, fields, len) in records {
            assert!(fields.len() == len && len % 4 == 0, "{name} is {len} floats");
            want += &format!("\nstruct alignas(16) {name} {{\n  float {};\n}};\n", fields.join(", "));
        }
        let is = include_str!("../../../kernels/common/records.cuh");
        assert!(is == want, "kernels/common/records.cuh is to be:\n{want}");
    }
}

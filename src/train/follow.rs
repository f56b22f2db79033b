//! The other ranks of a run: they compute their shards of the steps that rank 0 makes.
//!
//! ```text
//! all     the same program, configuration, data and device?
//! rank 0  state of the last checkpoint, or the first weights    -> all
//! rank 0  "a step"                                              -> all: shards, sum over the ranks, update
//! rank 0  validates, draws, measures, writes                       the others wait
//! rank 0  "the end"                                             -> all
//! ```

use super::feed::Feed;
use super::run::Run;
use super::share::Share;
use super::trainer::Trainer;
use crate::data::Dataset;
use crate::engine::device::Device;
use crate::ranks::Order;
use crate::version::version;
use crate::{Error, Result};
use std::{env, fs};

impl Run<'_> {
    /// Makes this rank's trainer, after all ranks have found that they are to do the same.
    ///
    /// # Errors
    /// Ranks that differ, or as for [`Trainer::without_weights`].
    pub(super) fn trainer(&self, dataset: &Dataset, device: Device) -> Result<Trainer> {
        let ranks = self.ranks;
        if ranks.size() > 1 {
            ranks.agree(&[
                ("the program", format!("{}\n{}\n", version(), ranks.together(fingerprint())?)),
                ("the configuration", self.config.to_toml()),
                ("the data", ranks.together(dataset.fingerprint())?),
                ("the device", format!("{:?}\n{}\n", device.backend(), instructions())),
            ])?;
        }
        ranks.together(Trainer::without_weights(device, self.config, ranks))
    }

    /// Follows rank 0 until it ends.
    pub(super) fn follow_on(&self, dataset: &Dataset, device: Device) -> Result<()> {
        let mut trainer = self.trainer(dataset, device)?;
        trainer.share_state()?;
        let mut feed = Feed::new(self.config, dataset, Share::new(&self.config.train, self.ranks)?)?;
        while self.ranks.next_order()? == Order::Step {
            feed.start(&mut trainer)?;
            match feed.finish(&mut trainer) {
                // It is that of all ranks, and rank 0 ends the job with it.
                Err(Error::NonFinite { .. }) => {}
                result => {
                    result?;
                }
            }
        }
        Ok(())
    }
}

/// Checksum of this program's file.
fn fingerprint() -> Result<String> {
    let path = env::current_exe().map_err(Error::io("this program"))?;
    let bytes = fs::read(&path).map_err(Error::io(&path))?;
    Ok(format!("{} bytes, CRC-32C {:08x}", bytes.len(), crc32c::crc32c(&bytes)))
}

/// The vector instructions of this CPU, by which the order of its sums differs.
fn instructions() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        return "AVX-512";
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        return "AVX2";
    }
    "no AVX2"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranks::threads::on_ranks;
    use crate::train::Config;
    use crate::train::checkpoint::State;
    use crate::train::run::open_data;

    fn config(settings: &[&str]) -> Config {
        let small = ["model.channels=[4, 8]", "model.groups=2", "model.attention_levels=[1]", "model.image_size=8"];
        let train = [
            "train.batch_size=16",
            "train.shards=8",
            "sample.n=0",
            "data.limit=40",
            "train.ema=[\"decay=0.9\", \"power=0.5\"]",
        ];
        let all: Vec<String> = [&small[..], &train, settings].concat().into_iter().map(String::from).collect();
        Config::default().with_settings(&all).unwrap()
    }

    /// State, losses and gradient norms of every rank after a few steps.
    fn trained(config: &Config, size: usize) -> Vec<(State, Vec<[f32; 2]>)> {
        let dataset = open_data(config).unwrap();
        on_ranks(size, |ranks| {
            let mut trainer = Trainer::without_weights(Device::Cpu, config, &ranks).unwrap();
            if ranks.leads() {
                trainer.draw_weights().unwrap();
            }
            trainer.share_state().unwrap();
            let mut feed = Feed::new(config, &dataset, Share::new(&config.train, &ranks).unwrap()).unwrap();
            let mut step = || {
                feed.start(&mut trainer).unwrap();
                feed.finish(&mut trainer).map(|record| [record.loss, record.grad_norm]).unwrap()
            };
            let steps = (0..2).map(|_| step()).collect();
            (trainer.state().unwrap(), steps)
        })
    }

    #[test]
    fn any_number_of_ranks_gives_the_same_bits() {
        for settings in
            [&["model.dropout=0.1", "data.flip=true"][..], &["model.classes=10", "diffusion.label_drop=0.3"]]
        {
            let config = config(settings);
            let alone = trained(&config, 1).swap_remove(0);
            for size in [2, 4] {
                assert!(trained(&config, size).iter().all(|rank| *rank == alone), "{size} ranks with {settings:?}");
            }
            // The bits are those of the shards: a sum in one piece has others.
            let mut whole = config.clone();
            whole.train.shards = 1;
            assert_ne!(trained(&whole, 1)[0].0.weights, alone.0.weights);
        }
    }

    #[test]
    fn a_loss_that_is_not_finite_ends_all_ranks_with_the_op_and_its_rank() {
        let config = config(&[]);
        let values = config.model.sample_len();
        let errors = on_ranks(4, |ranks| {
            let mut trainer = Trainer::without_weights(Device::Cpu, &config, &ranks).unwrap();
            trainer.draw_weights().unwrap();
            let mut images = vec![0.5; 4 * values];
            if ranks.rank() == 2 {
                images[3 * values] = f32::NAN;
            }
            trainer.step(&images, &[0; 4]).unwrap_err().to_string()
        });
        assert!(errors.iter().all(|error| *error == errors[0]), "{errors:?}");
        assert!(errors[0].starts_with("step 1: the loss is not finite; first produced by noise_fwd"), "{}", errors[0]);
        assert!(errors[0].ends_with(" on rank 2"), "{}", errors[0]);
    }
}

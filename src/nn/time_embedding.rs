//! The conditioning of a network, time and class, as one vector per sample.

use super::layers::{Forward, Linear, Start};
use super::params::{Init, ParamId, ParamSet};
use crate::engine::ops::timestep_embedding::{Sinusoids, timestep_embedding};
use crate::engine::ops::{add, embedding, silu, time_input};
use crate::engine::tensor::Tensor;

#[derive(Clone, Copy, Debug)]
enum Source {
    Sinusoids(Sinusoids),
    /// A learned row for each of the times 0, 1, ...
    Table(ParamId),
}

/// The vector of time and class.
#[derive(Clone, Debug)]
pub(super) struct TimeEmbedding {
    source: Source,
    mlp: Option<[Linear; 2]>,
    class: ClassEmbedding,
}

impl TimeEmbedding {
    /// Makes the sinusoids themselves the vector.
    pub fn sinusoids(params: &mut ParamSet, sinusoids: Sinusoids, class_rows: usize) -> TimeEmbedding {
        let class = ClassEmbedding::new(params, class_rows, sinusoids.dim);
        TimeEmbedding { source: Source::Sinusoids(sinusoids), mlp: None, class }
    }

    /// Applies Linear, SiLU, Linear to the sinusoids, both maps with `dim` outputs.
    pub fn mlp(params: &mut ParamSet, sinusoids: Sinusoids, dim: usize, class_rows: usize) -> TimeEmbedding {
        let linear = |params: &mut ParamSet, n, c_in| {
            Linear::new(params, &format!("time_embedding.linear_{n}"), c_in, dim, Start::FanIn)
        };
        let mlp = Some([linear(params, 1, sinusoids.dim), linear(params, 2, dim)]);
        let class = ClassEmbedding::new(params, class_rows, dim);
        TimeEmbedding { source: Source::Sinusoids(sinusoids), mlp, class }
    }

    /// Learns a row of `dim` values for each of `rows` times.
    pub fn table(params: &mut ParamSet, rows: usize, dim: usize, class_rows: usize) -> TimeEmbedding {
        let table = params.add("time_embedding.weight", &[rows, dim], Init::Normal);
        let class = ClassEmbedding::new(params, class_rows, dim);
        TimeEmbedding { source: Source::Table(table), mlp: None, class }
    }

    /// `t [n]` and, where the network is conditional, `labels [n]` to `[n, dim]`.
    pub fn forward(&self, cx: &mut Forward, t: Tensor, labels: Option<Tensor>) -> Tensor {
        cx.tape.enter_layer("time_embedding");
        let mut h = match self.source {
            Source::Sinusoids(sinusoids) => timestep_embedding(cx.tape, t, sinusoids),
            Source::Table(table) => {
                let table = cx.param(table);
                let row = time_input::nearest_row(cx.tape, t, table.dim(0));
                embedding::embedding(cx.tape, table, row)
            }
        };
        if let Some([first, second]) = &self.mlp {
            h = first.forward(cx, h);
            h = silu::silu(cx.tape, h);
            h = second.forward(cx, h);
        }
        self.class.add_to(cx, h, labels)
    }
}

/// A learned row for each label of a conditional network: the classes and, for guidance, no class.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClassEmbedding(Option<ParamId>);

impl ClassEmbedding {
    /// Registers the rows. A network without classes has none, and nothing is added.
    pub fn new(params: &mut ParamSet, rows: usize, dim: usize) -> ClassEmbedding {
        let table = |params: &mut ParamSet| params.add("class_embedding.weight", &[rows, dim], Init::Normal);
        ClassEmbedding((rows > 0).then(|| table(params)))
    }

    /// `x [n, dim]` plus the row of each label.
    pub fn add_to(&self, cx: &mut Forward, x: Tensor, labels: Option<Tensor>) -> Tensor {
        assert_eq!(labels.is_some(), self.0.is_some(), "labels go with a conditional model");
        let (Some(table), Some(labels)) = (self.0, labels) else { return x };
        let table = cx.param(table);
        let class = embedding::embedding(cx.tape, table, labels);
        add::add(cx.tape, x, class)
    }
}

//! Preparation of images for the network, as pytorch-fid reads PNG files: bytes as values in [0, 1], stretched to 299 x 299
//! by `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`, which does not smooth when it shrinks,
//! then scaled to [-1, 1].

use crate::levels::level;

/// Height and width that the network was trained on.
pub const SIZE: usize = 299;

/// `out [SIZE, SIZE, 3]` of `image [h, w, c]` in [-1, 1]; a single channel stands for all three.
pub fn prepare(out: &mut [f32], image: &[f32], [h, w, c]: [usize; 3]) {
    let image: Vec<f32> = image.iter().map(|&x| level(x) as f32 / 255.0).collect();
    let columns: Vec<Between> = (0..SIZE).map(|j| Between::of(j, w)).collect();
    for (i, out) in out.chunks_exact_mut(SIZE * 3).enumerate() {
        let row = Between::of(i, h);
        for (column, out) in columns.iter().zip(out.as_chunks_mut::<3>().0) {
            for (k, out) in out.iter_mut().enumerate() {
                let at = |i: usize, j: usize| image[(i * w + j) * c + k.min(c - 1)];
                let value = row.blend(|i| column.blend(|j| at(i, j)));
                *out = 2.0 * value - 1.0;
            }
        }
    }
}

/// The two source places that a target place lies between, and the second one's share.
struct Between {
    places: [usize; 2],
    share: f32,
}

impl Between {
    /// Place `i` of `SIZE` on an axis of `length`: centres of pixels lie at halves, and the edges are continued.
    fn of(i: usize, length: usize) -> Between {
        let scale = length as f32 / SIZE as f32;
        let source = (scale * (i as f32 + 0.5) - 0.5).max(0.0);
        let first = (source as usize).min(length - 1);
        Between { places: [first, (first + 1).min(length - 1)], share: (source - first as f32).min(1.0) }
    }

    fn blend(&self, value: impl Fn(usize) -> f32) -> f32 {
        (1.0 - self.share) * value(self.places[0]) + self.share * value(self.places[1])
    }
}

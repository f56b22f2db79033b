//! Exercises 6.1 and 6.2: the weights of a U-Net.

/// Weights of a residual block from `c_in` to `c_out` channels, with a time embedding of width `time`, and a shortcut where
/// the channels differ.
pub fn residual_block(c_in: usize, c_out: usize, time: usize) -> usize {
    let _ = (c_in, c_out, time);
    todo!("exercise 6.1")
}

/// Weights of an attention block of `c` channels: a norm, and four linear maps with bias.
pub fn attention(c: usize) -> usize {
    let _ = c;
    todo!("exercise 6.1")
}

/// A U-Net as chapter 6 draws it, of images with three channels.
pub struct UNet {
    /// Channels of each level.
    pub channels: Vec<usize>,
    /// Residual blocks of an encoder level; a decoder level has one more.
    pub layers: usize,
    /// Levels with attention behind each residual block. The middle always has one.
    pub attention_levels: Vec<usize>,
}

/// Weights of the whole network. The time embedding begins with as many sinusoids as the first level has channels; its
/// two linear maps, and so the vector, are four times as wide.
///
/// Walk through encoder, middle and decoder. Keep the channels of every skip on a stack.
pub fn unet(net: &UNet) -> usize {
    let _ = (&net.channels, net.layers, &net.attention_levels);
    todo!("exercise 6.2")
}

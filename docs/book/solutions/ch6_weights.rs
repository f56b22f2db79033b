//! Exercises 6.1 and 6.2: the weights of a U-Net.

fn conv3x3(c_in: usize, c_out: usize) -> usize {
    9 * c_in * c_out + c_out
}

fn linear(c_in: usize, c_out: usize) -> usize {
    c_in * c_out + c_out
}

fn norm(c: usize) -> usize {
    2 * c
}

/// Weights of a residual block.
pub fn residual_block(c_in: usize, c_out: usize, time: usize) -> usize {
    let shortcut = if c_in == c_out { 0 } else { linear(c_in, c_out) };
    norm(c_in) + conv3x3(c_in, c_out) + linear(time, c_out) + norm(c_out) + conv3x3(c_out, c_out) + shortcut
}

/// Weights of an attention block.
pub fn attention(c: usize) -> usize {
    norm(c) + 4 * linear(c, c)
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

/// Weights of the whole network.
pub fn unet(net: &UNet) -> usize {
    let levels = net.channels.len();
    let (first, time) = (net.channels[0], 4 * net.channels[0]);
    let attended = |level: usize, c: usize| if net.attention_levels.contains(&level) { attention(c) } else { 0 };
    let mut weights = linear(first, time) + linear(time, time) + conv3x3(3, first);
    let (mut c, mut skips) = (first, vec![first]);
    for (level, &width) in net.channels.iter().enumerate() {
        for _ in 0..net.layers {
            weights += residual_block(c, width, time) + attended(level, width);
            c = width;
            skips.push(c);
        }
        if level + 1 < levels {
            weights += conv3x3(c, c);
            skips.push(c);
        }
    }
    weights += 2 * residual_block(c, c, time) + attention(c);
    for (level, &width) in net.channels.iter().enumerate().rev() {
        for _ in 0..=net.layers {
            let skip = skips.pop().expect("a skip for every block");
            weights += residual_block(c + skip, width, time) + attended(level, width);
            c = width;
        }
        if level > 0 {
            weights += conv3x3(c, c);
        }
    }
    weights + norm(c) + conv3x3(c, 3)
}

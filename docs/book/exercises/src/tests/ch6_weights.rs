use crate::ch6_weights::{UNet, attention, residual_block, unet};
use ddpm::nn::{ModelConfig, Network, ParamSet, UNetConfig};

#[test]
fn the_parts_have_the_weights_that_the_chapter_counts() {
    assert_eq!(residual_block(256, 256, 512), 1_312_512);
    assert_eq!(residual_block(512, 256, 512), 2_034_176);
    assert_eq!(attention(256), 263_680);
}

/// The program registers every weight by name: its count is the sum of their sizes.
fn counted_by_the_program(net: &UNet) -> usize {
    let config = UNetConfig {
        channels: net.channels.clone(),
        layers_per_level: net.layers,
        attention_levels: net.attention_levels.clone(),
        ..UNetConfig::default()
    };
    let mut params = ParamSet::default();
    Network::new(&ModelConfig::Unet(config), &mut params).unwrap();
    params.count()
}

#[test]
fn whole_networks_have_the_programs_weights() {
    let nets = [
        (vec![128, 256, 256, 256], 2, vec![1]),
        (vec![64, 128], 1, vec![]),
        (vec![32, 64, 96], 3, vec![0, 2]),
        (vec![96], 2, vec![0]),
    ];
    for (channels, layers, attention_levels) in nets {
        let net = UNet { channels, layers, attention_levels };
        assert_eq!(unet(&net), counted_by_the_program(&net), "{:?}", net.channels);
    }
    let cifar = UNet { channels: vec![128, 256, 256, 256], layers: 2, attention_levels: vec![1] };
    assert_eq!(unet(&cifar), 35_746_307);
}

use super::taps::Pass;
use super::*;

fn conv(n: usize, size: usize, c_in: usize, c_out: usize, stride: usize) -> Conv2dShape {
    Conv2dShape {
        h: size,
        w: size,
        kh: 3,
        kw: 3,
        stride,
        pad_top: 1,
        pad_left: 1,
        pad_bottom: 1,
        pad_right: 1,
        ..Conv2dShape::linear(n, c_in, c_out)
    }
}

#[test]
fn show() {
    for (n, size, c_in, c_out, stride) in [
        (128, 32, 128, 128, 1), (128, 32, 256, 128, 1), (128, 16, 256, 256, 1), (128, 16, 512, 256, 1), (128, 8, 256, 256, 1), (128, 4, 256, 256, 1), (128, 32, 128, 128, 2),
        (32, 64, 64, 64, 1), (32, 64, 192, 64, 1), (32, 32, 128, 128, 1), (32, 16, 192, 192, 1), (32, 8, 256, 256, 1),
        (128, 32, 64, 64, 1), (128, 16, 128, 128, 1), (128, 8, 256, 256, 1), (128, 4, 512, 512, 1), (128, 28, 64, 64, 1), (4, 7, 136, 200, 1),
    ] {
        let s = conv(n, size, c_in, c_out, stride);
        println!("--- {n}x{size} {c_in}->{c_out} /{stride}");
        for pass in [Pass::Forward, Pass::InputGradient] {
            if let Some(p) = TapsPlan::new(&s, DType::Bf16, pass) {
                println!("{:28} {:?} st {}+{} smem {} tiles {} wave {:.2} used {:.2} loaded {:.2} TB/s est {:.0} TFLOP/s", p.kernel, p.tile, p.pixel_stages, p.weight_stages, p.smem_bytes, p.tiles, p.wave_efficiency(),
                   s.flops() as f64 / 2.0 / p.macs as f64, p.loaded_bytes as f64 / p.cycles as f64 * 1.75e9 / 1e12, s.flops() as f64 / p.cycles as f64 * 1.75e9 / 1e12);
            } else { println!("none"); }
        }
        if let Some(p) = WgradPlan::new(&s, DType::Bf16) {
            println!("{:28} {:?} st {} smem {} splits {} of {} parts {} used {:.2} loaded {:.2} TB/s est {:.0} TFLOP/s", p.kernel, p.tile, p.stages, p.smem_bytes, p.splits, p.split_tiles, p.parts,
                   s.flops() as f64 / 2.0 / p.macs as f64, p.loaded_bytes as f64 / p.cycles as f64 * 1.75e9 / 1e12, s.flops() as f64 / p.cycles as f64 * 1.75e9 / 1e12);
        }
    }
}

use crate::ch11_phases::taps_that_reach;

#[test]
fn every_pixel_is_reached_by_these_taps_and_no_others() {
    for (stride, pad, taps) in [(1, 1, 3), (2, 1, 3), (2, 1, 4), (2, 0, 2), (3, 2, 5), (4, 0, 3)] {
        let mut seen = 0;
        for phase in 0..stride {
            let pixel = 12 * stride + phase; // far from the edges
            let reaching = (0..taps).filter(|r| (0..40).any(|p| p * stride + r == pixel + pad));
            let want: Vec<usize> = reaching.collect();
            assert_eq!(taps_that_reach(phase, stride, pad, taps), want, "phase {phase}, stride {stride}, pad {pad}");
            seen += want.len();
        }
        assert_eq!(seen, taps, "each tap belongs to one phase");
    }
}

use crate::ch15_reviewer::{Row, contradiction, of_the_least};

/// Kumar's Table 4.1: bounds of networks that were trained with the bound, and the errors of those that were trained with the
/// weighted loss, of x, noise and v.
const TABLE: [(&str, [f64; 4], [f64; 3]); 4] = [
    ("clusters", [0.6777, 2.3636, 2.5396, 0.7657], [0.4754, 0.3522, 0.8264]),
    ("rings", [0.8785, 2.5700, 2.5452, 0.9577], [0.4932, 0.4266, 0.9227]),
    ("swiss roll", [0.8640, 2.5324, 2.4861, 0.9493], [0.4934, 0.4261, 0.9171]),
    ("waves", [0.9104, 2.6805, 2.6873, 1.0210], [0.4939, 0.4500, 0.9411]),
];

#[test]
fn half_of_the_bounds_cannot_be() {
    for (set, bounds, [_, noise, _]) in TABLE {
        let rows: Vec<Row> =
            ["x", "noise", "v", "score"].into_iter().zip(bounds).map(|(target, bound)| Row { target, bound }).collect();
        let parts = of_the_least(&rows, noise);
        for (row, part) in rows.iter().zip(parts) {
            let range = if ["x", "score"].contains(&row.target) { 0.30..0.37 } else { 0.92..1.16 };
            assert!(range.contains(&part), "{set}, {}: {part} of the least that is possible", row.target);
        }
    }
}

#[test]
fn the_errors_agree_with_each_other() {
    for (set, _, [x, noise, v]) in TABLE {
        let gap = contradiction(x, noise, v);
        assert!(gap <= 0.0035, "{set}: {gap}");
    }
    assert!((contradiction(0.4, 0.3, 0.8) - 0.1).abs() <= 1e-12);
    assert!((contradiction(0.5, 0.3, 0.7) - 0.1).abs() <= 1e-12);
}

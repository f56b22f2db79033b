//! docs/EQUATIONS.md says where each equation is: every place must exist.

use std::fs;
use std::path::Path;

fn document() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/EQUATIONS.md")).unwrap()
}

/// The (name, path) of every link `` [`name`](../path) ``.
fn links(text: &str) -> Vec<(&str, &str)> {
    let parts = text.split("[`").skip(1).filter_map(|part| part.split_once("`](../"));
    parts.map(|(name, rest)| (name, rest.split(')').next().unwrap())).collect()
}

#[test]
fn every_link_leads_to_what_it_names() {
    let document = document();
    let links = links(&document);
    assert!(links.len() > 120, "{} links", links.len());
    for (name, path) in links {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let code = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{path}: {e}"));
        let defined = ["fn", "struct", "enum", "trait"].iter().any(|kind| {
            code.split(&format!("{kind} {name}"))
                .skip(1)
                .any(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
        });
        assert!(defined || path.ends_with(&format!("/{name}")), "{path} has no {name}");
    }
}

#[test]
fn every_row_names_code_and_a_test() {
    let document = document();
    let rows = document.lines().filter(|line| line.starts_with("| ") && line.matches(" | ").count() == 4);
    let rows: Vec<&str> = rows.filter(|line| !line.starts_with("| source |")).collect();
    assert!(rows.len() >= 40, "{} rows", rows.len());
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let [_, _, code, _, tests] = cells[..] else { panic!("{row}") };
        assert!(!links(code).is_empty(), "no code in {row}");
        for (test, path) in links(tests) {
            let file = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
            assert!(
                file.contains(&format!("#[test]\nfn {test}(")) || file.contains(&format!("#[test]\n    fn {test}(")),
                "{test} is no test of {path}"
            );
        }
        assert!(!links(tests).is_empty(), "no test in {row}");
    }
}

/// Sections and numbers of algorithms of the sources; D has no algorithm.
const CITABLE: [(&str, &[&str], u32); 4] = [
    ("A", &["1", "2", "2.1", "2.2", "2.3", "2.4", "2.5", "3", "4", "4.1", "4.2", "4.3", "5", "6"], 3),
    (
        "D",
        &[
            "1", "2", "3", "4", "4.1", "4.2", "4.3", "5", "5.1", "5.2", "5.2.1", "5.2.2", "5.2.3", "5.3", "5.3.1",
            "5.3.2", "5.3.3", "6", "8.1", "9.1", "9.2", "9.3", "9.4", "9.5", "9.6", "9.6.1", "9.6.2", "9.6.3", "9.6.4",
            "9.6.5", "9.7",
        ],
        0,
    ),
    (
        "E",
        &[
            "3.1", "3.1.1", "3.1.2", "3.1.3", "3.1.4", "3.1.5", "3.2", "3.2.1", "3.2.2", "3.2.3", "3.2.4", "3.2.5",
            "3.2.6", "3.3", "3.3.1", "3.4", "4.1", "4.1.1", "4.1.2", "4.2", "4.2.1", "4.3", "4.3.1", "4.3.2", "4.4",
            "4.4.1", "4.4.2", "4.4.3", "4.4.4",
        ],
        1,
    ),
    ("Ho", &["2", "3", "3.1", "3.2", "3.3", "3.4", "4", "4.1", "4.2", "4.3", "4.4"], 4),
];

#[test]
fn sources_have_the_sections_and_algorithms_that_are_cited() {
    let document = document();
    let rows = document.lines().filter(|line| line.starts_with("| ") && line.matches(" | ").count() == 4);
    let mut cited = 0;
    for row in rows.filter(|line| !line.starts_with("| source |")) {
        let sources = row.trim_matches('|').split(" | ").next().unwrap();
        for source in sources.split(';').map(str::trim) {
            let Some((_, sections, algorithms)) =
                CITABLE.iter().find(|(name, ..)| source.split(' ').next() == Some(name))
            else {
                continue;
            };
            for part in source.split(", ").flat_map(|part| part.split(' ')).filter(|part| part.starts_with('§')) {
                for section in part.trim_start_matches('§').split('-') {
                    assert!(sections.contains(&section), "{source}: there is no section {section}");
                    cited += 1;
                }
            }
            if let Some((_, numbers)) = source.split_once("Alg. ") {
                let numbers = numbers.split(", ").map_while(|number| number.parse::<u32>().ok());
                numbers.for_each(|number| assert!(number <= *algorithms, "{source}: there is no algorithm {number}"));
                cited += 1;
            }
        }
    }
    assert!(cited >= 20, "{cited} citations");
}

#[test]
fn every_family_of_formulas_and_every_slip_is_there() {
    let document = document();
    let families = [
        "Forward process and schedules",
        "Posterior, and the step between any two times",
        "Prediction targets and their conversions",
        "Variational bound of a discrete schedule",
        "Losses",
        "Continuous-time losses",
        "Learned variance",
        "Decoder, prior, bits per dimension",
        "Guidance",
        "Score matching and Langevin dynamics",
        "Samplers",
        "Networks",
        "Data, training and metrics",
    ];
    for family in families {
        assert!(document.contains(&format!("\n### {family}\n")), "{family} is missing");
    }
    for x in 1..=50 {
        assert_eq!(document.matches(&format!("\n| X{x} | ")).count(), 1, "X{x}");
    }
}

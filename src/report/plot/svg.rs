//! The few pieces of SVG that panels and figures share.

use std::fmt::Write;

/// Colours distinguishable also without full colour vision (Okabe and Ito), darkest first.
pub(super) const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

pub(super) fn text(svg: &mut String, class: &str, [x, y]: [f64; 2], anchor: &str, content: &str) {
    let content = escape(content);
    add(svg, format_args!("<text{class} x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{content}</text>"));
}

pub(super) fn add(svg: &mut String, what: std::fmt::Arguments<'_>) {
    svg.write_fmt(what).expect("a string takes every write");
    svg.push('\n');
}

/// Escapes text for SVG and HTML.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

//! Pages that need nothing else, neither files nor network, and their parts.

use super::plot::escape;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

const STYLE: &str = include_str!("page/style.css");

/// Wraps `body`, which is HTML, in a page.
pub fn document(title: &str, subtitle: &str, body: &str) -> String {
    let (title, subtitle) = (escape(title), escape(subtitle));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>{title}</title>\n\
         <link rel=\"icon\" href=\"data:,\">\n<style>\n{STYLE}</style>\n<h1>{title}</h1>\n\
         <p class=\"soft\">{subtitle}</p>\n{body}</html>\n"
    )
}

/// Shows names and values in boxes; an empty text if there are none.
pub fn facts_list(facts: &[(String, String)]) -> String {
    let fact =
        |(name, value): &(String, String)| format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escape(name), escape(value));
    if facts.is_empty() {
        String::new()
    } else {
        format!("<dl>\n{}</dl>\n", facts.iter().map(fact).collect::<String>())
    }
}

/// Embeds a PNG image in a page.
pub fn png_figure(caption: &str, png: &[u8]) -> String {
    let (caption, data) = (escape(caption), BASE64_STANDARD.encode(png));
    format!(
        "<figure><img alt=\"{caption}\" src=\"data:image/png;base64,{data}\"><figcaption>{caption}</figcaption></figure>\n"
    )
}

/// Embeds an SVG document in a page; on a narrow screen it is pushed sideways rather than made illegible.
pub fn svg_figure(caption: &str, svg: &str) -> String {
    let caption = escape(caption);
    format!("<figure><div class=\"wide\">{svg}</div><figcaption>{caption}</figcaption></figure>\n")
}

/// Shows lines of code.
pub fn code_block(text: &str) -> String {
    format!("<pre>{}</pre>\n", escape(text.trim_end()))
}

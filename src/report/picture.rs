//! What all pictures share: their colours, in light or dark as the reader's system is, and how an SVG file begins.
use std::fmt::Write;

/// Colours of lines on white and on black: those of Okabe and Ito, which people with any colour vision tell apart, a
/// little darker on white where they are pale.
pub const COLOURS: [(&str, &str); 8] = [
    ("#0072b2", "#56b4e9"),
    ("#b3439a", "#e493c6"),
    ("#00805e", "#2fc797"),
    ("#c14f00", "#f08a3c"),
    ("#8a6d00", "#e6c229"),
    ("#3f6f99", "#9fc5e8"),
    ("#7a3e9d", "#c39be0"),
    ("#5a5a5a", "#b5b5b5"),
];

/// The beginning of a picture of this size, with the classes that are drawn by: `k0` to `k7` are colours, `ink` is text
/// and `faint` what stands behind the data.
pub fn head(width: f64, height: f64) -> String {
    let mut style = palette("svg");
    style += "svg text{fill:var(--ink);font:13px system-ui,sans-serif}svg .ground{fill:var(--ground)}\
              svg .faint{stroke:var(--faint)}svg path{fill:none;stroke-width:2}";
    for i in 0..COLOURS.len() {
        let _ = write!(style, "svg .k{i}{{stroke:var(--k{i});color:var(--k{i})}}");
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 \
         {width} {height}\">\n<style>{style}</style>\n<rect class=\"ground\" width=\"{width}\" height=\"{height}\"/>\n"
    )
}

/// The colours as variables of CSS, dark ones where the reader's system is dark; paper is white.
pub fn palette(selector: &str) -> String {
    let mut light = String::from("--ink:#1f2328;--faint:#d8dee4;--ground:#fff");
    let mut dark = String::from("--ink:#e6edf3;--faint:#30363d;--ground:#0d1117");
    for (i, (on_white, on_black)) in COLOURS.iter().enumerate() {
        let _ = write!(light, ";--k{i}:{on_white}");
        let _ = write!(dark, ";--k{i}:{on_black}");
    }
    format!(
        "{selector}{{{light}}}@media screen and (prefers-color-scheme:dark){{{selector}{{{dark}}}}}"
    )
}

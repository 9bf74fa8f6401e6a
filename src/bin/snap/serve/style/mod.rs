//! The style sheets of the pages. They share one palette with a light and a dark theme.

use snap_backup::codec::crypto::hash;

use crate::terminal::output;

/// The style sheet of all pages but the login page.
pub(super) const PAGES: &str = concat!(include_str!("palette.css"), include_str!("pages.css"));
/// The style of the login page. It is inlined, because a browser that is not signed in is sent nothing else.
pub(super) const LOGIN: &str = concat!(include_str!("palette.css"), include_str!("login.css"));
pub(super) const ICON: &str = include_str!("icon.svg");

/// Returns the Content-Security-Policy of the login page. It allows its own style, by its hash, and forms to
/// this server.
pub(super) fn login_policy() -> String {
    let hash = output::base64(&hash::sha256(LOGIN.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    type Palette = HashMap<&'static str, [f64; 3]>;

    /// Returns the colours of one theme of the palette.
    fn palette(text: &'static str) -> Palette {
        let colours = text.split("--").skip(1).filter_map(|rest| rest.split_once(": #"));
        let channel =
            |digits: &str, at: usize| f64::from(u8::from_str_radix(&digits[at..at + 2], 16).unwrap()) / 255.0;
        colours.map(|(name, digits)| (name, [0, 2, 4].map(|at| channel(digits, at)))).collect()
    }

    /// Returns the relative luminance as defined by WCAG 2.2.
    fn luminance(colour: &[f64; 3]) -> f64 {
        let linear = |c: f64| if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) };
        let [red, green, blue] = colour.map(linear);
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }

    /// Returns the contrast of two colours of the palette as defined by WCAG 2.2.
    fn contrast(palette: &Palette, one: &str, other: &str) -> f64 {
        let (one, other) = (luminance(&palette[one]), luminance(&palette[other]));
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    /// Text needs 4.5:1 (WCAG 1.4.3). Borders of controls, the focus outline and graphics need 3:1 (WCAG
    /// 1.4.11).
    #[test]
    fn contrasts_are_those_of_wcag_on_both_sides() {
        let (light, dark) = include_str!("palette.css").split_once("@media").unwrap();
        let grounds = ["ground", "raised", "hover"];
        let mut pairs = vec![
            ("on-strong", "strong", 4.5),
            ("bad", "bad-ground", 4.5),
            ("plus", "plus-ground", 4.5),
            ("other", "late-ground", 4.5),
            ("text", "plus-ground", 4.5),
            ("text", "bad-ground", 4.5),
            ("day-good", "raised", 3.0),
            ("day-partial", "raised", 3.0),
            ("day-failed", "raised", 3.0),
            ("day-none", "raised", 3.0),
        ];
        for ground in grounds {
            let texts = ["text", "faint", "link", "bad", "plus", "minus", "other"];
            pairs.extend(texts.map(|text| (text, ground, 4.5)));
            let drawn = ["edge", "strong", "c0", "c1", "c2", "c3", "c4", "c5"];
            pairs.extend(drawn.map(|colour| (colour, ground, 3.0)));
        }
        for (side, palette) in [("light", palette(light)), ("dark", palette(dark))] {
            assert_eq!(palette.len(), 27, "{side}");
            for (one, other, least) in &pairs {
                let found = contrast(&palette, one, other);
                assert!(found >= *least, "{side}: {one} on {other} has {found:.2}");
            }
        }
    }

    /// Other colours would have no dark theme, and their contrast would not be checked.
    #[test]
    fn colours_are_from_the_palette_and_controls_have_borders() {
        for sheet in [include_str!("pages.css"), include_str!("login.css")] {
            assert!(!sheet.contains(": #") && !sheet.contains(" #"), "a colour beside the palette");
            for rule in sheet.split('}').filter(|rule| rule.contains("border: 1px solid")) {
                let (selector, style) = rule.split_once('{').unwrap();
                let is_control = ["button", "input", "select", ".pages a", ".days a"]
                    .iter()
                    .any(|control| selector.contains(control));
                assert!(!is_control || style.contains("border: 1px solid var(--edge)"), "{rule}");
            }
        }
    }
}

//! Manual pages that are made from documents. Of Markdown, only headings, paragraphs, lists, tables, code
//! blocks, code spans, emphasis and links are supported.

use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use crate::process::program_name;

/// Pages of section 5: the name of the file, and its text.
pub(crate) fn section_five() -> [(&'static str, String); 1] {
    let mut page = Roff::new();
    let version = format!("{} {}", program_name::name(), env!("CARGO_PKG_VERSION"));
    page.control("TH", ["snap.toml", "5", "\"\"", &version]);
    page.control("SH", ["NAME"]).text([roman("snap.toml - configuration of snap")]);
    page.control("SH", ["DESCRIPTION"]);
    markdown(&program_name::text(include_str!("../../../../docs/configuration.md")), &mut page);
    page.control("SH", ["EXAMPLE"]);
    verbatim(program_name::text(include_str!("../config/template.toml")).lines(), &mut page);
    page.control("SH", ["SEE ALSO"]);
    let verbs = ["", "-config", "-backup", "-cleanup", "-schedule"];
    page.text([roman(verbs.map(|verb| format!("{}{verb}(1)", program_name::name())).join(", "))]);
    [("snap.toml.5", page.render())]
}

/// Appends a document without its title.
fn markdown(text: &str, page: &mut Roff) {
    let mut lines = text.lines().peekable();
    let is_start =
        |line: &str| line.is_empty() || ["#", "```", "|", "- "].iter().any(|start| line.starts_with(start));
    while let Some(line) = lines.next() {
        if line.starts_with("```") {
            let mut code = Vec::new();
            while let Some(line) = lines.next_if(|line| !line.starts_with("```")) {
                code.push(line);
            }
            let _ = lines.next();
            verbatim(code.into_iter(), page);
        } else if let Some(heading) = line.strip_prefix("## ") {
            page.control("SH", [heading.to_uppercase().as_str()]);
        } else if let Some(heading) = line.strip_prefix("### ") {
            page.control("SS", [heading]);
        } else if line.starts_with('|') {
            row(line, page);
        } else if !line.is_empty() && !line.starts_with('#') {
            // A paragraph or an item continues until something else begins.
            let (control, arguments, first) = match line.strip_prefix("- ") {
                Some(item) => ("IP", &["\\(bu", "2"][..], item),
                None => ("PP", &[][..], line),
            };
            let mut whole = first.to_owned();
            while let Some(next) = lines.next_if(|line| !is_start(line)) {
                whole.push(' ');
                whole.push_str(next.trim_start());
            }
            page.control(control, arguments.iter().copied()).text(inlines(&whole));
        }
    }
}

/// Appends a row of a table, as a term and its description. Rows that have no description are left out: the
/// head of the table and the line below it.
fn row(line: &str, page: &mut Roff) {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    let Some((term, rest)) = cells.split_first() else { return };
    let rest = rest.join("; ");
    if !rest.is_empty() && !term.starts_with("--") {
        page.control("TP", []).text(inlines(term)).text(inlines(&rest));
    }
}

fn verbatim<'a>(lines: impl Iterator<Item = &'a str>, page: &mut Roff) {
    page.control("PP", []).control("RS", ["4"]).control("nf", []);
    for line in lines {
        page.text([roman(line)]);
    }
    page.control("fi", []).control("RE", []);
}

/// Returns a line of text: code spans bold, emphasis italic or bold, links as their text.
fn inlines(text: &str) -> Vec<Inline> {
    let mut parts = Vec::new();
    for (number, part) in text.split('`').enumerate() {
        if number % 2 == 1 {
            parts.push(bold(part));
        } else {
            emphasis(&without_links(part), &mut parts);
        }
    }
    parts
}

fn emphasis(text: &str, parts: &mut Vec<Inline>) {
    for (number, strong) in text.split("**").enumerate() {
        if number % 2 == 1 {
            parts.push(bold(strong));
            continue;
        }
        for (number, part) in strong.split('*').enumerate() {
            parts.push(if number % 2 == 1 { italic(part) } else { roman(part) });
        }
    }
}

/// Replaces `[text](address)` by `text`.
fn without_links(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, link)) = rest.split_once('[') {
        out.push_str(before);
        let parts = link.split_once("](").filter(|(label, _)| !label.contains('['));
        match parts.and_then(|(label, tail)| Some((label, tail.split_once(')')?.1))) {
            Some((label, after)) => {
                out.push_str(label);
                rest = after;
            }
            None => {
                out.push('[');
                rest = link;
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> String {
        let mut page = Roff::new();
        markdown(text, &mut page);
        page.to_roff()
    }

    #[test]
    fn markdown_becomes_a_page() {
        let cases = [
            ("# Title\n\n## A head\ntext\nand *more*\n", ".SH \"A HEAD\"\n.PP\ntext and \\fImore\\fR\n"),
            ("- one\n  goes on\n- `two`\n", ".IP \\(bu 2\none goes on\n.IP \\(bu 2\n\\fBtwo\\fR\n"),
            (
                "| key | |\n|---|---|\n| `a`, `b` | is **so** |\n",
                ".TP\n\\fBa\\fR, \\fBb\\fR\nis \\fBso\\fR\n",
            ),
            ("see [the page](a.md#b), a [x] and `[y]`", ".PP\nsee the page, a [x] and \\fB[y]\\fR\n"),
            ("```\n.dot \\ and `x`\n```\n", ".PP\n.RS 4\n.nf\n\\&.dot \\\\ and `x`\n.fi\n.RE\n"),
        ];
        for (text, expected) in cases {
            let made = page(text);
            assert_eq!(made, expected, "{text}");
        }
    }

    #[test]
    fn the_page_of_the_configuration_describes_all_tables_of_keys() {
        let [(name, text)] = section_five();
        assert_eq!(name, "snap.toml.5");
        for part in [".SH KEYS", "password\\-file", "exclude\\-caches", ".SH EXAMPLE", "snap\\-config(1)"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}

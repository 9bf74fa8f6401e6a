//! Expands `${NAME}` and `${NAME:-default}` in texts of the configuration.

/// Expands variables. `$$` is a literal `$`; a `$` before anything but a brace is literal too.
///
/// # Errors
/// A variable is not set and has no default, or a brace is not closed.
pub(super) fn substitute(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        if let Some(after) = from.strip_prefix("$$") {
            out.push('$');
            rest = after;
        } else if let Some(inner) = from.strip_prefix("${") {
            let (inner, after) = inner.split_once('}').ok_or("`${` without `}`; write `$$` for a `$`")?;
            out.push_str(&value(inner, variable)?);
            rest = after;
        } else {
            out.push('$');
            rest = from.get(1..).unwrap_or_default();
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// Returns the value of a variable. An empty one counts as unset, because scripts unset variables that way.
fn value(inner: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(plain) {
        return Err(format!("`${{{inner}}}` is not a variable; write `$$` for a `$`"));
    }
    match (variable(name).filter(|value| !value.is_empty()), default) {
        (Some(value), _) => Ok(value),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => {
            Err(format!("the variable {name} is not set; `${{{name}:-DEFAULT}}` gives a default"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::substitute;

    fn with(text: &str) -> Result<String, String> {
        substitute(text, &|name| match name {
            "A" => Some("one".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        })
    }

    #[test]
    fn variables_and_defaults_are_put_in_place() {
        for (text, expected) in [
            ("x${A}y", "xoney"),
            ("${B:-two}${A:-two}", "twoone"),
            ("${EMPTY:-}", ""),
            ("$A costs $$5 ${A}$", "$A costs $5 one$"),
            ("$${A}", "${A}"),
            ("ä${A}ö", "äoneö"),
        ] {
            assert_eq!(with(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn unset_or_unclosed_variables_are_refused() {
        for text in ["${B}", "${EMPTY}", "${A", "${}", "${A-B}", "${1}"] {
            assert!(with(text).is_err(), "{text}");
        }
    }
}

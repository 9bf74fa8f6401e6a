//! Extracts credentials from the headers of a request: `Authorization` (RFC 9110, Basic by RFC 7617, Bearer
//! by RFC 6750) and `Cookie` (RFC 6265).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, COOKIE};
use zeroize::Zeroizing;

/// Returns the secret of the `Authorization` header: the token of Bearer, or the password of Basic. A
/// repeated header is ambiguous and ignored.
pub(super) fn authorization(headers: &HeaderMap) -> Option<Zeroizing<Vec<u8>>> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, rest) = value.to_str().ok()?.split_once(' ')?;
    let rest = rest.trim_matches(' ');
    if scheme.eq_ignore_ascii_case("bearer") {
        Some(Zeroizing::new(rest.as_bytes().to_vec()))
    } else if scheme.eq_ignore_ascii_case("basic") {
        let plain = Zeroizing::new(STANDARD.decode(rest).ok()?);
        // A user name has no colon, but a password may have several.
        let colon = plain.iter().position(|byte| *byte == b':')?;
        plain.get(colon + 1..).map(|password| Zeroizing::new(password.to_vec()))
    } else {
        None
    }
}

/// Returns the value of the cookie `name`; the first one if there are several.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let values = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = values.flat_map(|value| value.split(';')).filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().trim_matches('"'))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::serve) fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn basic_auth_takes_the_password_and_bearer_the_token() {
        let secret =
            |value: &str| authorization(&headers(&[("authorization", value)])).map(|secret| secret.to_vec());
        // Basic credentials: `anybody:token`, `me:a:b`, `:`, and `nobody` without a colon.
        let cases: [(&str, Option<&[u8]>); 11] = [
            ("Bearer token", Some(b"token")),
            ("bEARER  token ", Some(b"token")),
            ("Basic YW55Ym9keTp0b2tlbg==", Some(b"token")),
            ("basic bWU6YTpi", Some(b"a:b")),
            ("Basic Og==", Some(b"")),
            ("Basic bm9ib2R5", None),
            ("Basic YW55Ym9keTp0b2tlbg", None),
            ("Basic ?", None),
            ("Digest token", None),
            ("token", None),
            ("", None),
        ];
        for (value, expected) in cases {
            assert_eq!(secret(value).as_deref(), expected, "{value}");
        }
        let twice = headers(&[("authorization", "Bearer a"), ("authorization", "Bearer b")]);
        assert_eq!(authorization(&twice), None);
        assert_eq!(authorization(&HeaderMap::new()), None);
    }

    #[test]
    fn a_cookie_is_found_among_others_in_one_header_or_several() {
        let given = headers(&[("cookie", "a=1; b=2;c = \"3\""), ("cookie", "d=x=y; b=4; e")]);
        let found = ["a", "b", "c", "d", "e", "f"].map(|name| cookie(&given, name));
        assert_eq!(found, [Some("1"), Some("2"), Some("3"), Some("x=y"), None, None]);
    }
}

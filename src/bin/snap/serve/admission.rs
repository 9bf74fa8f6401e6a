//! Checks a request before it is routed: size limits, host name, and authentication.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::HeaderValue;
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Response, StatusCode, Uri, header};
use maud::html;
use tokio::time::timeout;

use super::pages;
use crate::serve::access::password::Tried;
use crate::serve::access::{Access, Admission};
use crate::serve::request::{Form, PageRequest};
use crate::serve::response::{Body, HttpError};
use crate::serve::{response, style};

/// Maximum length of a request's head in bytes.
const HEAD: usize = 32 << 10;
/// Maximum length of a URL in bytes. A path of 4096 bytes is three times as long if it is percent-encoded.
const ADDRESS: usize = 16 << 10;
/// Maximum length in bytes of a login form.
const FORM: usize = 4096;
/// Length of the random path component that paths for browsers begin with.
const BASE: usize = 43;
/// How long an unauthenticated client may take to send the login form.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The result of the checks.
pub(super) enum Checked {
    /// The request is to be routed. Links in pages begin with `base`, and the path of `asked` is relative to
    /// it.
    Admitted { asked: PageRequest, base: String },
    /// The request has been answered.
    Answered(Response<Body>),
}

/// Checks a request. Answers logins and requests that are not authenticated. The body is read only if it is a
/// login form.
///
/// # Errors
/// The request is rejected; the error is safe to show to an unauthenticated client.
pub(super) async fn pass(
    access: &Access,
    parts: &mut Parts,
    body: &mut Incoming,
    is_known: &AtomicBool,
) -> Result<Checked, HttpError> {
    bounded(parts)?;
    if !access.is_meant(&parts.uri, &parts.headers) {
        let why = "this server accepts requests only by address or as localhost; --allow-host adds names";
        return Err(HttpError::new(StatusCode::MISDIRECTED_REQUEST, why));
    }
    let below = access.below_base(parts.uri.path()).map(str::to_owned);
    let base = if below.is_some() { access.base().to_owned() } else { String::new() };
    if let Some(path) = below {
        parts.uri = with_path(&parts.uri, &path)?;
    }
    let mut asked = PageRequest::of(&parts.uri)?;
    if asked.first() == b"login" && parts.method == Method::POST {
        let given = login_form(body).await?;
        let next = String::from_utf8_lossy(given.value("next").unwrap_or_default()).into_owned();
        let answer = login(access, given.value("token").unwrap_or_default(), &next, is_known).await?;
        return Ok(Checked::Answered(answer));
    }
    if let Some(token) = asked.value("token") {
        return Ok(Checked::Answered(login_once(access, token, is_known)?));
    }
    // An automatic reload must not keep a browser signed in.
    let touches = asked.value("auto").is_none();
    match access.admit(&parts.headers, !base.is_empty(), touches, Instant::now()) {
        Admission::Refused => return Ok(Checked::Answered(turned_away(&asked, parts))),
        Admission::Token => {}
        Admission::Browser { number, csrf } => (asked.login, asked.csrf) = (Some(number), Some(csrf)),
    }
    is_known.store(true, Ordering::Relaxed);
    if asked.first() == b"logout" && parts.method == Method::POST {
        return Ok(Checked::Answered(redirect("/", &access.sign_out(&parts.headers))?));
    }
    Ok(Checked::Admitted { asked, base })
}

/// Handles the login form, which contains a token or the password.
async fn login(
    access: &Access,
    given: &[u8],
    next: &str,
    is_known: &AtomicBool,
) -> Result<Response<Body>, HttpError> {
    let now = Instant::now();
    if let Some(cookie) = access.sign_in(given, now) {
        return welcome(access, &cookie, next, is_known);
    }
    match access.sign_in_by_password(given, now).await {
        (_, Some(cookie)) => welcome(access, &cookie, next, is_known),
        (Tried::TooMany(wait), None) => {
            let seconds = wait.as_secs() + 1;
            let why = format!(
                "Too many wrong passwords. Try again in {seconds} seconds; the token is accepted at any \
                 time."
            );
            let mut response = login_page(&why, next);
            *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            Ok(response)
        }
        _ => Ok(login_page("This is neither the token nor the password.", next)),
    }
}

/// Handles the printed URL.
fn login_once(access: &Access, token: &[u8], is_known: &AtomicBool) -> Result<Response<Body>, HttpError> {
    match access.sign_in_once(token, Instant::now()) {
        Some(cookie) => welcome(access, &cookie, "", is_known),
        None => {
            let why = "The token in the address is wrong or was used already: it signs in one browser, \
                       once.";
            Ok(login_page(why, ""))
        }
    }
}

/// Checks the limits exactly; the HTTP library may accept slightly more than it was configured for.
fn bounded(parts: &Parts) -> Result<(), HttpError> {
    let address = parts.uri.path_and_query().map_or(0, |it| it.as_str().len());
    if address > ADDRESS {
        let why = format!("an address can have at most {ADDRESS} bytes");
        return Err(HttpError::new(StatusCode::URI_TOO_LONG, why));
    }
    let lines = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    if address + lines.sum::<usize>() + parts.method.as_str().len() + 14 > HEAD {
        let why = format!("the headers of a request can have at most {HEAD} bytes");
        return Err(HttpError::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, why));
    }
    Ok(())
}

fn with_path(uri: &Uri, path: &str) -> Result<Uri, HttpError> {
    let bad = || HttpError::new(StatusCode::BAD_REQUEST, "this is not a valid address");
    let text = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(text.parse::<PathAndQuery>().map_err(|_| bad())?);
    Uri::from_parts(parts).map_err(|_| bad())
}

async fn login_form(body: &mut Incoming) -> Result<Form, HttpError> {
    let whole = timeout(TIMEOUT, Limited::new(body, FORM).collect()).await;
    let late = |_| HttpError::new(StatusCode::REQUEST_TIMEOUT, "the form is incomplete");
    let bad = |_| HttpError::new(StatusCode::BAD_REQUEST, "the form has no token");
    let bytes: Bytes = whole.map_err(late)?.map_err(bad)?.to_bytes();
    Form::parse(&bytes)
}

/// Redirects to the requested page, and sets a cookie so that the URL needs no token.
fn welcome(
    access: &Access,
    cookie: &str,
    next: &str,
    is_known: &AtomicBool,
) -> Result<Response<Body>, HttpError> {
    is_known.store(true, Ordering::Relaxed);
    let is_page = next.starts_with('/') && next.bytes().all(|byte| byte.is_ascii_graphic());
    redirect(&format!("{}{}", access.base(), if is_page { next } else { "/" }), cookie)
}

fn redirect(to: &str, cookie: &str) -> Result<Response<Body>, HttpError> {
    let bad = |_| HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, "cannot create a cookie");
    let mut response = response::see_other(to)?;
    response.headers_mut().insert(header::SET_COOKIE, HeaderValue::from_str(cookie).map_err(bad)?);
    Ok(response)
}

/// Returns the response to an unauthenticated client. It reveals only how to sign in.
fn turned_away(asked: &PageRequest, parts: &Parts) -> Response<Body> {
    if asked.first() != b"dav" {
        let next = if parts.method == Method::GET { next_of(&parts.uri) } else { String::new() };
        return login_page(
            "To sign in, open the address that the server printed when it started, or enter the token or the \
             password.",
            &next,
        );
    }
    let why = "sign in as any user, with the token that `snap serve` printed as the password";
    let mut response = response::text(StatusCode::UNAUTHORIZED, why);
    let how = HeaderValue::from_static("Basic realm=\"snap\", charset=\"UTF-8\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, how);
    response
}

/// Returns the requested page, for a redirect after the login. Removes a prefix that an earlier server
/// process has generated.
fn next_of(uri: &Uri) -> String {
    let wanted = uri.path_and_query().map(PathAndQuery::as_str).unwrap_or_default();
    let path = wanted.strip_prefix('/').unwrap_or(wanted);
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    let is_base = first.len() == BASE
        && first.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if is_base { format!("/{rest}") } else { wanted.to_owned() }
}

/// Returns the login page. It contains nothing about the repository, not even its name.
fn login_page(why: &str, next: &str) -> Response<Body> {
    let page = pages::login(html! {
        p role="alert" { (why) }
        form method="post" action="/login" {
            input type="hidden" name="next" value=(next);
            label for="token" { "Token or password" }
            input #token type="password" name="token" autocomplete="current-password" required autofocus;
            button { "Sign in" }
        }
        p.note {
            "The token is printed where " code { "snap serve" } " was started, or in the file of " code { "--token-file" }
            ". " code { "snap serve passwd" } " sets a password."
        }
    });
    let mut response = response::page(StatusCode::UNAUTHORIZED, page, "");
    // With Basic, browsers would show their own prompt instead of the login form.
    let how = HeaderValue::from_static("Bearer realm=\"snap\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, how);
    if let Ok(policy) = HeaderValue::from_str(&style::login_policy()) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn login_leads_to_the_requested_page_also_after_a_restart() {
        let old = "A".repeat(BASE);
        for (asked, next) in [
            ("/s/ab/x?from=y".to_owned(), "/s/ab/x?from=y"),
            ("/".to_owned(), "/"),
            (format!("/{old}/s/ab"), "/s/ab"),
            (format!("/{old}"), "/"),
            (format!("/{old}/?refresh=off"), "/?refresh=off"),
        ] {
            assert_eq!(next_of(&asked.parse().unwrap()), next, "{asked}");
        }
    }
}

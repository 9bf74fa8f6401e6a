//! HTTP requests to receivers of notifications. The only module that uses ureq. A URL is a secret: no
//! message contains it.

use std::time::Duration;

use snap_backup::storage::tls::Tls;

/// Sends a GET request, or a POST if there is a body. Redirects are followed.
///
/// # Errors
/// Why the request failed, without the URL.
pub(super) fn send(url: &str, body: Option<(&str, &[u8])>, timeout: Duration) -> Result<(), String> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        .tls_config(Tls::default().config())
        .user_agent(concat!("snap/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
    let sent = match body {
        None => agent.get(url).call(),
        Some((kind, bytes)) => agent.post(url).header("Content-Type", kind).send(bytes),
    };
    sent.map(drop).map_err(|err| describe_error(&err))
}

fn describe_error(error: &ureq::Error) -> String {
    match error {
        ureq::Error::StatusCode(code) => format!("it answered {code}"),
        ureq::Error::Timeout(_) => "it did not answer in time".to_owned(),
        ureq::Error::HostNotFound => "its host name cannot be resolved".to_owned(),
        ureq::Error::ConnectionFailed => "the connection failed".to_owned(),
        ureq::Error::Io(err) => err.to_string(),
        ureq::Error::TooManyRedirects => "too many redirects".to_owned(),
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => "the TLS connection failed".to_owned(),
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => "it is not a URL".to_owned(),
        _ => "the request failed".to_owned(),
    }
}

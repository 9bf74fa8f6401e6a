//! TLS certificates: which servers are trusted, and how this client identifies itself.

use std::path::Path;
use std::sync::OnceLock;

use ureq::tls::{Certificate, ClientCert, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::error::{Error, Result};

/// The certificates of TLS connections. The default trusts the system's certificate authorities, and sends no
/// client certificate.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    roots: Option<RootCerts>,
    client: Option<ClientCert>,
}

impl Tls {
    /// Reads certificates from PEM files: `roots` are the authorities to trust instead of the system's,
    /// `client` is a certificate chain with its private key.
    ///
    /// # Errors
    /// A file cannot be read, or does not contain what it should.
    pub fn from_files(roots: Option<&Path>, client: Option<&Path>) -> Result<Self> {
        let roots = roots.map(|path| match read(path)? {
            (certificates, _) if certificates.is_empty() => Err(contains_no("certificate", path)),
            (certificates, _) => Ok(RootCerts::new_with_certs(&certificates)),
        });
        let client = client.map(|path| match read(path)? {
            (certificates, _) if certificates.is_empty() => Err(contains_no("certificate", path)),
            (_, None) => Err(contains_no("private key", path)),
            (certificates, Some(key)) => Ok(ClientCert::new_with_certs(&certificates, key)),
        });
        Ok(Self { roots: roots.transpose()?, client: client.transpose()? })
    }

    /// Returns the settings for ureq.
    pub fn config(&self) -> TlsConfig {
        let roots = self.roots.clone().unwrap_or_else(system_roots);
        TlsConfig::builder().root_certs(roots).client_cert(self.client.clone()).build()
    }
}

/// Returns the trusted authorities as OpenSSL does: those of `SSL_CERT_FILE` and `SSL_CERT_DIR`, otherwise
/// the system's. If the system has none, as in an empty container, returns Mozilla's, which are compiled in.
fn system_roots() -> RootCerts {
    static FOUND: OnceLock<RootCerts> = OnceLock::new();
    let find = || {
        // Certificates that cannot be read are left out, as OpenSSL does: a server that needs them is not
        // trusted.
        let found = rustls_native_certs::load_native_certs().certs;
        let is_chosen = ["SSL_CERT_FILE", "SSL_CERT_DIR"].iter().any(|name| std::env::var_os(name).is_some());
        if found.is_empty() && !is_chosen {
            return RootCerts::WebPki;
        }
        let found: Vec<_> = found.iter().map(|found| Certificate::from_der(found).to_owned()).collect();
        RootCerts::new_with_certs(&found)
    };
    FOUND.get_or_init(find).clone()
}

/// Returns the certificates and the first private key of a file.
fn read(path: &Path) -> Result<(Vec<Certificate<'static>>, Option<ureq::tls::PrivateKey<'static>>)> {
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    let (mut certificates, mut private) = (Vec::new(), None);
    for item in parse_pem(&bytes) {
        match item {
            Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
            Ok(PemItem::PrivateKey(key)) => private = private.or(Some(key)),
            Ok(_) => {}
            Err(err) => return Err(Error::Usage(format!("cannot use {}: {err}", path.display()))),
        }
    }
    Ok((certificates, private))
}

fn contains_no(what: &str, path: &Path) -> Error {
    Error::Usage(format!("{} contains no {what} in PEM format", path.display()))
}

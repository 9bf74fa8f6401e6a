//! Locations on object stores: `s3://bucket/prefix`, `s3:https://host/bucket/prefix`, `gs://bucket/prefix`,
//! `az://container/prefix`, and their clients.

use std::fmt;
use std::sync::Arc;

use object_store::RetryConfig;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;

use crate::storage::http::Http;
use crate::storage::object_store::Bucket;
use crate::storage::object_store::http_bridge::Connector;

/// The protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Amazon S3 and compatible servers.
    S3,
    /// Google Cloud Storage.
    Google,
    /// Azure Blob Storage.
    Azure,
}

impl Protocol {
    const ALL: [Self; 3] = [Self::S3, Self::Google, Self::Azure];

    fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3://",
            Self::Google => "gs://",
            Self::Azure => "az://",
        }
    }

    /// Returns the prefix of its environment variables.
    fn variables(self) -> &'static str {
        match self {
            Self::S3 => "AWS_",
            Self::Google => "GOOGLE_",
            Self::Azure => "AZURE_",
        }
    }
}

/// How a location on a named S3 server begins.
const SERVERS: [&str; 2] = ["s3:https://", "s3:http://"];

/// A bucket (or container) and a path in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectStoreUrl {
    pub(super) kind: Protocol,
    /// The server, as in `https://host:port`, if the location names it.
    endpoint: Option<String>,
    bucket: String,
    /// Without slashes at its ends; may be empty.
    pub(super) prefix: String,
}

impl ObjectStoreUrl {
    /// Returns whether a text is meant as such a location, valid or not.
    pub fn is_meant(text: &[u8]) -> bool {
        let mut begins = Protocol::ALL.iter().map(|kind| kind.scheme()).chain(SERVERS);
        begins.any(|begin| text.starts_with(begin.as_bytes()))
    }

    /// Parses `s3://bucket/prefix` and the like, or `s3:https://host/bucket/prefix`. Without a prefix the repository has
    /// the bucket to itself.
    ///
    /// # Errors
    /// The reason why it is invalid, for the user.
    pub fn parse(text: &str) -> Result<Self, String> {
        if SERVERS.iter().any(|begin| text.starts_with(begin)) {
            return Self::parse_with_server(text);
        }
        let found =
            Protocol::ALL.into_iter().find_map(|kind| Some((kind, text.strip_prefix(kind.scheme())?)));
        let (kind, rest) = found.ok_or("it does not begin with s3://, gs:// or az://")?;
        Self::of_bucket(kind, rest)
    }

    /// Parses `s3:https://host[:port]/bucket[/prefix]`.
    fn parse_with_server(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or((text, ""));
        let (server, rest) = rest.split_once('/').unwrap_or((rest, ""));
        if server.contains('@') {
            return Err("it cannot contain keys: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY".into());
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
        if server.is_empty() || !server.chars().all(plain) {
            return Err("the server is missing: s3:https://HOST/BUCKET/PATH".into());
        }
        let endpoint = format!("{}://{server}", scheme.trim_start_matches("s3:"));
        let place = Self::of_bucket(Protocol::S3, rest)
            .map_err(|_| "the bucket is missing: s3:https://HOST/BUCKET/PATH")?;
        Ok(Self { endpoint: Some(endpoint), ..place })
    }

    /// Parses `bucket/prefix`.
    fn of_bucket(kind: Protocol, rest: &str) -> Result<Self, String> {
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if bucket.is_empty() || !bucket.chars().all(plain) {
            return Err(format!("the bucket is missing: {}bucket/path", kind.scheme()));
        }
        let prefix = prefix.trim_matches('/');
        let odd = |part: &str| matches!(part, "" | "." | "..") || part.chars().any(char::is_control);
        if !prefix.is_empty() && prefix.split('/').any(odd) {
            return Err("its path has an empty part, or . or ..".into());
        }
        Ok(Self { kind, endpoint: None, bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }

    /// Creates the client, configured by the variables.
    ///
    /// # Errors
    /// The variable that is missing or wrong.
    pub(super) fn open(
        &self,
        variables: &[(String, String)],
        http: &Arc<Http>,
    ) -> object_store::Result<Box<dyn Bucket>> {
        // Requests are repeated by the caller, which knows their meaning.
        let once = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        let begin = self.kind.variables();
        let ours = variables.iter().filter(|(name, value)| name.starts_with(begin) && !value.is_empty());
        let ours = ours.map(|(name, value)| (name.to_ascii_lowercase(), value));
        let connector = Connector(Arc::clone(http));
        Ok(match self.kind {
            Protocol::S3 => {
                // Sends a checksum, by which the server detects corruption in transit.
                let first = AmazonS3Builder::new().with_checksum_algorithm(Checksum::SHA256);
                let set = |builder: AmazonS3Builder, (name, value): (String, &String)| match name
                    .parse::<AmazonS3ConfigKey>(
                ) {
                    Ok(key) => builder.with_config(key, value),
                    Err(_) => builder,
                };
                let builder = ours.fold(first, set).with_bucket_name(&self.bucket);
                let builder = match &self.endpoint {
                    Some(endpoint) => builder.with_endpoint(endpoint),
                    None => builder,
                };
                let builder = match self.endpoint.as_deref().and_then(region) {
                    Some(region) => builder.with_region(region),
                    None => builder,
                };
                let builder = builder.with_allow_http(true).with_disable_bulk_delete(true);
                Box::new(builder.with_retry(once).with_http_connector(connector).build()?)
            }
            Protocol::Google => {
                let set = |builder: GoogleCloudStorageBuilder, (name, value): (String, &String)| {
                    name.parse().map_or(builder.clone(), |key| builder.with_config(key, value))
                };
                let builder = ours.fold(GoogleCloudStorageBuilder::new(), set).with_bucket_name(&self.bucket);
                Box::new(builder.with_retry(once).with_http_connector(connector).build()?)
            }
            Protocol::Azure => {
                let set = |builder: MicrosoftAzureBuilder, (name, value): (String, &String)| {
                    name.parse().map_or(builder.clone(), |key| builder.with_config(key, value))
                };
                let builder = ours.fold(MicrosoftAzureBuilder::new(), set).with_container_name(&self.bucket);
                let builder = builder.with_allow_http(true);
                Box::new(builder.with_retry(once).with_http_connector(connector).build()?)
            }
        })
    }
}

/// Returns the region that is part of the name of a server of Amazon's: requests must be signed for it.
fn region(endpoint: &str) -> Option<&str> {
    let (_, host) = endpoint.split_once("://s3")?;
    host.strip_suffix(".amazonaws.com")?.strip_prefix(['.', '-']).filter(|region| !region.contains('.'))
}

impl fmt::Display for ObjectStoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.endpoint {
            Some(endpoint) => write!(f, "s3:{endpoint}/{}", self.bucket)?,
            None => write!(f, "{}{}", self.kind.scheme(), self.bucket)?,
        }
        if self.prefix.is_empty() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

/// Returns which environment variables hold the credentials for a server that denied access.
pub fn credentials(what: &str) -> Option<&'static str> {
    match what.split_once("://")?.0 {
        "s3" => Some(
            "the keys are read from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (AWS_SESSION_TOKEN for temporary ones), the \
             region from AWS_REGION: set those of the bucket (docs/remote.md)",
        ),
        "gs" => Some(
            "the credentials are read from the file in GOOGLE_APPLICATION_CREDENTIALS: set it to a key that \
             may use the bucket (docs/remote.md)",
        ),
        "az" => Some(
            "the account is read from AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY: set those of the container \
             (docs/remote.md)",
        ),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn urls_roundtrip() {
        for (text, kind, prefix, url) in [
            ("s3://bucket/a/b/", Protocol::S3, "a/b", "s3://bucket/a/b"),
            ("s3://my.bucket-1", Protocol::S3, "", "s3://my.bucket-1"),
            ("s3:https://minio:9000/b/x/", Protocol::S3, "x", "s3:https://minio:9000/b/x"),
            ("s3:http://[::1]:9000/b", Protocol::S3, "", "s3:http://[::1]:9000/b"),
            ("gs://b/x", Protocol::Google, "x", "gs://b/x"),
            ("az://c/x y", Protocol::Azure, "x y", "az://c/x y"),
        ] {
            let place = ObjectStoreUrl::parse(text).unwrap();
            assert_eq!((place.kind, place.prefix.as_str(), place.to_string().as_str()), (kind, prefix, url));
        }
    }

    #[test]
    fn the_region_is_read_from_a_server_of_amazon_and_from_no_other() {
        for (endpoint, found) in [
            ("https://s3.eu-central-1.amazonaws.com", Some("eu-central-1")),
            ("https://s3-us-west-2.amazonaws.com", Some("us-west-2")),
            ("https://s3.amazonaws.com", None),
            ("https://s3.eu-central-1.wasabisys.com", None),
            ("http://minio:9000", None),
        ] {
            assert_eq!(region(endpoint), found, "{endpoint}");
        }
    }

    #[test]
    fn invalid_urls_are_refused() {
        for text in [
            "s3:https://",
            "s3:https://host",
            "s3:http:///b",
            "s3:https://me:key@host/b",
            "s3:https://h/b/../c",
            "s3://",
            "s3:///a",
            "s3://me:secret@b/a",
            "s3://b/a//c",
            "s3://b/../c",
            "http://b",
            "s3:b",
        ] {
            assert!(ObjectStoreUrl::parse(text).is_err(), "{text}");
        }
    }
}

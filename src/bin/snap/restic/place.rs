//! Converts repository locations from restic's syntax.

use std::ffi::{OsStr, OsString};

/// Returns the location in snap's syntax. An unsupported location is returned unchanged, and rejected later
/// with its name.
pub(super) fn to_snap_syntax(repo: &OsStr) -> OsString {
    let Some(text) = repo.to_str() else { return repo.to_owned() };
    let Some((word, rest)) = text.split_once(':') else { return repo.to_owned() };
    let here = match word {
        "local" => Some(rest.to_owned()),
        "gs" | "azure" if !rest.starts_with("//") => rest.split_once(':').map(|(bucket, path)| {
            let scheme = if word == "gs" { "gs" } else { "az" };
            format!("{scheme}://{bucket}/{}", path.trim_start_matches('/'))
        }),
        "s3" if !rest.starts_with("//") => bucket(rest),
        _ => None,
    };
    here.map_or_else(|| repo.to_owned(), OsString::from)
}

/// Converts an S3 bucket: of Amazon by its name, of another server with its address.
fn bucket(rest: &str) -> Option<String> {
    let (scheme, place) = rest.split_once("://").unwrap_or(("https", rest));
    let (host, path) = place.split_once('/')?;
    let is_amazon = host == "s3.amazonaws.com";
    Some(if is_amazon { format!("s3://{path}") } else { format!("s3:{scheme}://{host}/{path}") })
}

#[cfg(test)]
mod tests {
    use super::to_snap_syntax;

    #[test]
    fn places_are_translated_and_others_stay() {
        for (restic, snap) in [
            ("/srv/r", "/srv/r"),
            ("local:/srv/r", "/srv/r"),
            ("sftp:me@h:/srv/r", "sftp:me@h:/srv/r"),
            ("rest:https://h/x/", "rest:https://h/x/"),
            ("gs:bucket:/a/b", "gs://bucket/a/b"),
            ("azure:box:/a", "az://box/a"),
            ("s3:s3.amazonaws.com/bucket/a", "s3://bucket/a"),
            ("s3:s3.eu-central-1.amazonaws.com/bucket", "s3:https://s3.eu-central-1.amazonaws.com/bucket"),
            ("s3://bucket/a", "s3://bucket/a"),
            ("s3:https://minio:9000/bucket", "s3:https://minio:9000/bucket"),
            ("s3:http://minio:9000/bucket/a", "s3:http://minio:9000/bucket/a"),
            ("s3:minio.example.org/bucket/a", "s3:https://minio.example.org/bucket/a"),
            ("b2:bucket:a", "b2:bucket:a"),
        ] {
            assert_eq!(to_snap_syntax(restic.as_ref()), snap, "{restic}");
        }
    }
}

//! Where backups are kept: the text of `backup-url`, and of the address that a restore is given. Opens nothing.

use std::path::PathBuf;

use crate::layout::BackupId;

/// Where backups are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A folder that is there.
    Folder(PathBuf),
    /// A bucket of an object store that speaks S3, and what the names of all objects begin with.
    Bucket { bucket: String, prefix: String },
}

/// Which backup is to be restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The newest good one, with its log as far as it goes.
    Latest,
    /// This one, as it is.
    Id(BackupId),
    /// What was there at the end of this second, Unix time.
    Second(i64),
}

impl Target {
    /// Reads `file:///folder` or `s3://bucket/prefix`.
    pub fn parse(url: &str) -> Result<Self, String> {
        if let Some(path) = url.strip_prefix("file://") {
            let is_plain =
                path.starts_with('/') && path != "/" && path.split('/').all(|it| it != "..");
            let path = PathBuf::from(path);
            return if is_plain {
                Ok(Self::Folder(path))
            } else {
                Err("file:// must be followed by the absolute path of a folder".to_owned())
            };
        }
        let Some(rest) = url.strip_prefix("s3://") else {
            return Err("must begin with file:// or s3://".to_owned());
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() || !bucket.bytes().all(is_of_bucket) {
            return Err("s3:// must be followed by the name of a bucket".to_owned());
        }
        let prefix = prefix.trim_end_matches('/');
        let is_bad = |part: &str| {
            part.is_empty() || part == "." || part == ".." || part.bytes().any(|it| it < b' ')
        };
        if !prefix.is_empty() && prefix.split('/').any(is_bad) {
            return Err("the prefix has an empty part, or one of dots only".to_owned());
        }
        Ok(Self::Bucket { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }

    /// Reads the address of a restore: a target, and which backup there: `@latest`, `@id` or `@moment`.
    pub fn parse_wanted(text: &str) -> Result<(Self, Wanted), String> {
        let at = text.rfind('@').filter(|at| !text[*at..].contains('/'));
        let Some(at) = at else { return Ok((Self::parse(text)?, Wanted::Latest)) };
        let (url, which) = (&text[..at], &text[at + 1..]);
        let target = Self::parse(url)?;
        if which == "latest" {
            return Ok((target, Wanted::Latest));
        }
        if let Some(id) = BackupId::parse(which) {
            return Ok((target, Wanted::Id(id)));
        }
        match which.parse::<jiff::Timestamp>() {
            Ok(moment) => Ok((target, Wanted::Second(moment.as_second()))),
            Err(_) => Err(format!(
                "'{which}' is neither 'latest' nor the id of a backup nor a moment as 2026-11-30T10:00:00Z"
            )),
        }
    }

    /// As people see it.
    pub fn shown(&self) -> String {
        match self {
            Self::Folder(path) => format!("file://{}", path.display()),
            Self::Bucket { bucket, prefix } if prefix.is_empty() => format!("s3://{bucket}"),
            Self::Bucket { bucket, prefix } => format!("s3://{bucket}/{prefix}"),
        }
    }
}

fn is_of_bucket(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b".-_".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let bucket = |bucket: &str, prefix: &str| Target::Bucket {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        };
        let check = |url: &str, expected: Option<Target>| {
            assert_eq!(Target::parse(url).ok(), expected, "{url}");
        };
        check("file:///var/backups", Some(Target::Folder("/var/backups".into())));
        check("file://var/backups", None);
        check("file:///", None);
        check("file:///a/../b", None);
        check("s3://b", Some(bucket("b", "")));
        check("s3://b/", Some(bucket("b", "")));
        check("s3://b/a/c/", Some(bucket("b", "a/c")));
        check("s3://b//a", None);
        check("s3://b/../a", None);
        check("s3:///a", None);
        check("http://b/a", None);
        check("", None);
        assert_eq!(bucket("b", "a/c").shown(), "s3://b/a/c");
    }

    #[test]
    fn addresses_of_restores() {
        let wanted = |text: &str| Target::parse_wanted(text).ok().map(|it| it.1);
        assert_eq!(wanted("s3://b/a"), Some(Wanted::Latest));
        assert_eq!(wanted("s3://b/a@latest"), Some(Wanted::Latest));
        assert_eq!(wanted("s3://b/a@b/c"), Some(Wanted::Latest));
        let id = BackupId::parse("20261130T100000Z-0123abcd").unwrap();
        assert_eq!(wanted("s3://b/a@20261130T100000Z-0123abcd"), Some(Wanted::Id(id)));
        let moment = Some(Wanted::Second(1_796_032_800));
        assert_eq!(wanted("file:///b/a@2026-11-30T10:00:00Z"), moment);
        assert_eq!(wanted("s3://b/a@2026-11-30T11:00:00+01:00"), moment);
        assert_eq!(wanted("s3://b/a@yesterday"), None);
        assert_eq!(wanted("s3://b/a@"), None);
    }
}

//! By which right, and where, a bucket is reached: by directives, or else as the tools of AWS do: by the environment, then the
//! files of the user, then what the machine gives.

use std::path::PathBuf;

use object_store::aws::AmazonS3Builder;

/// What the configuration says; all of it may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    pub endpoint: String,
    pub region: String,
    pub access_key: String,
    pub secret_key: String,
    pub timeout_seconds: u32,
}

impl Access {
    /// Where requests go, if not to AWS.
    pub(super) fn endpoint(&self) -> Option<String> {
        let variables = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];
        let of_environment = || variables.iter().find_map(|it| variable(it));
        let configured = Some(self.endpoint.clone()).filter(|it| !it.is_empty());
        configured.or_else(of_environment).or_else(|| Profile::of_user().get("endpoint_url"))
    }

    /// Adds what the directives and the user's files say.
    pub(super) fn apply(&self, mut builder: AmazonS3Builder) -> AmazonS3Builder {
        let profile = Profile::of_user();
        if let Some(endpoint) = self.endpoint() {
            builder = builder.with_endpoint(endpoint);
        }
        let region = Some(self.region.clone()).filter(|it| !it.is_empty());
        let region =
            region.or_else(|| variable("AWS_REGION")).or_else(|| variable("AWS_DEFAULT_REGION"));
        if let Some(region) = region.or_else(|| profile.get("region")) {
            builder = builder.with_region(region);
        }
        if !self.access_key.is_empty() {
            return builder
                .with_access_key_id(&self.access_key)
                .with_secret_access_key(&self.secret_key);
        }
        let has_other = ["AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE"];
        if has_other.iter().any(|it| variable(it).is_some()) {
            return builder;
        }
        if let (Some(key), Some(secret)) =
            (profile.get("aws_access_key_id"), profile.get("aws_secret_access_key"))
        {
            builder = builder.with_access_key_id(key).with_secret_access_key(secret);
            if let Some(token) = profile.get("aws_session_token") {
                builder = builder.with_token(token);
            }
        }
        builder
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|it| !it.is_empty())
}

/// What the files of the user say of the profile in force.
struct Profile(Vec<(String, String)>);

impl Profile {
    fn of_user() -> Self {
        let name = variable("AWS_PROFILE").unwrap_or_else(|| "default".to_owned());
        let home = variable("HOME").map(PathBuf::from);
        let file = |override_name: &str, default: &str| {
            let path = variable(override_name).map(PathBuf::from);
            path.or_else(|| Some(home.as_ref()?.join(".aws").join(default)))
        };
        let mut settings = Vec::new();
        let files =
            [file("AWS_SHARED_CREDENTIALS_FILE", "credentials"), file("AWS_CONFIG_FILE", "config")];
        for path in files.into_iter().flatten() {
            // A file that is not there, or cannot be read, says nothing.
            if let Ok(text) = std::fs::read_to_string(path) {
                settings.extend(read_profile(&text, &name));
            }
        }
        Self(settings)
    }

    fn get(&self, name: &str) -> Option<String> {
        self.0.iter().find(|it| it.0 == name).map(|it| it.1.clone())
    }
}

/// The settings of a profile in a file of AWS's form. Settings of settings, which are indented, are left out.
fn read_profile(text: &str, profile: &str) -> Vec<(String, String)> {
    let mut is_meant = false;
    let mut settings = Vec::new();
    for line in text.lines() {
        let is_indented = line.starts_with([' ', '\t']);
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(header) = line.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
            let name = header.trim();
            is_meant = name.strip_prefix("profile ").unwrap_or(name).trim() == profile;
        } else if let Some((name, value)) = line.split_once('=')
            && is_meant
            && !is_indented
            && !value.trim().is_empty()
        {
            settings.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::read_profile;

    #[test]
    fn files_of_aws_are_read() {
        let text = "# mine\n[default]\naws_access_key_id = A\naws_secret_access_key=S=\n\n[profile two]\nregion = r\n\
                    s3 =\n  endpoint_url = nested\nREGION2=x\n[three]\nregion = z\n";
        let check = |profile: &str, expected: &[(&str, &str)]| {
            let expected: Vec<_> =
                expected.iter().map(|it| (it.0.to_owned(), it.1.to_owned())).collect();
            assert_eq!(read_profile(text, profile), expected, "{profile}");
        };
        check("default", &[("aws_access_key_id", "A"), ("aws_secret_access_key", "S=")]);
        check("two", &[("region", "r"), ("region2", "x")]);
        check("three", &[("region", "z")]);
        check("four", &[]);
    }
}

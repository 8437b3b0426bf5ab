//! Users in files: those of the configuration, and the file that `aclfile` names. A file with anything wrong in it
//! changes nothing.

use std::io::Read;

use rubine_acl::Users;
use rubine_config::{Config, ConfigError, UserLine, reason, replace_file};

use super::AccessControl;

/// A file of users is written by people, or by ACL SAVE.
const FILE_BYTES_MAX: u64 = 256 << 20;

const BOTH: &str = "Users are defined in the configuration file, and it names a file of users by 'aclfile' as well. One of \
     the two would be lost sooner or later, and security with it: please define users in one place.";

const TOO_LARGE: &str = "the file is too large";

/// Takes the users that the configuration has, or the file that it names.
pub(crate) fn load_at_start(access: &AccessControl, config: &Config) -> Result<(), String> {
    if !config.aclfile.is_empty() && !config.users.is_empty() {
        return Err(BOTH.to_owned());
    }
    declare(access, &config.users)?;
    if !config.aclfile.is_empty() {
        let loaded = access.change(|users| load(users, &config.aclfile));
        loaded.map_err(|errors| {
            let errors = String::from_utf8_lossy(&errors).into_owned();
            format!("Aborting startup because of ACL errors: {errors}")
        })?;
    }
    Ok(())
}

/// Takes the users of the configuration's lines.
fn declare(access: &AccessControl, lines: &[UserLine]) -> Result<(), String> {
    let words: Vec<_> = lines.iter().map(|it| it.words.clone()).collect();
    access.change(|users| users.declare(&words)).map_err(|errors| {
        let texts = errors.into_iter().map(|error| {
            let reason = String::from_utf8_lossy(&error.text).into_owned();
            ConfigError { line: lines[error.index].line.clone(), reason }.to_string()
        });
        texts.collect::<Vec<_>>().join("\n")
    })?;
    let users = access.users();
    let declared = lines.iter().filter_map(|line| users.get(line.words.first()?));
    for user in declared.filter(|it| !it.is_enabled()) {
        tracing::info!(
            "The user '{}' is disabled (there is no 'on' modifier in the user description). Make sure this is not a \
             configuration error.",
            String::from_utf8_lossy(user.name())
        );
    }
    Ok(())
}

/// Takes the users of a file in place of `users`. On error, what ACL LOAD says behind `ERR`.
pub(crate) fn load(users: &mut Users, path: &str) -> Result<(), Vec<u8>> {
    let text = read(path).map_err(|error| {
        format!("Error loading ACLs, opening file '{path}': {}", reason(&error)).into_bytes()
    })?;
    users.load(path, &text).map_err(|errors| errors.text())
}

/// Writes all users to a file, which is the old or the new one at any time.
pub(crate) fn save(users: &Users, path: &str) -> std::io::Result<()> {
    replace_file(path.as_ref(), &users.to_file())
}

fn read(path: &str) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut text)?;
    if FILE_BYTES_MAX < text.len() as u64 {
        return Err(std::io::Error::other(TOO_LARGE));
    }
    Ok(text)
}

//! The files that the pattern of an `include` names. Reads folders, never files.

use std::path::{Component, Path, PathBuf};

use rubine_base::glob::{Case, matches};

use super::values::reason;

/// More files than this in one include are a mistake in the pattern.
const FILES_MAX: usize = 10_000;

/// The existing paths that match `pattern`, taken from `base`, in the order of their names. As in a
/// shell, a star does not match a slash, nor the dot that hides a file.
pub(super) fn matching_files(base: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let mut found = vec![base.to_owned()];
    for component in Path::new(pattern).components() {
        let Component::Normal(name) = component else {
            found = found.iter().map(|path| path.join(component)).collect();
            continue;
        };
        let name = name.to_str().expect("a component of a str is a str");
        if name.contains(['*', '?', '[']) {
            let mut deeper = Vec::new();
            for folder in found {
                deeper.extend(matching_entries(&folder, name)?);
            }
            found = deeper;
        } else {
            found = found.iter().map(|path| path.join(name)).filter(|path| path.exists()).collect();
        }
        if FILES_MAX < found.len() {
            return Err(format!("More than {FILES_MAX} files match '{pattern}'"));
        }
    }
    Ok(found)
}

/// The entries of one folder. A folder that cannot be listed matches nothing.
fn matching_entries(folder: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(|error| reason(&error))?.file_name();
        let bytes = name.as_encoded_bytes();
        let is_hidden = bytes.starts_with(b".") && !pattern.starts_with('.');
        if !is_hidden && matches(pattern.as_bytes(), bytes, Case::Sensitive) {
            found.push(folder.join(name));
        }
    }
    found.sort();
    Ok(found)
}

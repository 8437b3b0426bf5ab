//! The configuration in force: CONFIG GET and SET. A change is prepared on a copy, checked, applied by
//! the caller and only then published, so that nobody ever sees half of it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rubine_base::glob::{Case, matches};

use super::load::ConfigSource;
use super::table::directive::{Directive, Traits, find};
use super::table::{Config, DIRECTIVES};
use crate::values::ReplicaOf;

/// The configuration in force and where it came from.
pub struct ConfigStore {
    current: ArcSwap<Config>,
    source: ConfigSource,
    /// What was in force at the start.
    initial: Arc<Config>,
    /// Held while a change is prepared, applied and published, and while the file is rewritten.
    writing: Mutex<()>,
}

/// What decides whether a CONFIG SET is let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setter {
    /// Whether the client comes from this machine.
    pub is_local: bool,
    /// Whether a dataset is being loaded.
    pub is_loading: bool,
}

/// The refusal of whoever applies a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The directive that cannot be applied.
    pub directive: &'static str,
    pub reason: String,
}

/// Why CONFIG SET changed nothing. The text is the reply, without the code in front of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// Reply with the syntax error.
    #[error("syntax error")]
    Syntax,
    /// Reply with LOADING.
    #[error("the dataset is being loaded")]
    Loading,
    #[error("Unknown option or number of arguments for CONFIG SET - '{0}'")]
    Unknown(String),
    #[error("CONFIG SET failed (possibly related to argument '{name}') - {reason}")]
    Failed { name: String, reason: String },
}

impl Config {
    /// The names (in their order) and values that match any of `patterns`. A pattern without a wildcard
    /// is a name, which is given back as it was asked for.
    pub fn get(&self, patterns: &[&[u8]]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for pattern in patterns {
            if pattern.iter().any(|byte| b"*?[".contains(byte)) {
                let shown = DIRECTIVES.iter().filter(|it| !it.traits.contains(Traits::HIDDEN));
                for directive in shown {
                    for name in [Some(directive.name), directive.alias].into_iter().flatten() {
                        if matches(pattern, name.as_bytes(), Case::Insensitive) {
                            found.push((name.as_bytes().to_vec(), directive.text(self)));
                        }
                    }
                }
            } else if let Some(directive) = find(pattern) {
                found.push((pattern.to_vec(), directive.text(self)));
            }
        }
        found.sort();
        found.dedup_by(|(name, _), (earlier, _)| name.eq_ignore_ascii_case(earlier));
        found
    }

    /// The configuration after `arguments`, alternating names and values, and the directives that have
    /// changed. `self` stays as it is.
    fn with(
        &self,
        arguments: &[&[u8]],
        setter: Setter,
    ) -> Result<(Self, Vec<&'static Directive>), SetError> {
        let (pairs, []) = arguments.as_chunks::<2>() else {
            return Err(SetError::Syntax);
        };
        let directives = self.settable(pairs, setter)?;
        let mut config = self.clone();
        let mut changed = Vec::new();
        for (directive, [name, value]) in directives.iter().copied().zip(pairs) {
            let failed = |reason| SetError::Failed {
                name: String::from_utf8_lossy(name).to_ascii_lowercase(),
                reason,
            };
            if directive.traits.contains(Traits::ACCUMULATES) {
                directive.assign(&mut config, &[b""]).map_err(failed)?;
            }
            let values: Vec<&[u8]> = if directive.traits.contains(Traits::MANY_ARGUMENTS) {
                value.split(|byte| *byte == b' ').collect()
            } else {
                vec![value]
            };
            directive.assign(&mut config, &values).map_err(failed)?;
            let differs = directive.text(&config) != directive.text(self);
            if differs && directive.traits.contains(Traits::FIXED) {
                return Err(failed("can't be changed while the server runs".to_owned()));
            }
            if differs || directive.traits.contains(Traits::VOLATILE) {
                changed.push(directive);
            }
        }
        config.settle().map_err(|error| SetError::Failed {
            name: String::from_utf8_lossy(pairs[0][0]).into_owned(),
            reason: error.reason,
        })?;
        Ok((config, changed))
    }

    /// The directives that a CONFIG SET names, if all of them may be set. The first fault counts.
    fn settable(
        &self,
        pairs: &[[&[u8]; 2]],
        setter: Setter,
    ) -> Result<Vec<&'static Directive>, SetError> {
        let protected_is_allowed = self.enable_protected_configs.allows(setter.is_local);
        let mut directives: Vec<&'static Directive> = Vec::new();
        for [name, _] in pairs {
            let text = String::from_utf8_lossy(name).into_owned();
            let Some(directive) = find(name) else {
                return Err(SetError::Unknown(text));
            };
            let traits = directive.traits;
            let reason = if traits.contains(Traits::IMMUTABLE) {
                "can't set immutable config"
            } else if traits.contains(Traits::PROTECTED) && !protected_is_allowed {
                "can't set protected config"
            } else if traits.contains(Traits::NOT_WHILE_LOADING) && setter.is_loading {
                return Err(SetError::Loading);
            } else if directives.iter().any(|it| std::ptr::eq(*it, directive)) {
                "duplicate parameter"
            } else {
                directives.push(directive);
                continue;
            };
            return Err(SetError::Failed { name: text, reason: reason.to_owned() });
        }
        Ok(directives)
    }
}

impl ConfigStore {
    pub fn new(config: Config, source: ConfigSource) -> Self {
        let initial = Arc::new(config);
        let current = ArcSwap::new(Arc::clone(&initial));
        Self { current, source, initial, writing: Mutex::new(()) }
    }

    /// The configuration in force. Take it once for a piece of work.
    pub fn load(&self) -> Arc<Config> {
        self.current.load_full()
    }

    /// Where the configuration was read from at the start.
    pub fn source(&self) -> &ConfigSource {
        &self.source
    }

    /// Where the value of a directive comes from, in words.
    pub fn origin(&self, directive: &Directive) -> String {
        if directive.text(&self.load()) != directive.text(&self.initial) {
            return "set since the start".to_owned();
        }
        let origins = self.source.origins.iter();
        let origin = origins.into_iter().find(|(name, _)| *name == directive.name);
        origin.map_or("the default".to_owned(), |(_, origin)| origin.clone())
    }

    /// CONFIG SET: all of `arguments` (alternating names and values), or nothing.
    ///
    /// `apply` brings the rest of the server from the old to the new configuration. When it refuses it
    /// must have left everything as it was. It is not called when nothing changes.
    pub fn set(
        &self,
        arguments: &[&[u8]],
        setter: Setter,
        mut apply: impl FnMut(&Config, &Config, &[&'static Directive]) -> Result<(), Refusal>,
    ) -> Result<(), SetError> {
        let _writing = self.writing.lock();
        let old = self.load();
        let (new, changed) = old.with(arguments, setter)?;
        if changed.is_empty() {
            return Ok(());
        }
        apply(&old, &new, &changed).map_err(|Refusal { directive, reason }| {
            tracing::warn!(
                "Failed applying new configuration. Possibly related to new {directive} setting. \
                 Restoring previous settings."
            );
            SetError::Failed { name: directive.to_owned(), reason }
        })?;
        for note in changed.iter().filter_map(|directive| directive.note(&new)) {
            tracing::info!("{note}");
        }
        self.current.store(Arc::new(new));
        Ok(())
    }

    /// Has this server follow another, or nobody: what REPLICAOF says is what CONFIG REWRITE writes.
    pub fn set_replicaof(&self, replicaof: Option<ReplicaOf>) {
        let _writing = self.writing.lock();
        let config = Config { replicaof, ..(*self.load()).clone() };
        self.current.store(Arc::new(config));
    }

    /// Does something for the sake of `config` if that is in force still, and stays so until it is done. Returns whether it
    /// was.
    pub fn if_unchanged(&self, config: &Arc<Config>, act: impl FnOnce()) -> bool {
        let _writing = self.writing.lock();
        let is_unchanged = Arc::ptr_eq(config, &self.load());
        if is_unchanged {
            act();
        }
        is_unchanged
    }

    /// CONFIG REWRITE: writes what is in force into the file that the server was started with, with a line for
    /// each of what is `listed`.
    pub fn rewrite(
        &self,
        scope: super::RewriteScope,
        listed: super::Listed<'_>,
    ) -> Result<(), super::RewriteError> {
        let _writing = self.writing.lock();
        let path = self.source.file.as_deref().ok_or(super::RewriteError::NoFile)?;
        self.load().rewrite_file(path, scope, listed)
    }
}

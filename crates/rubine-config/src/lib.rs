//! The configuration: one table of directives, a plain struct of their values, the readers of files
//! and of the command line, CONFIG GET, SET and REWRITE. Never applies a value itself: who opens
//! sockets or files is told what changed.

#![forbid(unsafe_code)]

mod alerting;
mod checks;
mod environment;
mod include;
mod line;
mod load;
mod quota;
mod rewrite;
mod setting;
mod store;
mod table;
mod template;
#[cfg(test)]
mod tests;
mod values;

pub use alerting::{AlertLabels, AlertWebhooks};
pub use line::{ConfigLine, SentinelLine, UserLine};
pub use load::{ConfigError, ConfigSource, Mode};
pub use quota::{Per, QuotaMode, QuotaRule, QuotaSubject, Rate};
pub use rewrite::{Listed, RewriteError, RewriteScope, replace_file};
pub use setting::{Rule, parse_memory};
pub use store::{ConfigStore, Refusal, SetError, Setter};
pub use table::directive::{Directive, Support, Traits, closest, find, names};
pub use table::{Config, DIRECTIVES};
pub use template::expand_template;
pub use values::{
    AclPubsubDefault, Appendfsync, AuditEvents, BusyReplyScope, ClusterAutoRebalance,
    ClusterConfigSaveBehavior, ClusterPreferredEndpointType, KeyspaceEvents, LogFormat, LogLevel,
    LogTimestampFormat, MaxmemoryPolicy, MemoryOrPercent, OomScoreAdj, OutputBufferLimit,
    OutputBufferLimits, PropagationErrorBehavior, ProtectedAction, RdbVersion, RdbVersionCheck,
    ReplDisklessLoad, ReplicaOf, SanitizeDumpPayload, SavePoint, ShutdownOptions, Supervised,
    SyslogFacility, TlsAuthClients, TlsAuthClientsUser, WorkingDirectory,
};
pub use values::{path_of, reason};

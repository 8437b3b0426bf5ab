//! Alerts as a state machine: rules over metrics, what they found, and what receivers are to be told. Knows no server, no
//! socket, no thread, no file and no clock: values and the time go in, notifications come out.

#![forbid(unsafe_code)]

mod builtin;
mod duration;
mod expression;
mod labels;
mod line;
mod machine;
mod payload;
mod rule;
mod silence;
mod values;
mod webhook;

pub use builtin::{Backups, Builtin, Situation, builtins};
pub use duration::{format_duration, parse_duration};
pub use expression::{EvaluationError, Evaluator, Expression, ParseError};
pub use labels::{Labels, Matcher, fingerprint};
pub use line::RuleLine;
pub use machine::{
    Alert, Alerts, AlertsError, GROUP_WAIT_MS, Group, Identity, Moment, Notification, QUIET_MS,
    REFRESH_MS, REPEAT_MS, RuleReport, State, TICK_MS,
};
pub use payload::{Payload, payload_of};
pub use rule::{NoData, Rule, Severity};
pub use silence::Silence;
pub use values::{Values, Visit};
pub use webhook::{Format, WEBHOOKS_MAX, Webhook};

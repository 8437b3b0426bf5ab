//! The section of INFO about quotas.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use super::super::quota::facts;
use super::{Source, Text};

pub(super) fn quotas(source: &Source<'_>, text: &mut Text) {
    let table = source.server.quotas.table();
    let total = |count: &dyn Fn(&crate::quotas::Quota) -> u64| -> u64 {
        table.quotas().iter().map(|it| count(it)).sum()
    };
    text.field("quotas", table.quotas().len());
    text.field("quota_delayed", total(&|it| it.counts.delayed.load(Ordering::Relaxed)));
    text.field("quota_refused", total(&|it| it.counts.refused.load(Ordering::Relaxed)));
    text.field("quota_observed", total(&|it| it.counts.observed.load(Ordering::Relaxed)));
    for (number, quota) in table.quotas().iter().enumerate() {
        let rule = &quota.rule;
        let (kind, name) = (rule.subject.kind(), escaped(&rule.subject.name()));
        let mut line = format!("kind={kind},name={name},mode={}", rule.mode.name());
        for (name, value) in facts(quota) {
            write!(line, ",{name}={value}").expect("writing to a string cannot fail");
        }
        text.field(&format!("quota{number}"), line);
    }
}

/// A name without what has a meaning in a line of INFO: such bytes as in an address of the web, `%2C` for a comma.
fn escaped(name: &[u8]) -> String {
    let escape = |&byte: &u8| match byte {
        b',' | b'=' | b'%' => format!("%{byte:02X}"),
        _ if byte.is_ascii_graphic() => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    name.iter().map(escape).collect()
}

//! The rules that every server has. Threshold, times and severity can be set; what they look at cannot.

use crate::expression::Expression;
use crate::labels::Labels;
use crate::rule::{NoData, Rule, Severity};

const MINUTE: u64 = 60_000;

/// A rule that every server has.
#[derive(Debug)]
pub struct Builtin {
    pub name: &'static str,
    /// The expression, with `$T` where the threshold stands.
    template: &'static str,
    /// What stands there if nothing else is said.
    pub threshold: Threshold,
    /// By how much the threshold is lower (or higher) for an alert that fires.
    hold_by: f64,
    /// For how long it must be so, if nothing else is said.
    pub for_ms: u64,
    pub severity: Severity,
    needs: Needs,
    pub summary: &'static str,
    pub description: &'static str,
}

/// Where a threshold comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Threshold {
    /// The rule has none.
    None,
    Of(f64),
    /// Twice the longest time that save points ask for, in seconds.
    TwiceTheSavePoints,
}

/// What there must be for a rule to have a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    Nothing,
    Maxmemory,
    SavePoints,
}

/// What of the configuration rules depend on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Situation {
    /// The longest time that save points ask for, in seconds, if there are save points.
    pub save_seconds_max: Option<u64>,
    pub has_maxmemory: bool,
}

/// What an operator wants of a built-in rule otherwise than it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tuning {
    pub is_off: bool,
    pub threshold: Option<f64>,
    pub for_ms: Option<u64>,
    pub keep_ms: Option<u64>,
    pub severity: Option<Severity>,
}

/// Why a built-in rule is not looked at.
pub(crate) const SWITCHED_OFF: &str = "it is switched off";

impl Builtin {
    /// Whether a threshold can be set.
    pub fn has_threshold(&self) -> bool {
        self.threshold != Threshold::None
    }

    /// The rule as it is in a situation, or why it is not looked at.
    pub(crate) fn rule(&self, tuning: &Tuning, situation: Situation) -> Result<Rule, &'static str> {
        if tuning.is_off {
            return Err(SWITCHED_OFF);
        }
        let default = match (self.threshold, situation.save_seconds_max) {
            (Threshold::None, _) => 0.0,
            (Threshold::Of(threshold), _) => threshold,
            (Threshold::TwiceTheSavePoints, seconds) => 2.0 * seconds.unwrap_or_default() as f64,
        };
        match self.needs {
            Needs::Maxmemory if !situation.has_maxmemory => return Err("maxmemory is not set"),
            Needs::SavePoints
                if situation.save_seconds_max.is_none() && tuning.threshold.is_none() =>
            {
                return Err("there are no save points");
            }
            _ => {}
        }
        let threshold = tuning.threshold.unwrap_or(default);
        let hold = self.expression(threshold + self.hold_by);
        Ok(Rule {
            name: self.name.to_owned(),
            expression: self.expression(threshold),
            hold: (self.hold_by != 0.0).then_some(hold),
            for_ms: tuning.for_ms.unwrap_or(self.for_ms),
            keep_ms: tuning.keep_ms.unwrap_or(MINUTE),
            severity: tuning.severity.unwrap_or(self.severity),
            // Its metrics are the server's own, so a lack of one is a fault that must be seen.
            no_data: NoData::Page,
            labels: Labels::new(),
            summary: self.summary.to_owned(),
            description: self.description.to_owned(),
        })
    }

    fn expression(&self, threshold: f64) -> Expression {
        let text = self.template.replace("$T", &threshold.to_string());
        Expression::parse(&text).expect("a test has read every template")
    }

    const fn new(
        name: &'static str,
        severity: Severity,
        for_ms: u64,
        template: &'static str,
        summary: &'static str,
        description: &'static str,
    ) -> Self {
        Self {
            name,
            template,
            threshold: Threshold::None,
            hold_by: 0.0,
            for_ms,
            severity,
            needs: Needs::Nothing,
            summary,
            description,
        }
    }

    const fn threshold(mut self, threshold: f64, hold_by: f64) -> Self {
        self.threshold = Threshold::Of(threshold);
        self.hold_by = hold_by;
        self
    }

    const fn needs(mut self, needs: Needs) -> Self {
        self.needs = needs;
        self
    }

    const fn twice_the_save_points(mut self) -> Self {
        self.threshold = Threshold::TwiceTheSavePoints;
        self.needs = Needs::SavePoints;
        self
    }
}

/// All of them, by topic.
pub fn builtins() -> &'static [Builtin] {
    BUILTINS
}

const BUILTINS: &[Builtin] = &[
    // Replication.
    Builtin::new(
        "ReplicaLost",
        Severity::Warning,
        MINUTE,
        "redis_connected_slaves < max_over_time(redis_connected_slaves[1h])",
        "A replica is gone",
        "{{ $value }} replicas are connected, fewer than there were within the last hour.",
    ),
    Builtin::new(
        "MasterLinkDown",
        Severity::Warning,
        MINUTE,
        "redis_master_link_up == 0",
        "The link to the master is down",
        "This replica does not hear from {{ $labels.master_host }}:{{ $labels.master_port }}.",
    ),
    Builtin::new(
        "MasterLinkDownLong",
        Severity::Critical,
        15 * MINUTE,
        "redis_master_link_up == 0",
        "The link to the master has been down for long",
        "This replica does not hear from {{ $labels.master_host }}:{{ $labels.master_port }}, and \
         its data grows old.",
    ),
    Builtin::new(
        "ReplicaLag",
        Severity::Warning,
        MINUTE,
        "redis_connected_slave_lag_seconds > $T",
        "A replica is behind",
        "{{ $labels.slave_ip }}:{{ $labels.slave_port }} has acknowledged nothing for \
         {{ $value }} s.",
    )
    .threshold(10.0, -5.0),
    Builtin::new(
        "FullSyncLoop",
        Severity::Warning,
        0,
        "increase(redis_replica_resyncs_full[10m]) >= $T",
        "Replicas begin anew again and again",
        "{{ $value }} full syncs in 10 minutes: the backlog may be too small, or a link breaks.",
    )
    .threshold(3.0, 0.0),
    // What is kept on disk.
    Builtin::new(
        "SaveTooOld",
        Severity::Warning,
        5 * MINUTE,
        "time() - redis_rdb_last_save_timestamp_seconds > $T and redis_rdb_changes_since_last_save > 0",
        "The last save is too old",
        "There are changes, and nothing has been saved for {{ $value }} s.",
    )
    .twice_the_save_points(),
    Builtin::new(
        "SaveFailed",
        Severity::Critical,
        0,
        "redis_rdb_last_bgsave_status == 0",
        "The last save has failed",
        "The data on disk is that of the save before. The log says why.",
    ),
    Builtin::new(
        "LogWriteFailed",
        Severity::Critical,
        0,
        "redis_aof_last_write_status == 0",
        "The append-only file cannot be written",
        "What is written now does not reach the disk. The log says why.",
    ),
    Builtin::new(
        "LogRewriteFailed",
        Severity::Warning,
        0,
        "redis_aof_last_bgrewrite_status == 0",
        "The append-only file could not be rewritten",
        "It goes on growing. The log says why.",
    ),
    Builtin::new(
        "DiskAlmostFull",
        Severity::Critical,
        MINUTE,
        "100 * rubine_disk_free_bytes / rubine_disk_size_bytes < $T",
        "The disk is almost full",
        "{{ $value }} % of the disk of the data folder are free.",
    )
    .threshold(10.0, 2.0),
    // Memory.
    Builtin::new(
        "MemoryHigh",
        Severity::Warning,
        2 * MINUTE,
        "100 * redis_memory_used_bytes / redis_memory_max_bytes > $T",
        "Memory is almost at maxmemory",
        "{{ $value }} % of maxmemory are in use.",
    )
    .threshold(90.0, -5.0)
    .needs(Needs::Maxmemory),
    Builtin::new(
        "SystemMemoryHigh",
        Severity::Critical,
        2 * MINUTE,
        "100 * redis_memory_used_rss_bytes / redis_total_system_memory_bytes > $T",
        "The server has almost all memory of the machine",
        "{{ $value }} % of the machine's memory are this server's.",
    )
    .threshold(90.0, -5.0),
    Builtin::new(
        "KeysEvicted",
        Severity::Warning,
        5 * MINUTE,
        "increase(redis_evicted_keys_total[5m]) > $T \
         and count(redis_instance_info{maxmemory_policy!~\"allkeys-.*\"}) > 0",
        "Keys are evicted where the policy should keep data",
        "{{ $value }} keys were evicted within 5 minutes.",
    )
    .threshold(0.0, 0.0),
    // Clients.
    Builtin::new(
        "ClientsHigh",
        Severity::Warning,
        2 * MINUTE,
        "100 * redis_connected_clients / redis_max_clients > $T",
        "Clients are almost as many as maxclients",
        "{{ $value }} % of maxclients are connected.",
    )
    .threshold(90.0, -5.0),
    Builtin::new(
        "ConnectionsRejected",
        Severity::Critical,
        0,
        "increase(redis_rejected_connections_total[1m]) > $T",
        "Connections are rejected",
        "{{ $value }} connections were rejected within a minute.",
    )
    .threshold(0.0, 0.0),
    Builtin::new(
        "LoginsRefused",
        Severity::Warning,
        0,
        "increase(redis_acl_access_denied_auth_total[5m]) > $T",
        "Many logins are refused",
        "{{ $value }} logins were refused within 5 minutes.",
    )
    .threshold(10.0, -5.0),
    Builtin::new(
        "SlowCommands",
        Severity::Warning,
        5 * MINUTE,
        "60 * rate(redis_slowlog_last_id[5m]) > $T",
        "Many commands are slow",
        "{{ $value }} commands a minute go to the slow log.",
    )
    .threshold(10.0, -5.0),
    Builtin::new(
        "WorkerStuck",
        Severity::Critical,
        0,
        "rubine_worker_turn_age_seconds > $T",
        "A worker is stuck",
        "Worker {{ $labels.worker }} has not come to the end of a turn for {{ $value }} s.",
    )
    .threshold(10.0, 0.0),
    Builtin::new(
        "CertificateEnds",
        Severity::Warning,
        0,
        "(rubine_tls_certificate_expires_timestamp_seconds - time()) / 86400 < $T",
        "A certificate ends soon",
        "The {{ $labels.certificate }} certificate ends in {{ $value }} days.",
    )
    .threshold(14.0, 0.0),
];

#[cfg(test)]
mod tests {
    use super::{BUILTINS, Situation, Tuning};

    #[test]
    fn every_template_is_an_expression() {
        let everything = Situation { save_seconds_max: Some(3600), has_maxmemory: true };
        for builtin in BUILTINS {
            let rule = builtin.rule(&Tuning::default(), everything).unwrap();
            let has_place = builtin.template.contains("$T");
            assert_eq!(has_place, builtin.has_threshold(), "{}", builtin.name);
            assert!(!rule.expression.text().contains('$'), "{}", builtin.name);
            let tuning = Tuning { threshold: Some(7.5), ..Tuning::default() };
            let tuned = builtin.rule(&tuning, everything).unwrap();
            assert_eq!(tuned.expression.text().contains("7.5"), has_place, "{}", builtin.name);
        }
    }

    #[test]
    fn names_are_unique() {
        for (index, builtin) in BUILTINS.iter().enumerate() {
            assert!(BUILTINS[..index].iter().all(|it| it.name != builtin.name), "{}", builtin.name);
        }
    }

    #[test]
    fn what_has_no_meaning_is_skipped() {
        let why = |name: &str, situation| {
            let builtin = BUILTINS.iter().find(|it| it.name == name).unwrap();
            builtin.rule(&Tuning::default(), situation).err()
        };
        let nothing = Situation::default();
        assert_eq!(why("MemoryHigh", nothing), Some("maxmemory is not set"));
        assert_eq!(why("SaveTooOld", nothing), Some("there are no save points"));
        assert_eq!(why("ClientsHigh", nothing), None);
        let saves = Situation { save_seconds_max: Some(900), ..nothing };
        let builtin = BUILTINS.iter().find(|it| it.name == "SaveTooOld").unwrap();
        let rule = builtin.rule(&Tuning::default(), saves).unwrap();
        assert!(rule.expression.text().contains("> 1800 "), "{}", rule.expression.text());
    }
}

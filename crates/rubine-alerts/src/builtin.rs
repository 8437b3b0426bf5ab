//! The rules that every server has. Threshold, times and severity can be set; what they look at cannot.

mod table;

use crate::expression::Expression;
use crate::labels::Labels;
use crate::rule::{NoData, Rule, Severity};

pub use self::table::builtins;

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
    /// Twice the longest time between two backups of the schedule, in seconds.
    TwiceTheSchedule,
}

/// What there must be for a rule to have a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    Nothing,
    Maxmemory,
    SavePoints,
    Cluster,
    Backups,
    BackupSchedule,
    BackupLog,
}

/// What of the configuration rules depend on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Situation {
    /// The longest time that save points ask for, in seconds, if there are save points.
    pub save_seconds_max: Option<u64>,
    pub has_maxmemory: bool,
    /// The server is a node of a cluster.
    pub is_node: bool,
    /// There is a place where backups are kept.
    pub backups: Option<Backups>,
}

/// What of the configuration of backups rules depend on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backups {
    /// The longest time between two of them, in seconds, if there is a schedule.
    pub seconds_max: Option<u64>,
    /// The log is kept beside them.
    pub has_log: bool,
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

/// Why built-in rules are not looked at.
const NO_BACKUPS: &str = "there is no backup-url";
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
        if let Some(reason) = self.needs.lacks(tuning, situation) {
            return Err(reason);
        }
        let twice = |seconds: Option<u64>| 2.0 * seconds.unwrap_or_default() as f64;
        let threshold = tuning.threshold.unwrap_or_else(|| match self.threshold {
            Threshold::None => 0.0,
            Threshold::Of(threshold) => threshold,
            Threshold::TwiceTheSavePoints => twice(situation.save_seconds_max),
            Threshold::TwiceTheSchedule => twice(situation.backups.and_then(|it| it.seconds_max)),
        });
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

    const fn twice_the_schedule(mut self) -> Self {
        self.threshold = Threshold::TwiceTheSchedule;
        self.needs = Needs::BackupSchedule;
        self
    }
}

impl Needs {
    /// What is not there of it.
    fn lacks(self, tuning: &Tuning, situation: Situation) -> Option<&'static str> {
        let has_threshold = tuning.threshold.is_some();
        let (is_there, reason) = match self {
            Self::Nothing => return None,
            Self::Maxmemory => (situation.has_maxmemory, "maxmemory is not set"),
            Self::SavePoints => {
                (situation.save_seconds_max.is_some() || has_threshold, "there are no save points")
            }
            Self::Cluster => (situation.is_node, "the server is no node of a cluster"),
            Self::Backups => (situation.backups.is_some(), NO_BACKUPS),
            Self::BackupSchedule if situation.backups.is_none() => (false, NO_BACKUPS),
            Self::BackupSchedule => (
                situation.backups.is_some_and(|it| it.seconds_max.is_some()) || has_threshold,
                "there is no backup-schedule",
            ),
            Self::BackupLog => {
                (situation.backups.is_some_and(|it| it.has_log), "there is no backup-pitr")
            }
        };
        (!is_there).then_some(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::{Backups, Situation, Tuning, builtins};

    /// That of a server for which all rules have a meaning.
    const EVERYTHING: Situation = Situation {
        save_seconds_max: Some(3600),
        has_maxmemory: true,
        is_node: true,
        backups: Some(Backups { seconds_max: Some(86_400), has_log: true }),
    };

    #[test]
    fn every_template_is_an_expression() {
        for builtin in builtins() {
            let rule = builtin.rule(&Tuning::default(), EVERYTHING).unwrap();
            let has_place = builtin.template.contains("$T");
            assert_eq!(has_place, builtin.has_threshold(), "{}", builtin.name);
            assert!(!rule.expression.text().contains('$'), "{}", builtin.name);
            let tuning = Tuning { threshold: Some(7.5), ..Tuning::default() };
            let tuned = builtin.rule(&tuning, EVERYTHING).unwrap();
            assert_eq!(tuned.expression.text().contains("7.5"), has_place, "{}", builtin.name);
        }
    }

    #[test]
    fn names_are_unique() {
        for (index, builtin) in builtins().iter().enumerate() {
            assert!(
                builtins()[..index].iter().all(|it| it.name != builtin.name),
                "{}",
                builtin.name
            );
        }
    }

    /// The expression of a rule, or why there is none.
    fn rule_of(name: &str, tuning: &Tuning, situation: Situation) -> Result<String, &'static str> {
        let builtin = builtins().iter().find(|it| it.name == name).unwrap();
        builtin.rule(tuning, situation).map(|it| it.expression.text().to_owned())
    }

    #[test]
    fn what_has_no_meaning_is_skipped() {
        let why = |name: &str, situation| rule_of(name, &Tuning::default(), situation).err();
        let nothing = Situation::default();
        assert_eq!(why("MemoryHigh", nothing), Some("maxmemory is not set"));
        assert_eq!(why("SaveTooOld", nothing), Some("there are no save points"));
        assert_eq!(why("ClientsHigh", nothing), None);
        for name in ["ClusterDown", "ClusterSlotsFail", "ClusterNodeFailed", "ClusterReplicasFew"] {
            assert_eq!(why(name, nothing), Some("the server is no node of a cluster"));
        }
        for name in ["BackupFailed", "BackupTooOld"] {
            assert_eq!(why(name, nothing), Some("there is no backup-url"));
        }
        let kept = Situation { backups: Some(Backups::default()), ..nothing };
        assert_eq!(why("BackupFailed", kept), None);
        assert_eq!(why("BackupTooOld", kept), Some("there is no backup-schedule"));
        assert_eq!(why("BackupLogBehind", kept), Some("there is no backup-pitr"));
    }

    #[test]
    fn thresholds_come_from_how_often_it_is_saved() {
        let of = |name: &str, situation| rule_of(name, &Tuning::default(), situation).unwrap();
        let saves = Situation { save_seconds_max: Some(900), ..Situation::default() };
        assert!(of("SaveTooOld", saves).contains("> 1800 "), "{}", of("SaveTooOld", saves));
        let nightly = of("BackupTooOld", EVERYTHING);
        assert_eq!(nightly.matches("> 172800").count(), 2, "{nightly}");
        let tuning = Tuning { threshold: Some(60.0), ..Tuning::default() };
        let by_hand = Situation { backups: Some(Backups::default()), ..Situation::default() };
        assert!(rule_of("BackupTooOld", &tuning, by_hand).unwrap().contains("> 60"));
    }
}

//! The state machine: rules are looked at in ticks, alerts go from inactive to pending, firing and resolved, and what is
//! new is handed out to be told. Reads no clock, sends nothing, and holds no more alerts than its bounds say.

mod instance;
mod watched;

use std::collections::BTreeMap;

use self::instance::{Instance, Phase};
use self::watched::Watched;
use crate::builtin::{Situation, Tuning, builtins};
use crate::labels::{Labels, Matcher};
use crate::line::RuleLine;
use crate::rule::{Rule, Severity};
use crate::silence::{Silence, Silences};
use crate::values::Values;

/// How often rules are to be looked at.
pub const TICK_MS: u64 = 5000;
/// Changes wait for so long for others, to be told together.
pub const GROUP_WAIT_MS: u64 = 30_000;
/// What goes on is told again after so long.
pub const REPEAT_MS: u64 = 4 * 3_600_000;
/// How often an Alertmanager hears of everything: it forgets what it no longer hears of.
pub const REFRESH_MS: u64 = 60_000;
/// It is told that an alert goes on for so long, so that a few lost messages resolve nothing.
const REFRESH_AHEAD_MS: u64 = 4 * REFRESH_MS;
/// Nothing fires for so long after the start, and after loading.
pub const QUIET_MS: u64 = 60_000;
/// An alert that has ended is remembered for so long.
const RESOLVED_KEPT_MS: u64 = 15 * 60_000;
/// One rule has no more alerts than this.
const INSTANCES_MAX: usize = 200;
/// Rules of one's own.
const OWN_RULES_MAX: usize = 200;

/// A moment, by the clock on the wall and by one that nobody sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub unix_ms: i64,
    pub monotonic_ms: u64,
}

/// Whose alerts these are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The label `instance` of every alert.
    pub instance: String,
    /// Further labels of every alert.
    pub labels: Labels,
}

/// Where an alert stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Pending,
    Firing,
    Resolved,
}

impl State {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

/// An alert as it is shown and told.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    pub rule: String,
    pub severity: Severity,
    pub state: State,
    pub labels: Labels,
    pub annotations: Labels,
    pub value: f64,
    /// When it began, Unix milliseconds.
    pub starts_at: i64,
    /// When it ended, or until when it is said to go on at least.
    pub ends_at: Option<i64>,
    pub is_silenced: bool,
}

/// Alerts that are told together, because some of them are new.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Whose alerts they are.
    pub instance: String,
    /// Those that fire, and those that have ended since the last time.
    pub alerts: Vec<Alert>,
}

impl Group {
    /// Firing, if any of them is.
    pub fn state(&self) -> State {
        let fires = self.alerts.iter().any(|it| it.state == State::Firing);
        if fires { State::Firing } else { State::Resolved }
    }
}

/// What is to be told.
#[derive(Clone, Debug, PartialEq)]
pub enum Notification {
    /// To people: what has changed since they were last told.
    Group(Group),
    /// To an Alertmanager, which groups by itself: everything as it is.
    Refresh(Vec<Alert>),
}

/// A rule and how it stands.
#[derive(Clone, Debug)]
pub struct RuleReport {
    pub name: String,
    pub is_builtin: bool,
    /// The rule, or why it is not looked at.
    pub rule: Result<Rule, &'static str>,
    /// Why it could not be evaluated.
    pub error: Option<String>,
    pub pending: usize,
    pub firing: usize,
}

/// Why something cannot be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertsError {
    TooManyRules,
    TooManySilences,
}

impl std::fmt::Display for AlertsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooManyRules => write!(f, "there are {OWN_RULES_MAX} rules, which is the most"),
            Self::TooManySilences => {
                write!(f, "there are {} silences, which is the most", Silences::MAX)
            }
        }
    }
}

/// The rules of a server and their alerts.
#[derive(Debug)]
pub struct Alerts {
    identity: Identity,
    lines: Vec<RuleLine>,
    situation: Situation,
    watched: Vec<Watched>,
    /// By their labels, with those that have ended a while ago.
    instances: BTreeMap<Labels, Instance>,
    silences: Silences,
    /// Nothing fires before.
    quiet_until_ms: Option<u64>,
    /// Since when something waits to be told.
    changed_ms: Option<u64>,
    told_ms: u64,
    refreshed_ms: u64,
    /// An Alertmanager is to hear at once.
    must_refresh: bool,
}

impl Alerts {
    /// Rules, the built-in ones among them, of which nothing is known yet.
    pub fn new(
        identity: Identity,
        lines: Vec<RuleLine>,
        situation: Situation,
    ) -> Result<Self, AlertsError> {
        let mut alerts = Self {
            identity,
            lines: Vec::new(),
            situation,
            watched: Vec::new(),
            instances: BTreeMap::new(),
            silences: Silences::default(),
            quiet_until_ms: None,
            changed_ms: None,
            told_ms: 0,
            refreshed_ms: 0,
            must_refresh: false,
        };
        for line in lines {
            alerts.put(line)?;
        }
        alerts.rebuild(None);
        Ok(alerts)
    }

    /// The `alert` lines in force.
    pub fn lines(&self) -> &[RuleLine] {
        &self.lines
    }

    /// Takes a line in place of an earlier one of the same name.
    pub fn set(&mut self, line: RuleLine, now: Moment) -> Result<(), AlertsError> {
        self.put(line)?;
        self.rebuild(Some(now));
        Ok(())
    }

    /// Removes a line: a rule of one's own is gone, a built-in one is as it was. Returns whether there was one.
    pub fn remove(&mut self, name: &str, now: Moment) -> bool {
        let before = self.lines.len();
        self.lines.retain(|it| !it.name().eq_ignore_ascii_case(name));
        self.rebuild(Some(now));
        self.lines.len() < before
    }

    /// Takes over what the configuration says now.
    pub fn adapt(&mut self, identity: Identity, situation: Situation, now: Moment) {
        if identity != self.identity || situation != self.situation {
            (self.identity, self.situation) = (identity, situation);
            self.rebuild(Some(now));
        }
    }

    /// Looks at all rules. While `is_loading`, and for a minute after, nothing fires.
    pub fn tick(
        &mut self,
        now: Moment,
        values: &dyn Values,
        is_loading: bool,
    ) -> Vec<Notification> {
        self.silences.expire(now.unix_ms);
        let quiet_until = self.quiet_until_ms.get_or_insert(now.monotonic_ms + QUIET_MS);
        if is_loading {
            *quiet_until = now.monotonic_ms + QUIET_MS;
        }
        let is_quiet = now.monotonic_ms < *quiet_until;
        for watched in &mut self.watched {
            let found = watched.look(now, values);
            if !is_quiet {
                self.must_refresh |= watched.judge(found, now, &self.identity, &mut self.instances);
            }
        }
        let is_forgotten = |it: &Instance| {
            matches!(it.phase, Phase::Resolved { at_ms, .. }
            if at_ms + RESOLVED_KEPT_MS <= now.monotonic_ms)
        };
        self.instances.retain(|_, it| !is_forgotten(it));
        let mut notifications = Vec::new();
        notifications.extend(self.refresh(now));
        notifications.extend(self.group(now));
        notifications
    }

    /// Every alert that is pending, fires or ended a while ago.
    pub fn alerts(&self) -> Vec<Alert> {
        self.instances.iter().map(|(labels, it)| self.alert(labels, it)).collect()
    }

    /// Every rule, and how it stands.
    pub fn rules(&self) -> Vec<RuleReport> {
        let count = |name: &str, state| {
            let is_counted = |it: &&Instance| it.rule == name && it.state() == state;
            self.instances.values().filter(is_counted).count()
        };
        let report = |it: &Watched| RuleReport {
            name: it.name.clone(),
            is_builtin: it.is_builtin,
            rule: it.rule.clone(),
            error: it.error.clone(),
            pending: count(&it.name, State::Pending),
            firing: count(&it.name, State::Firing),
        };
        self.watched.iter().map(report).collect()
    }

    /// Has alerts that meet all of the conditions not told until `ends_at`, Unix milliseconds. Returns the silence's number.
    pub fn silence(
        &mut self,
        matchers: Vec<Matcher>,
        now: Moment,
        ends_at: i64,
        author: String,
        comment: String,
    ) -> Result<u64, AlertsError> {
        let silence = Silence { id: 0, matchers, starts_at: now.unix_ms, ends_at, author, comment };
        self.silences.expire(now.unix_ms);
        self.silences.add(silence).ok_or(AlertsError::TooManySilences)
    }

    /// Ends a silence before its time. Returns whether there was one.
    pub fn unsilence(&mut self, id: u64) -> bool {
        self.silences.remove(id)
    }

    /// Silences that have not ended.
    pub fn silences(&self, now: Moment) -> Vec<Silence> {
        self.silences.all().iter().filter(|it| now.unix_ms < it.ends_at).cloned().collect()
    }

    /// An alert that says that alerts arrive.
    pub fn test_alert(&self, now: Moment) -> Alert {
        let rule = "Test".to_owned();
        let labels = watched::labels_of(
            &self.identity,
            &rule,
            Severity::Info,
            &Labels::new(),
            &Labels::new(),
        );
        let annotations = [
            ("summary", "This is a test"),
            ("description", "Somebody asked for it by ALERT TEST. Nothing is wrong."),
        ];
        let annotations = annotations.map(|(name, text)| (name.to_owned(), text.to_owned()));
        Alert {
            rule,
            severity: Severity::Info,
            state: State::Firing,
            labels,
            annotations: Labels::from(annotations),
            value: 1.0,
            starts_at: now.unix_ms,
            ends_at: Some(now.unix_ms + REFRESH_MS as i64),
            is_silenced: false,
        }
    }

    /// Whose alerts these are.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    fn put(&mut self, line: RuleLine) -> Result<(), AlertsError> {
        self.lines.retain(|it| !it.name().eq_ignore_ascii_case(line.name()));
        let own = self.lines.iter().filter(|it| matches!(it, RuleLine::Own(_))).count();
        if OWN_RULES_MAX <= own && matches!(line, RuleLine::Own(_)) {
            return Err(AlertsError::TooManyRules);
        }
        self.lines.push(line);
        Ok(())
    }

    /// Makes the rules anew from the lines. What is as it was goes on; what a rule that is gone found has ended.
    fn rebuild(&mut self, now: Option<Moment>) {
        let mut before = std::mem::take(&mut self.watched);
        let tuned = |name: &str| {
            self.lines.iter().find_map(|it| match it {
                RuleLine::Tuned { name: of, tuning } if *of == name => Some(tuning),
                _ => None,
            })
        };
        let plain = Tuning::default();
        let built_in = builtins().iter().map(|it| {
            let rule = it.rule(tuned(it.name).unwrap_or(&plain), self.situation);
            (it.name.to_owned(), true, rule)
        });
        let own = self.lines.iter().filter_map(|it| match it {
            RuleLine::Own(rule) => Some((rule.name.clone(), false, Ok(rule.as_ref().clone()))),
            RuleLine::Tuned { .. } => None,
        });
        let rules: Vec<_> = built_in.chain(own).collect();
        for (name, is_builtin, rule) in rules {
            let old = before.iter().position(|it| it.name == name).map(|it| before.swap_remove(it));
            self.watched.push(Watched::new(name, is_builtin, rule, old));
        }
        let Some(now) = now else { return };
        let is_there = |it: &Instance, labels: &Labels| {
            self.watched.iter().any(|watched| watched.finds(it, labels, &self.identity))
        };
        let gone = |(labels, it): &(&Labels, &Instance)| !is_there(it, labels);
        let gone: Vec<Labels> =
            self.instances.iter().filter(gone).map(|(labels, _)| labels.clone()).collect();
        for labels in gone {
            let instance = self.instances.get_mut(&labels).expect("it was just there");
            if instance.state() == State::Pending {
                self.instances.remove(&labels);
            } else {
                instance.resolve(now);
                self.must_refresh = true;
            }
        }
    }

    fn alert(&self, labels: &Labels, instance: &Instance) -> Alert {
        Alert {
            rule: instance.rule.clone(),
            severity: instance.severity,
            state: instance.state(),
            labels: labels.clone(),
            annotations: instance.annotations.clone(),
            value: instance.value,
            starts_at: instance.starts_at,
            ends_at: match instance.phase {
                Phase::Resolved { at_unix_ms, .. } => Some(at_unix_ms),
                Phase::Pending { .. } | Phase::Firing { .. } => None,
            },
            is_silenced: self.silences.covers(labels),
        }
    }

    /// What an Alertmanager is told: at once if anything has changed, and every minute as long as anything fires. What
    /// has ended is told as long as it is remembered, if it was told that it fires.
    fn refresh(&mut self, now: Moment) -> Option<Notification> {
        let is_due = self.refreshed_ms + REFRESH_MS <= now.monotonic_ms;
        if !is_due && !self.must_refresh {
            return None;
        }
        self.must_refresh = false;
        let mut alerts = Vec::new();
        for (labels, instance) in &self.instances {
            let mut alert = self.alert(labels, instance);
            let is_told = match alert.state {
                State::Pending => false,
                State::Firing => !alert.is_silenced,
                State::Resolved => instance.is_told_to_managers,
            };
            if is_told {
                let ahead = now.unix_ms + REFRESH_AHEAD_MS as i64;
                alert.ends_at = alert.ends_at.or(Some(ahead));
                alerts.push(alert);
            }
        }
        for alert in &alerts {
            let instance = self.instances.get_mut(&alert.labels);
            instance.expect("it was just there").is_told_to_managers = true;
        }
        self.refreshed_ms = now.monotonic_ms;
        (!alerts.is_empty()).then_some(Notification::Refresh(alerts))
    }

    /// What people are told: what is new, once it has waited for others; and what goes on, after hours.
    fn group(&mut self, now: Moment) -> Option<Notification> {
        let is_news = |(labels, it): (&Labels, &Instance)| match it.state() {
            State::Pending => false,
            State::Firing => !it.is_told && !self.silences.covers(labels),
            State::Resolved => it.is_told,
        };
        let has_news = self.instances.iter().any(is_news);
        let is_due = if has_news {
            let since = *self.changed_ms.get_or_insert(now.monotonic_ms);
            since + GROUP_WAIT_MS <= now.monotonic_ms
        } else {
            self.changed_ms = None;
            self.told_ms + REPEAT_MS <= now.monotonic_ms
        };
        if !is_due {
            return None;
        }
        let alerts = self.instances.iter().filter_map(|(labels, it)| {
            let alert = self.alert(labels, it);
            let is_told = match alert.state {
                State::Pending => false,
                State::Firing => !alert.is_silenced,
                State::Resolved => it.is_told,
            };
            is_told.then_some(alert)
        });
        let alerts: Vec<Alert> = alerts.collect();
        for alert in &alerts {
            let instance = self.instances.get_mut(&alert.labels).expect("it was just there");
            instance.is_told = alert.state == State::Firing;
        }
        self.changed_ms = None;
        if alerts.is_empty() {
            return None;
        }
        self.told_ms = now.monotonic_ms;
        Some(Notification::Group(Group { instance: self.identity.instance.clone(), alerts }))
    }
}

#[cfg(test)]
mod tests;

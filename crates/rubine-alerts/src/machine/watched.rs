//! One rule under watch: what it finds, and what becomes of its alerts. Tells nobody.

use std::collections::BTreeMap;

use super::instance::{Instance, Phase};
use super::{INSTANCES_MAX, Identity, Moment, State};
use crate::expression::Evaluator;
use crate::labels::Labels;
use crate::rule::{NoData, Rule, Severity, fill_in};
use crate::values::Values;

/// The label of the alert that says that a rule is blind.
const REASON: &str = "reason";
const NO_DATA: &str = "nodata";

#[derive(Debug)]
pub(super) struct Watched {
    pub(super) name: String,
    pub(super) is_builtin: bool,
    pub(super) rule: Result<Rule, &'static str>,
    evaluator: Option<Evaluator>,
    /// Of the condition under which an alert goes on.
    hold: Option<Evaluator>,
    pub(super) error: Option<String>,
}

/// What a look has found.
pub(super) struct Found {
    /// Series that meet the condition.
    met: Vec<(Labels, f64)>,
    /// Series that are enough for an alert to go on.
    held: Vec<Labels>,
}

impl Watched {
    /// A rule; what an earlier form of it remembers of the same expressions is kept.
    pub(super) fn new(
        name: String,
        is_builtin: bool,
        rule: Result<Rule, &'static str>,
        old: Option<Self>,
    ) -> Self {
        let (mut old_evaluator, mut old_hold) = (None, None);
        if let Some(old) = old {
            (old_evaluator, old_hold) = (old.evaluator, old.hold);
        }
        let mut evaluator = None;
        let mut hold = None;
        if let Ok(rule) = &rule {
            let is_same = |it: &Evaluator| it.expression().text() == rule.expression.text();
            let fresh = || Evaluator::new(rule.expression.clone());
            evaluator = Some(old_evaluator.filter(is_same).unwrap_or_else(fresh));
            hold = rule.hold.as_ref().map(|expression| {
                let is_same = |it: &Evaluator| it.expression().text() == expression.text();
                let fresh = || Evaluator::new(expression.clone());
                old_hold.take().filter(is_same).unwrap_or_else(fresh)
            });
        }
        Self { name, is_builtin, rule, evaluator, hold, error: None }
    }

    /// Evaluates the rule; nothing if it is not looked at or has no value.
    pub(super) fn look(&mut self, now: Moment, values: &dyn Values) -> Option<Found> {
        let Moment { unix_ms, monotonic_ms } = now;
        let evaluator = self.evaluator.as_mut()?;
        let met = evaluator.evaluate(unix_ms, monotonic_ms, values);
        let held = self.hold.as_mut().map(|it| it.evaluate(unix_ms, monotonic_ms, values));
        let looked = met.and_then(|met| {
            let held = held.transpose()?.unwrap_or_default();
            Ok(Found { met, held: held.into_iter().map(|it| it.0).collect() })
        });
        match looked {
            Ok(found) => {
                self.error = None;
                Some(found)
            }
            Err(error) => {
                self.error = Some(error.to_string());
                None
            }
        }
    }

    /// Takes the alerts of this rule on, by what was found. Returns whether anything fires or has ended that did not.
    pub(super) fn judge(
        &self,
        found: Option<Found>,
        now: Moment,
        identity: &Identity,
        instances: &mut BTreeMap<Labels, Instance>,
    ) -> bool {
        let Ok(rule) = &self.rule else {
            return false;
        };
        let full =
            |labels: &Labels| labels_of(identity, &rule.name, rule.severity, &rule.labels, labels);
        let blind = full(&Labels::from([(REASON.to_owned(), NO_DATA.to_owned())]));
        let mut met = BTreeMap::new();
        let mut held = Vec::new();
        let is_blind = found.is_none();
        match found {
            Some(found) => {
                let bounded = found.met.into_iter().take(INSTANCES_MAX);
                met.extend(bounded.map(|(labels, value)| {
                    (full(&labels), (value, annotations(rule, value, &labels)))
                }));
                held.extend(found.held.iter().map(full));
            }
            None if rule.no_data == NoData::Page => {
                let error = self.error.as_deref().unwrap_or("it has no value");
                let text = format!("The rule {} cannot be evaluated: {error}.", rule.name);
                let annotations = [
                    ("summary".to_owned(), format!("The rule {} has no data", rule.name)),
                    ("description".to_owned(), text),
                ];
                met.insert(blind.clone(), (f64::NAN, Labels::from(annotations)));
            }
            None => {}
        }
        let mut is_changed = false;
        let mut ended = Vec::new();
        for (labels, instance) in instances.iter_mut().filter(|it| it.1.rule == rule.name) {
            let sight = match met.remove(labels) {
                Some((value, annotations)) => Sight::Met(value, annotations),
                // Who is blind sees no end either.
                None if is_blind && *labels != blind && rule.no_data == NoData::Page => {
                    Sight::Blind
                }
                None if held.contains(labels) => Sight::Held,
                None => Sight::Not,
            };
            if advance(instance, sight, rule, now, &mut is_changed) {
                ended.push(labels.clone());
            }
        }
        ended.iter().for_each(|it| _ = instances.remove(it));
        for (labels, (value, annotations)) in met {
            let phase = begun(rule, now);
            is_changed |= matches!(phase, Phase::Firing { .. });
            let instance = Instance {
                rule: rule.name.clone(),
                severity: rule.severity,
                phase,
                value,
                annotations,
                starts_at: now.unix_ms,
                is_told: false,
                is_told_to_managers: false,
            };
            instances.insert(labels, instance);
        }
        is_changed
    }

    /// Whether an alert is one that this rule would find as it is now.
    pub(super) fn finds(&self, instance: &Instance, labels: &Labels, identity: &Identity) -> bool {
        let Ok(rule) = &self.rule else {
            return false;
        };
        let has = |(name, value): (&String, &String)| labels.get(name) == Some(value);
        self.name == instance.rule
            && rule.severity == instance.severity
            && rule.labels.iter().all(has)
            && identity.labels.iter().all(has)
    }
}

/// What a look says of one alert.
enum Sight {
    /// Its condition is met, with a value and texts.
    Met(f64, Labels),
    /// It is not, but that is enough to go on.
    Held,
    Not,
    Blind,
}

/// Takes an alert on. Returns whether it is gone.
fn advance(
    instance: &mut Instance,
    sight: Sight,
    rule: &Rule,
    now: Moment,
    is_changed: &mut bool,
) -> bool {
    let is_met = matches!(sight, Sight::Met(..));
    let elapsed = |since: u64| now.monotonic_ms.saturating_sub(since);
    match (instance.phase, &sight) {
        (_, Sight::Blind) => return false,
        (Phase::Pending { .. }, Sight::Held | Sight::Not) => return true,
        (Phase::Pending { since_ms }, Sight::Met(..)) => {
            if rule.for_ms <= elapsed(since_ms) {
                instance.phase = Phase::Firing { clear_ms: None };
                *is_changed = true;
            }
        }
        (Phase::Firing { .. }, Sight::Met(..) | Sight::Held) => {
            instance.phase = Phase::Firing { clear_ms: None };
        }
        (Phase::Firing { clear_ms }, Sight::Not) => {
            let since = clear_ms.unwrap_or(now.monotonic_ms);
            instance.phase = Phase::Firing { clear_ms: Some(since) };
            if rule.keep_ms <= elapsed(since) {
                instance.resolve(now);
                *is_changed = true;
            }
        }
        // It begins anew, but not before people have heard of its end.
        (Phase::Resolved { .. }, _) if is_met && !instance.is_told => {
            instance.phase = begun(rule, now);
            instance.starts_at = now.unix_ms;
            *is_changed |= instance.state() == State::Firing;
        }
        (Phase::Resolved { .. }, _) => return false,
    }
    if let Sight::Met(value, annotations) = sight {
        (instance.value, instance.annotations) = (value, annotations);
    }
    false
}

fn begun(rule: &Rule, now: Moment) -> Phase {
    if rule.for_ms == 0 {
        Phase::Firing { clear_ms: None }
    } else {
        Phase::Pending { since_ms: now.monotonic_ms }
    }
}

fn annotations(rule: &Rule, value: f64, labels: &Labels) -> Labels {
    let texts = [("summary", &rule.summary), ("description", &rule.description)];
    let texts = texts.into_iter().filter(|it| !it.1.is_empty());
    texts.map(|(name, text)| (name.to_owned(), fill_in(text, value, labels))).collect()
}

/// The labels of an alert: those of its series over those of its rule over those of the server, with its name and severity.
pub(super) fn labels_of(
    identity: &Identity,
    rule: &str,
    severity: Severity,
    of_rule: &Labels,
    of_series: &Labels,
) -> Labels {
    let mut labels = identity.labels.clone();
    labels.insert("instance".to_owned(), identity.instance.clone());
    labels.extend(of_rule.clone());
    labels.extend(of_series.clone());
    labels.insert("alertname".to_owned(), rule.to_owned());
    labels.insert("severity".to_owned(), severity.name().to_owned());
    labels
}

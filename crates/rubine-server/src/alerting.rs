//! Alerts of this server: the rules with their states, and the receivers that are told. Looks at nothing by itself: whoever
//! has the values of metrics does, on a thread that no worker waits for.

mod delivery_log;
mod receiver;
mod sending;
mod situation;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::{Condvar, Mutex};
use rubine_alerts::{
    Alert, Alerts, AlertsError, Group, Identity, Matcher, Moment, Notification, RuleLine,
    RuleReport, Silence, State, TICK_MS, Values, Webhook, payload_of,
};
use rubine_base::clock::{monotonic_millis, unix_millis};
use rubine_config::Config;

pub(crate) use self::delivery_log::{DeliveryLog, Outcome};
use self::receiver::Receiver;
use self::situation::Situations;

/// At the end of the server, what waits is told unless that takes longer.
const END_WAIT_MS_MAX: u64 = 2000;

/// Alerts, and who is told.
pub(crate) struct Alerting {
    engine: Mutex<Alerts>,
    situations: Situations,
    /// What commands, INFO and metrics show, as of the last look or change.
    shown: ArcSwap<Shown>,
    receivers: Mutex<Vec<Arc<Receiver>>>,
    pub(crate) log: Arc<DeliveryLog>,
    /// How often rules were looked at, and how long that took the last time.
    pub(crate) looks: AtomicU64,
    pub(crate) look_micros: AtomicU64,
    /// How many times as quickly time passes here, for tests.
    speed: AtomicU64,
    switch: Mutex<Switch>,
    switched: Condvar,
}

/// How things stand.
#[derive(Default)]
pub(crate) struct Shown {
    pub(crate) alerts: Vec<Alert>,
    pub(crate) rules: Vec<RuleReport>,
    pub(crate) silences: Vec<Silence>,
}

impl Shown {
    /// How many alerts are in a state.
    pub(crate) fn count(&self, state: State) -> usize {
        self.alerts.iter().filter(|it| it.state == state).count()
    }
}

/// Whether rules are looked at.
#[derive(Clone, Copy, Debug, Default)]
struct Switch {
    is_on: bool,
    has_thread: bool,
    is_ending: bool,
}

impl Alerting {
    /// The rules that a configuration has. Nobody looks at them yet, and nobody is told.
    pub(crate) fn new(config: &Config) -> Result<Self, String> {
        let situations = Situations::default();
        let lines = config.alert_rules.clone();
        let engine = Alerts::new(identity_of(config), lines, situations.of(config));
        let engine = engine.map_err(|it| it.to_string())?;
        let alerting = Self {
            engine: Mutex::new(engine),
            situations,
            shown: ArcSwap::default(),
            receivers: Mutex::default(),
            log: Arc::default(),
            looks: AtomicU64::new(0),
            look_micros: AtomicU64::new(0),
            speed: AtomicU64::new(1),
            switch: Mutex::default(),
            switched: Condvar::new(),
        };
        alerting.show(&alerting.engine.lock());
        Ok(alerting)
    }

    /// Has rules looked at from now on, or not. Returns whether there is no thread for it yet, which whoever asks is to start.
    pub(crate) fn switch(&self, is_on: bool, config: &Config) -> bool {
        let mut switch = self.switch.lock();
        if switch.is_on && !is_on {
            // What nobody looks at any more is not known to go on.
            let mut engine = self.engine.lock();
            let lines = engine.lines().to_vec();
            let situation = self.situations.of(config);
            if let Ok(fresh) = Alerts::new(identity_of(config), lines, situation) {
                *engine = fresh;
            }
            self.show(&engine);
        }
        let needs_thread = is_on && !switch.has_thread;
        switch.is_on = is_on;
        switch.has_thread |= is_on;
        self.switched.notify_all();
        needs_thread
    }

    pub(crate) fn is_on(&self) -> bool {
        self.switch.lock().is_on
    }

    /// Lets time pass so many times as quickly: `DEBUG ALERT-SPEED`.
    pub(crate) fn hurry(&self, factor: u64) {
        self.speed.store(factor, Ordering::Relaxed);
        let _switch = self.switch.lock();
        self.switched.notify_all();
    }

    /// How long it is from one look at the rules to the next, in milliseconds.
    pub(crate) fn interval_ms(&self) -> u64 {
        (TICK_MS / self.speed.load(Ordering::Relaxed)).max(1)
    }

    /// Waits until a moment on the monotonic clock, and longer while rules are not to be looked at. Returns whether they are;
    /// else the server ends.
    pub(crate) fn wait_until(&self, at_ms: u64) -> bool {
        let mut switch = self.switch.lock();
        loop {
            if switch.is_ending {
                return false;
            }
            let now = monotonic_millis();
            if !switch.is_on {
                self.switched.wait(&mut switch);
            } else if at_ms <= now {
                return true;
            } else {
                let left = std::time::Duration::from_millis(at_ms - now);
                self.switched.wait_for(&mut switch, left);
            }
        }
    }

    /// Looks at all rules, and tells what is new.
    pub(crate) fn look(&self, config: &Config, values: &dyn Values, is_loading: bool) {
        let now = self.now();
        let situation = self.situations.of(config);
        let notifications = {
            let mut engine = self.engine.lock();
            engine.adapt(identity_of(config), situation, now);
            let notifications = engine.tick(now, values, is_loading);
            self.show(&engine);
            notifications
        };
        for notification in &notifications {
            log_news(notification);
            self.tell(notification);
        }
        self.looks.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells these receivers from now on, in place of those before. What waits for one that stays is kept.
    pub(crate) fn set_receivers(&self, webhooks: Vec<Prepared>) -> Result<(), String> {
        let mut receivers = self.receivers.lock();
        let mut new = Vec::with_capacity(webhooks.len());
        for prepared in webhooks {
            let same = receivers.iter().position(|it| it.webhook == prepared.0);
            match same {
                Some(same) => new.push(receivers.swap_remove(same)),
                None => new.push(Receiver::start(prepared.0, Arc::clone(&self.log))?),
            }
        }
        receivers.drain(..).for_each(|it| it.end());
        *receivers = new;
        Ok(())
    }

    /// Sends every receiver an alert that says that alerts arrive. Returns how many there are.
    pub(crate) fn test(&self) -> usize {
        let alert = self.engine.lock().test_alert(self.now());
        let instance = alert.labels.get("instance").cloned().unwrap_or_default();
        self.tell(&Notification::Refresh(vec![alert.clone()]));
        let alert = Alert { ends_at: None, ..alert };
        self.tell(&Notification::Group(Group { instance, alerts: vec![alert] }));
        self.receivers.lock().len()
    }

    /// Takes an `alert` line in place of an earlier one of the same name.
    pub(crate) fn set_rule(&self, line: RuleLine) -> Result<(), AlertsError> {
        self.change(|engine| engine.set(line, self.now()))
    }

    /// Removes a line. Returns whether there was one.
    pub(crate) fn remove_rule(&self, name: &str) -> bool {
        self.change(|engine| engine.remove(name, self.now()))
    }

    pub(crate) fn silence(
        &self,
        matchers: Vec<Matcher>,
        millis: u64,
        author: String,
        comment: String,
    ) -> Result<u64, AlertsError> {
        let now = self.now();
        let ends_at = now.unix_ms.saturating_add_unsigned(millis);
        self.change(|engine| engine.silence(matchers, now, ends_at, author, comment))
    }

    pub(crate) fn unsilence(&self, id: u64) -> bool {
        self.change(|engine| engine.unsilence(id))
    }

    /// The `alert` lines in force, as words.
    pub(crate) fn lines(&self) -> Vec<Vec<Vec<u8>>> {
        let engine = self.engine.lock();
        let line = |it: &RuleLine| {
            let mut words = it.words();
            words.insert(0, b"alert".to_vec());
            words
        };
        engine.lines().iter().map(line).collect()
    }

    /// How things stand.
    pub(crate) fn shown(&self) -> Arc<Shown> {
        self.shown.load_full()
    }

    /// Messages that wait for their receivers.
    pub(crate) fn waiting(&self) -> usize {
        self.receivers.lock().iter().map(|it| it.waiting()).sum()
    }

    /// How many receivers there are.
    pub(crate) fn receiver_count(&self) -> usize {
        self.receivers.lock().len()
    }

    /// Ends what goes on beside the workers. What waits to be told is tried once more, for a moment.
    pub(crate) fn finish(&self) {
        let mut switch = self.switch.lock();
        switch.is_ending = true;
        self.switched.notify_all();
        drop(switch);
        let receivers = self.receivers.lock();
        let end_ms = monotonic_millis() + END_WAIT_MS_MAX;
        receivers.iter().for_each(|it| it.finish(end_ms));
    }

    fn now(&self) -> Moment {
        let speed = self.speed.load(Ordering::Relaxed);
        Moment { unix_ms: unix_millis(), monotonic_ms: monotonic_millis() * speed }
    }

    fn tell(&self, notification: &Notification) {
        for receiver in self.receivers.lock().iter() {
            if let Some(payload) = payload_of(notification, &receiver.webhook) {
                receiver.push(payload);
            }
        }
    }

    fn change<R>(&self, change: impl FnOnce(&mut Alerts) -> R) -> R {
        let mut engine = self.engine.lock();
        let result = change(&mut engine);
        self.show(&engine);
        result
    }

    fn show(&self, engine: &Alerts) {
        let shown = Shown {
            alerts: engine.alerts(),
            rules: engine.rules(),
            silences: engine.silences(self.now()),
        };
        self.shown.store(Arc::new(shown));
    }
}

/// A receiver whose files have been looked at.
pub(crate) struct Prepared(Webhook);

/// Looks whether receivers can be told at all: whether their files can be read.
pub(crate) fn prepare(config: &Config) -> Result<Vec<Prepared>, String> {
    let webhooks = config.alert_webhook.0.iter();
    let prepared = webhooks.map(|webhook| {
        sending::check(webhook)?;
        Ok(Prepared(webhook.clone()))
    });
    prepared.collect()
}

/// Whose alerts these are: what the configuration says, or the machine and the port.
fn identity_of(config: &Config) -> Identity {
    let labels = config.alert_labels.0.clone();
    if !config.alert_instance.is_empty() {
        return Identity { instance: config.alert_instance.clone(), labels };
    }
    let system = rustix::system::uname();
    let machine = system.nodename().to_string_lossy();
    let port = if config.port == 0 { config.tls_port } else { config.port };
    Identity { instance: format!("{machine}:{port}"), labels }
}

/// The log tells of what people are told, so that it is there where nobody is told.
fn log_news(notification: &Notification) {
    let Notification::Group(group) = notification else { return };
    for alert in &group.alerts {
        let text = alert.annotations.get("description").or(alert.annotations.get("summary"));
        let text = text.map_or("", String::as_str);
        let (rule, severity, state) = (&alert.rule, alert.severity.name(), alert.state.name());
        tracing::warn!("Alert {rule} ({severity}) is {state}: {text}");
    }
}

//! The times that Sentinel works by, which `SENTINEL DEBUG` shows and changes.

use rubine_base::clock::Millis;

/// All in milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Timings {
    pub(crate) info_period: Millis,
    pub(crate) ping_period: Millis,
    pub(crate) ask_period: Millis,
    pub(crate) publish_period: Millis,
    pub(crate) default_down_after: Millis,
    pub(crate) default_failover_timeout: Millis,
    pub(crate) tilt_trigger: Millis,
    pub(crate) tilt_period: Millis,
    pub(crate) replica_reconf_timeout: Millis,
    pub(crate) min_link_reconnect_period: Millis,
    pub(crate) election_timeout: Millis,
    pub(crate) script_max_runtime: Millis,
    pub(crate) script_retry_delay: Millis,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            info_period: 10_000,
            ping_period: 1000,
            ask_period: 1000,
            publish_period: 2000,
            default_down_after: 30_000,
            default_failover_timeout: 180_000,
            tilt_trigger: 2000,
            tilt_period: 30_000,
            replica_reconf_timeout: 10_000,
            min_link_reconnect_period: 15_000,
            election_timeout: 10_000,
            script_max_runtime: 60_000,
            script_retry_delay: 30_000,
        }
    }
}

impl Timings {
    /// All of them under the names of `SENTINEL DEBUG`, in its order.
    pub(crate) fn all(&mut self) -> [(&'static str, &mut Millis); 13] {
        [
            ("INFO-PERIOD", &mut self.info_period),
            ("PING-PERIOD", &mut self.ping_period),
            ("ASK-PERIOD", &mut self.ask_period),
            ("PUBLISH-PERIOD", &mut self.publish_period),
            ("DEFAULT-DOWN-AFTER", &mut self.default_down_after),
            ("DEFAULT-FAILOVER-TIMEOUT", &mut self.default_failover_timeout),
            ("TILT-TRIGGER", &mut self.tilt_trigger),
            ("TILT-PERIOD", &mut self.tilt_period),
            ("SLAVE-RECONF-TIMEOUT", &mut self.replica_reconf_timeout),
            ("MIN-LINK-RECONNECT-PERIOD", &mut self.min_link_reconnect_period),
            ("ELECTION-TIMEOUT", &mut self.election_timeout),
            ("SCRIPT-MAX-RUNTIME", &mut self.script_max_runtime),
            ("SCRIPT-RETRY-DELAY", &mut self.script_retry_delay),
        ]
    }
}

//! INFO of an instance: what Sentinel looks for in it. Knows nothing of who sent it.

use crate::hello::number;

/// As long as every run id is.
const RUN_ID_LEN: usize = 40;
/// More replicas of one master are not believed.
const REPLICAS_MAX: usize = 4096;

/// What an instance says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Master,
    Replica,
}

/// What was found. What is missing was not told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) run_id: Option<String>,
    pub(crate) role: Option<Role>,
    /// Replicas that it has, if it is a master.
    pub(crate) replicas: Vec<(String, u16)>,
    /// 0 where the link is up.
    pub(crate) master_link_down_ms: i64,
    pub(crate) master_host: Option<String>,
    pub(crate) master_port: Option<u16>,
    pub(crate) master_link_is_up: Option<bool>,
    pub(crate) priority: Option<i64>,
    pub(crate) offset: Option<u64>,
    pub(crate) is_announced: Option<bool>,
    /// Whether a FAILOVER is going on; none where it knows no such command.
    pub(crate) fails_over: Option<bool>,
}

impl Report {
    pub(crate) fn parse(info: &[u8]) -> Self {
        let mut report = Self::default();
        for line in info.split(|it| *it == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let Ok(line) = std::str::from_utf8(line) else { continue };
            if let Some((name, value)) = line.split_once(':') {
                report.take(name, value);
            }
        }
        report
    }

    fn take(&mut self, name: &str, value: &str) {
        let is_replica = self.role == Some(Role::Replica);
        match name {
            "run_id" => self.run_id = run_id(value),
            "role" => {
                self.role = match value {
                    "master" => Some(Role::Master),
                    "slave" => Some(Role::Replica),
                    _ => self.role,
                }
            }
            "master_link_down_since_seconds" => {
                self.master_link_down_ms = signed(value).saturating_mul(1000);
            }
            "master_failover_state" => self.fails_over = Some(value != "no-failover"),
            "master_host" if is_replica => self.master_host = Some(value.to_owned()),
            "master_port" if is_replica => {
                self.master_port = Some(u16::try_from(number(value)).unwrap_or(0));
            }
            "master_link_status" if is_replica => {
                self.master_link_is_up = Some(value.eq_ignore_ascii_case("up"));
            }
            "slave_priority" if is_replica => self.priority = Some(signed(value)),
            "slave_repl_offset" if is_replica => self.offset = Some(number(value)),
            "replica_announced" if is_replica => self.is_announced = Some(signed(value) != 0),
            _ => {
                let is_replica_line = name
                    .strip_prefix("slave")
                    .is_some_and(|it| !it.is_empty() && it.bytes().all(|it| it.is_ascii_digit()));
                if is_replica_line && self.replicas.len() < REPLICAS_MAX {
                    self.replicas.extend(replica(value));
                }
            }
        }
    }
}

fn run_id(value: &str) -> Option<String> {
    let id = value.get(..RUN_ID_LEN)?;
    id.bytes().all(|it| it.is_ascii_alphanumeric()).then(|| id.to_owned())
}

/// A number as C reads one, with what stands behind it left out.
fn signed(text: &str) -> i64 {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    sign * i64::try_from(number(digits)).unwrap_or(i64::MAX)
}

/// `ip=10.0.0.1,port=6379,state=online,..`, or of old servers `10.0.0.1,6379,online`.
fn replica(value: &str) -> Option<(String, u16)> {
    let (mut host, mut port) = (None, None);
    if value.contains("ip=") {
        for field in value.split(',') {
            match field.split_once('=') {
                Some(("ip", value)) => host = Some(value),
                Some(("port", value)) => port = Some(value),
                _ => {}
            }
        }
    } else {
        let mut fields = value.split(',');
        (host, port) = (fields.next(), fields.next());
        // Without a state behind it, it is something else.
        fields.next()?;
    }
    Some((host?.to_owned(), port?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_tells_of_its_replicas() {
        let id = "0123456789012345678901234567890123456789";
        let info = format!(
            "# Server\r\nrun_id:{id}\r\n# Replication\r\nrole:master\r\nconnected_slaves:2\r\n\
             slave0:ip=10.0.0.1,port=6380,state=online,offset=3,lag=0\r\nslave1:10.0.0.2,6381,online\r\n\
             slave_repl_offset:9\r\nmaster_failover_state:no-failover\r\n"
        );
        let report = Report::parse(info.as_bytes());
        assert_eq!(report.run_id.as_deref(), Some(id));
        assert_eq!(report.role, Some(Role::Master));
        assert_eq!(report.replicas, [("10.0.0.1".to_owned(), 6380), ("10.0.0.2".to_owned(), 6381)]);
        assert_eq!((report.offset, report.fails_over), (None, Some(false)));
    }

    #[test]
    fn a_replica_tells_of_its_master() {
        let info =
            b"role:slave\r\nmaster_host:m.example\r\nmaster_port:6379\r\nmaster_link_status:up\r\n\
            slave_priority:100\r\nslave_repl_offset:1234\r\nreplica_announced:0\r\n\
            master_link_down_since_seconds:7\r\nmaster_failover_state:waiting-for-sync\r\n";
        let report = Report::parse(info);
        assert_eq!(report.master_host.as_deref(), Some("m.example"));
        assert_eq!((report.master_port, report.master_link_is_up), (Some(6379), Some(true)));
        assert_eq!((report.priority, report.offset), (Some(100), Some(1234)));
        assert_eq!((report.is_announced, report.fails_over), (Some(false), Some(true)));
        assert_eq!(report.master_link_down_ms, 7000);
    }

    #[test]
    fn nonsense_tells_nothing() {
        let info = b"role:king\r\nslave:ip=1,port=2\r\nslave0:ip=1,port=99999\r\nslavex:1,2,3\r\n\
            run_id:short\r\nmaster_host:x\r\nmaster_link_down_since_seconds:99999999999999999999\r\n\xff\xfe:\r\n";
        let report = Report::parse(info);
        assert_eq!(report, Report::default());
    }
}

//! `SENTINEL SET`: settings of one master.

use rubine_base::number::parse_i64;

use super::{Outcome, Request, is, positive, refuse_control_characters, text};
use crate::effect::Level;
use crate::instance::{Master, Renamed};
use crate::machine::{Core, Sentinel};

const DENIED: &str = "ERR Reconfiguration of scripts path is denied for security reasons. Check the \
                      deny-scripts-reconfig configuration directive in your Sentinel configuration";

impl Sentinel {
    /// Sets options one after the other. What stands before a wrong one stays set.
    pub fn set(&mut self, request: &mut Request<'_, '_>) -> Result<Outcome, String> {
        self.master(request)?;
        refuse_control_characters(&request.args[1..], 3, "SENTINEL SET")?;
        let Self { core, masters } = self;
        let name = text(request.args[0]);
        let master = masters.get_mut(&*name).expect("it was just found");
        let mut rest = &request.args[1..];
        while let [option, values @ ..] = rest {
            let used = set_option(core, master, option, values, request.is_executable)?;
            core.save();
            let mut words: Vec<_> = values[..used].iter().map(|it| text(it)).collect();
            if is(option, "auth-pass") {
                words = vec!["******".to_owned()];
            }
            let told = format!(" {} {}", text(option), words.join(" "));
            core.tell_master(Level::Warning, "+set", master, &told);
            rest = &values[used..];
        }
        self.saved(request)
    }
}

/// Sets one option. Returns how many values it has.
fn set_option(
    core: &mut Core,
    master: &mut Master,
    option: &[u8],
    values: &[&[u8]],
    is_executable: &dyn Fn(&str) -> bool,
) -> Result<usize, String> {
    let shown = text(option);
    let invalid =
        |value: &[u8]| format!("ERR Invalid argument '{}' for SENTINEL SET '{shown}'", text(value));
    let number = |value: &[u8]| positive(value).ok_or_else(|| invalid(value));
    let filled = |value: &[u8]| Some(text(value)).filter(|it| !it.is_empty());
    match (shown.to_ascii_lowercase().as_str(), values) {
        ("down-after-milliseconds", [value, ..]) => master.set_down_after(number(value)?),
        ("failover-timeout", [value, ..]) => master.failover.timeout = number(value)?,
        ("parallel-syncs", [value, ..]) => master.parallel_syncs = number(value)?,
        ("quorum", [value, ..]) => {
            master.quorum = u32::try_from(number(value)?).map_err(|_| invalid(value))?;
        }
        ("notification-script", [value, ..]) => {
            let what = "Notification script";
            master.notification_script = script(core, value, what, is_executable)?;
        }
        ("client-reconfig-script", [value, ..]) => {
            let what = "Client reconfiguration script";
            master.client_reconfig_script = script(core, value, what, is_executable)?;
        }
        ("auth-pass", [value, ..]) => {
            master.access.password = filled(value);
            greet_anew(core, master);
        }
        ("auth-user", [value, ..]) => {
            master.access.user = filled(value);
            greet_anew(core, master);
        }
        ("rename-command", [from, to, ..]) => {
            if from.is_empty() || to.is_empty() {
                return Err(invalid(if to.is_empty() { to } else { from }));
            }
            let (from, to) = (text(from), text(to));
            let name = from.to_ascii_uppercase();
            if from.eq_ignore_ascii_case(&to) {
                master.access.renamed.remove(&name);
            } else {
                master.access.renamed.insert(name, Renamed { from, to });
            }
            return Ok(2);
        }
        ("primary-reboot-down-after-period" | "master-reboot-down-after-period", [value, ..]) => {
            let period = parse_i64(value).filter(|it| 0 <= *it);
            master.reboot_down_after = period.ok_or_else(|| invalid(value))?;
        }
        _ => {
            return Err(format!(
                "ERR Unknown option or number of arguments for SENTINEL SET '{shown}'"
            ));
        }
    }
    Ok(1)
}

/// A program that may be run, or none.
fn script(
    core: &Core,
    value: &[u8],
    what: &str,
    is_executable: &dyn Fn(&str) -> bool,
) -> Result<Option<String>, String> {
    if core.denies_scripts_reconfig {
        return Err(DENIED.to_owned());
    }
    let path = text(value);
    if path.is_empty() {
        return Ok(None);
    }
    if !is_executable(&path) {
        return Err(format!("ERR {what} seems non existing or non executable"));
    }
    Ok(Some(path))
}

/// Ends the connections to a master and its replicas, which will be made with what is said there now.
fn greet_anew(core: &mut Core, master: &Master) {
    core.close_all(&master.node);
    master.replicas.values().for_each(|it| core.close_all(&it.node));
}

//! The commands that a Sentinel has in place of those about data: SENTINEL, and its own PUBLISH and ROLE. What they do, the
//! state machine knows.

use rubine_commands::{Acl, Channels, CommandError, CommandResult, Flags, Group};
use rubine_sentinel::{Handler, Sentinel};

use crate::control::sentinel;
use crate::core::{ServerCommand, ServerFamily, Session};

pub(super) const FAMILIES: &[ServerFamily] = &[
    ServerFamily { group: Group::Sentinel, commands: &[SENTINEL] },
    ServerFamily { group: Group::Server, commands: &[ROLE] },
    ServerFamily { group: Group::PubSub, commands: &[PUBLISH] },
];

const FLAGS: Flags = Flags::ADMIN.union(Flags::SENTINEL).union(Flags::ONLY_SENTINEL);

const ROLE: ServerCommand =
    ServerCommand::declare("ROLE", |session| run(session, 1, Sentinel::role))
        .summary("Returns that it is a Sentinel, and which masters it monitors.")
        .since("2.8.12")
        .complexity("O(N) with N the number of masters.")
        .arity(1)
        .flag(
            Flags::NOSCRIPT
                .union(Flags::LOADING)
                .union(Flags::STALE)
                .union(Flags::FAST)
                .union(Flags::SENTINEL),
        )
        .also(Acl::ADMIN.union(Acl::DANGEROUS));

const PUBLISH: ServerCommand =
    ServerCommand::declare("PUBLISH", |session| run(session, 1, Sentinel::publish))
        .summary("Takes hello messages of other Sentinels.")
        .syntax("channel message")
        .since("2.0.0")
        .complexity("O(1)")
        .arity(3)
        .flag(
            Flags::PUBSUB
                .union(Flags::LOADING)
                .union(Flags::STALE)
                .union(Flags::FAST)
                .union(Flags::MAY_REPLICATE)
                .union(Flags::SENTINEL),
        )
        .channels(Channels::Names { count_max: 1 });

const SENTINEL: ServerCommand = ServerCommand::container(
    "SENTINEL",
    super::server::never_runs,
    &[
        form("CKQUORUM", 3, |session| run(session, 2, Sentinel::check_quorum))
            .complexity("O(N) with N the number of Sentinels.")
            .summary("Checks whether enough Sentinels can be reached to fail a master over.")
            .syntax("master-name"),
        form("CONFIG", -4, |session| run(session, 2, Sentinel::config))
            .complexity("O(N) with N the number of parameters.")
            .summary("Shows or sets what concerns this Sentinel as a whole.")
            .syntax("<SET parameter value [parameter value ...] | GET parameter [parameter ...]>")
            .since("6.2.0")
            .hides(|args, visit| {
                let is_secret = |&it: &usize| args.at(it).eq_ignore_ascii_case(b"sentinel-pass");
                (3..args.len() - 1).filter(is_secret).for_each(|it| visit(it + 1));
            }),
        form("DEBUG", -2, |session| run(session, 2, Sentinel::debug))
            .complexity("O(N) with N the number of parameters.")
            .summary("Shows or sets the times that it works by.")
            .syntax("[parameter value [parameter value ...]]")
            .since("7.0.0"),
        form("FAILOVER", -3, failover)
            .complexity("O(N) with N the number of replicas.")
            .summary("Fails a master over, without asking the others, or together with the master.")
            .syntax("master-name [COORDINATED]"),
        form("FLUSHCONFIG", 2, |session| run(session, 2, Sentinel::flush_config))
            .complexity("O(N) with N the number of instances.")
            .summary("Writes the configuration with the state."),
        form("GET-MASTER-ADDR-BY-NAME", 3, |session| run(session, 2, Sentinel::master_address))
            .summary("Returns where a master is.")
            .syntax("master-name"),
        form("GET-PRIMARY-ADDR-BY-NAME", 3, |session| run(session, 2, Sentinel::master_address))
            .summary("Returns where a master is.")
            .syntax("primary-name")
            .since("8.0.0"),
        form("INFO-CACHE", -3, |session| run(session, 2, Sentinel::info_cache))
            .complexity("O(N) with N the number of instances.")
            .summary("Returns what masters and their replicas last answered to INFO.")
            .syntax("master-name [master-name ...]")
            .since("3.2.0"),
        form("IS-MASTER-DOWN-BY-ADDR", 6, |session| run(session, 2, Sentinel::is_master_down))
            .summary("Returns whether a master is down for this Sentinel, and its vote.")
            .syntax("ip port current-epoch runid"),
        form("IS-PRIMARY-DOWN-BY-ADDR", 6, |session| run(session, 2, Sentinel::is_master_down))
            .summary("Returns whether a master is down for this Sentinel, and its vote.")
            .syntax("ip port current-epoch runid")
            .since("8.0.0"),
        form("MASTER", 3, |session| run(session, 2, Sentinel::show_master))
            .summary("Returns what is known of a master.")
            .syntax("master-name"),
        form("MASTERS", 2, |session| run(session, 2, Sentinel::masters))
            .complexity("O(N) with N the number of masters.")
            .summary("Returns what is known of all masters."),
        form("MONITOR", 6, monitor)
            .summary("Begins to monitor a master.")
            .syntax("name ip port quorum"),
        form("MYID", 2, |session| run(session, 2, Sentinel::my_id))
            .summary("Returns the id of this Sentinel.")
            .since("6.2.0"),
        form("PENDING-SCRIPTS", 2, |session| run(session, 2, Sentinel::pending_scripts))
            .complexity("O(N) with N the number of programs.")
            .summary("Returns the programs that run or wait to be run."),
        form("PRIMARIES", 2, |session| run(session, 2, Sentinel::masters))
            .complexity("O(N) with N the number of masters.")
            .summary("Returns what is known of all masters.")
            .since("8.0.0"),
        form("PRIMARY", 3, |session| run(session, 2, Sentinel::show_master))
            .summary("Returns what is known of a master.")
            .syntax("primary-name")
            .since("8.0.0"),
        form("REMOVE", 3, |session| run(session, 2, Sentinel::remove))
            .summary("Monitors a master no more.")
            .syntax("master-name"),
        form("REPLICAS", 3, |session| run(session, 2, Sentinel::replicas))
            .complexity("O(N) with N the number of replicas.")
            .summary("Returns what is known of the replicas of a master.")
            .syntax("master-name")
            .since("5.0.0"),
        form("RESET", 3, |session| run(session, 2, Sentinel::reset))
            .complexity("O(N) with N the number of instances.")
            .summary("Forgets what is known of masters whose names match, and finds it out anew.")
            .syntax("pattern"),
        form("SENTINELS", 3, |session| run(session, 2, Sentinel::sentinels))
            .complexity("O(N) with N the number of Sentinels.")
            .summary("Returns what is known of the other Sentinels of a master.")
            .syntax("master-name"),
        form("SET", -5, |session| run(session, 2, Sentinel::set))
            .complexity("O(N) with N the number of options.")
            .summary("Changes settings of a master.")
            .syntax("master-name option value [option value ...]")
            .hides(|args, visit| {
                let is_secret = |&it: &usize| args.at(it).eq_ignore_ascii_case(b"auth-pass");
                (3..args.len() - 1).filter(is_secret).for_each(|it| visit(it + 1));
            }),
        form("SIMULATE-FAILURE", -3, |session| run(session, 2, Sentinel::simulate_failure))
            .summary("Has this Sentinel end at once, later on.")
            .syntax("[CRASH-AFTER-ELECTION] [CRASH-AFTER-PROMOTION] [HELP]")
            .since("3.2.0"),
        form("SLAVES", 3, |session| run(session, 2, Sentinel::replicas))
            .complexity("O(N) with N the number of replicas.")
            .summary("Returns what is known of the replicas of a master.")
            .syntax("master-name")
            .since("2.8.0"),
    ],
)
.summary("A container of commands about masters that are monitored.")
.since("2.8.4")
.complexity("Depends on the subcommand.")
.flag(FLAGS);

/// One of them.
const fn form(name: &'static str, arity: i32, run: crate::core::SessionHandler) -> ServerCommand {
    ServerCommand::declare(name, run).since("2.8.4").complexity("O(1)").arity(arity).flag(FLAGS)
}

fn failover(session: &mut Session<'_>) -> CommandResult {
    const ARGS_MAX: usize = 4;
    if ARGS_MAX < session.args.len() {
        return Err(CommandError::Arity("sentinel|failover".into()));
    }
    run(session, 2, Sentinel::failover)
}

fn monitor(session: &mut Session<'_>) -> CommandResult {
    let args: Vec<&[u8]> = session.args.from(2).collect();
    sentinel::prepare_monitor(session.core.server, &args);
    run(session, 2, Sentinel::monitor)
}

/// Runs `handler` with the arguments from `first` on.
fn run(session: &mut Session<'_>, first: usize, handler: Handler) -> CommandResult {
    let args: Vec<&[u8]> = session.args.from(first).collect();
    let mark = session.reply.mark();
    let server = session.core.server;
    let outcome = sentinel::execute(server, handler, &args, session.reply.reborrow());
    if let Some(unsaved) = outcome.map_err(|text| CommandError::Other(text.into()))? {
        session.reply.truncate_to(mark);
        unsaved.reply(&mut session.reply);
    }
    Ok(())
}

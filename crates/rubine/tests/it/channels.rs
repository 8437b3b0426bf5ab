//! Full syncs over two connections, the dump on one and the stream on the other: our server as a replica of a master made up
//! here, and as both. Each connection may end at any moment.

use std::thread;

use rubine_testing::client::Client;
use rubine_testing::server::Server;
use rubine_testing::value::Value;

use crate::following::{
    ID, Line, MARK, Master, WORKS, command, dump, get, replica_of, text, wait_for_equal,
};
use crate::support::{call, info, integer, options, wait_until};

const DUAL: (&str, &str) = ("dual-channel-replication-enabled", "yes");
const RDB: (&str, &str) = ("repl-rdb-channel", "yes");
const NEW: &[(&str, &str)] = &[("new", "1"), ("other", "2")];
const OFFSET: u64 = 5000;

fn field(client: &mut Client, name: &str) -> String {
    info(client, "replication", name)
}

/// Talks on both connections until the dump may begin. The stream may come on the first from then on.
fn join(master: &Master, is_dual: bool) -> (Line, Line) {
    let (mut main, _) = master.asked();
    main.say(if is_dual { b"+DUALCHANNELSYNC\r\n" } else { b"+RDBCHANNELSYNC 17\r\n" });
    let mut channel = master.accept();
    let heard = channel.hear();
    let expected = if is_dual { "version" } else { "main-ch-client-id 17" };
    assert!(heard.contains("rdb-channel 1") && heard.contains(expected), "{heard}");
    channel.say(b"+OK\r\n");
    if is_dual {
        assert_eq!(channel.hear(), "SYNC");
        channel.say(format!("\n$ENDOFF:{OFFSET} {ID} 2 99\r\n").as_bytes());
        assert_eq!(main.hear(), "REPLCONF set-rdb-client-id 99");
        main.say(b"+OK\r\n");
        assert_eq!(main.hear(), format!("PSYNC {ID} {}", OFFSET + 1));
        main.say(format!("+CONTINUE {ID}\r\n").as_bytes());
    } else {
        assert_eq!(channel.hear(), "PSYNC ? -1");
        channel.say(format!("\n+FULLRESYNC {ID} {OFFSET}\r\n").as_bytes());
    }
    channel.say(format!("$EOF:{MARK}\r\n").as_bytes());
    (main, channel)
}

fn end_dump(channel: &mut Line) {
    channel.say(&dump(NEW)[30..]);
    channel.say(MARK.as_bytes());
}

#[test]
fn what_comes_beside_the_dump_is_applied_behind_it() {
    for (directive, is_dual) in [(DUAL, true), (RDB, false)] {
        for mode in ["disabled", "swapdb", "flush-before-load"] {
            let master = Master::new();
            let replica = replica_of(master.port(), &[directive, ("repl-diskless-load", mode)]);
            let mut client = replica.client();
            let (mut main, mut channel) = join(&master, is_dual);
            channel.say(&dump(NEW)[..30]);
            // In Valkey's way the database is told with the place, in Redis's the stream selects one.
            let select = if is_dual { Vec::new() } else { command("SELECT 2") };
            let stream = [select, command("SET beside 1"), command("INCR beside")].concat();
            main.say(&stream);
            let held = stream.len().to_string();
            wait_until("what comes beside", || {
                field(&mut client, "replicas_repl_buffer_size") == held
            });
            assert_eq!(field(&mut client, "replica_full_sync_buffer_size"), held);
            assert_eq!(info(&mut client, "memory", "mem_replicas_repl_buffer"), held);
            assert_eq!(field(&mut client, "master_sync_in_progress"), "1");
            end_dump(&mut channel);
            main.wait_for(OFFSET + stream.len() as u64);
            assert_eq!(get(&mut client, "new"), text("1"), "{mode}");
            call(&mut client, "SELECT 2");
            assert_eq!(get(&mut client, "beside"), text("2"), "{mode}");
            assert_eq!(field(&mut client, "replicas_repl_buffer_size"), "0");
            assert_eq!(field(&mut client, "replicas_repl_buffer_peak"), held);
            main.say(&command("INCR beside"));
            wait_until("the stream goes on", || get(&mut client, "beside") == text("3"));
        }
    }
}

#[test]
fn a_connection_that_ends_in_the_middle_leaves_the_old_data_and_a_new_try() {
    for (directive, is_dual) in [(DUAL, true), (RDB, false)] {
        for mode in ["disabled", "swapdb"] {
            let master = Master::new();
            let directives = &[directive, ("repl-diskless-load", mode)];
            let replica = replica_of(master.port(), directives);
            drop(master.synced(&[("old", "1")]));
            let mut client = replica.client();
            for drops_main in [false, true, false] {
                let (mut main, mut channel) = join(&master, is_dual);
                channel.say(&dump(NEW)[..30]);
                main.say(&command("SET beside 1"));
                wait_until("what comes beside", || {
                    field(&mut client, "replicas_repl_buffer_size") != "0"
                });
                assert_eq!(get(&mut client, "old"), text("1"), "{mode}");
                if drops_main {
                    drop(main);
                    wait_until("the end", || field(&mut client, "master_sync_in_progress") == "0");
                } else {
                    drop(channel);
                    wait_until("the end", || field(&mut client, "master_sync_in_progress") == "0");
                }
                assert_eq!(field(&mut client, "replicas_repl_buffer_size"), "0");
                assert_eq!(get(&mut client, "old"), text("1"), "{mode}");
                assert_eq!(get(&mut client, "beside"), Value::Nil, "{mode}");
            }
            let (mut main, mut channel) = join(&master, is_dual);
            channel.say(&dump(NEW)[..30]);
            end_dump(&mut channel);
            main.wait_for(OFFSET);
            assert_eq!(get(&mut client, "old"), Value::Nil);
            assert_eq!(get(&mut client, "new"), text("1"));
        }
    }
}

/// What has come whole is loaded although nobody is there to go on with, and gone on from afterwards.
#[test]
fn a_link_that_ends_while_a_whole_dump_is_loaded_is_made_again() {
    let master = Master::new();
    let replica = replica_of(master.port(), &[RDB, ("key-load-delay", "400000")]);
    let mut client = replica.client();
    let (mut main, mut channel) = join(&master, false);
    let stream = [command("SELECT 0"), command("SET beside 1")].concat();
    main.say(&stream);
    channel.say(&dump(NEW)[..30]);
    end_dump(&mut channel);
    wait_until("the dump is loaded", || info(&mut client, "persistence", "loading") == "1");
    wait_until("the stream", || field(&mut client, "replicas_repl_buffer_size") != "0");
    drop(main);
    let (mut main, asked) = master.asked();
    let offset = OFFSET + stream.len() as u64;
    assert_eq!(asked, format!("PSYNC {ID} {}", offset + 1));
    main.say(b"+CONTINUE\r\n");
    main.wait_for(offset);
    assert_eq!(get(&mut client, "new"), text("1"));
    assert_eq!(get(&mut client, "beside"), text("1"));
}

#[test]
fn another_master_can_be_followed_in_the_middle() {
    for (directive, is_dual) in [(DUAL, true), (RDB, false)] {
        let (master, other) = (Master::new(), Master::new());
        let replica = replica_of(master.port(), &[directive, ("repl-diskless-load", "swapdb")]);
        drop(master.synced(&[("old", "1")]));
        let mut client = replica.client();
        let (_main, mut channel) = join(&master, is_dual);
        channel.say(&dump(NEW)[..30]);
        wait_until("the sync", || field(&mut client, "master_sync_in_progress") == "1");
        call(&mut client, &format!("REPLICAOF 127.0.0.1 {}", other.port()));
        let (_main, mut channel) = join(&other, is_dual);
        channel.say(&dump(NEW)[..30]);
        wait_until("the sync", || field(&mut client, "master_sync_in_progress") == "1");
        call(&mut client, "REPLICAOF NO ONE");
        assert_eq!(get(&mut client, "old"), text("1"));
        assert_eq!(call(&mut client, "SET mine 1"), Value::Status("OK".to_owned()));
    }
}

#[test]
fn no_more_is_kept_beside_the_dump_than_may_be() {
    const LIMIT: u64 = 300_000;
    const COUNT: u64 = 200;
    let master = Master::new();
    let limit = ("replica-full-sync-buffer-limit", "300000");
    let replica = replica_of(master.port(), &[DUAL, limit, ("repl-diskless-load", "swapdb")]);
    let mut client = replica.client();
    let (mut main, mut channel) = join(&master, true);
    channel.say(&dump(NEW)[..30]);
    let unit = command(&format!("APPEND long {}", "x".repeat(100_000)));
    let end = OFFSET + COUNT * unit.len() as u64;
    let writer = thread::spawn(move || {
        for _ in 0..COUNT {
            // It waits when nobody takes it.
            main.say(&unit);
        }
        main
    });
    wait_until("the bound", || {
        let held: u64 = field(&mut client, "replicas_repl_buffer_size").parse().expect(WORKS);
        LIMIT < held
    });
    end_dump(&mut channel);
    let mut main = writer.join().expect("the stream is taken in the end");
    main.wait_for(end);
    let peak: u64 = field(&mut client, "replicas_repl_buffer_peak").parse().expect(WORKS);
    assert!(peak <= LIMIT + 256 * 1024 + 16 * 1024, "{peak}");
    call(&mut client, "SELECT 2");
    assert_eq!(integer(&call(&mut client, "STRLEN long")), COUNT as i64 * 100_000);
}

fn ours(directive: (&str, &str)) -> Server {
    let options = options()
        .with("workers", "4")
        .with("enable-debug-command", "yes")
        .with("repl-diskless-sync-delay", "0")
        .with("repl-diskless-load", "swapdb")
        .with(directive.0, directive.1);
    options.start().expect("the server starts")
}

/// The numbers of all connections of replicas.
fn connections(client: &mut Client) -> Vec<String> {
    let list = call(client, "CLIENT LIST TYPE replica").as_text().expect("a list is text");
    let ids = list.lines().filter_map(|it| it.strip_prefix("id=")?.split(' ').next());
    ids.map(str::to_owned).collect()
}

#[test]
fn two_of_ours_come_together_whichever_connection_is_killed() {
    for (directive, partial) in [(DUAL, "1"), (RDB, "0")] {
        let (master, replica) = (ours(directive), ours(directive));
        let (mut a, mut b) = (master.client(), replica.client());
        for number in 0..2000 {
            call(&mut a, &format!("SET key:{number} {number}"));
        }
        call(&mut b, "SET old 1");
        call(&mut a, "CONFIG SET rdb-key-save-delay 1000");
        call(&mut b, &format!("REPLICAOF 127.0.0.1 {}", master.address().port()));
        for which in [0, 1, 1, 0] {
            wait_until("both connections", || connections(&mut a).len() == 2);
            let before = integer(&call(&mut a, "INCR beside"));
            let mut ids = connections(&mut a);
            ids.sort_by_key(|it| it.parse::<u64>().expect("a number"));
            if let Some(id) = ids.get(which) {
                call(&mut a, &format!("CLIENT KILL ID {id}"));
            }
            wait_until("their end", || !connections(&mut a).contains(&ids[0]));
            assert_eq!(field(&mut a, "replicas_waiting_psync"), "0");
            assert_eq!(get(&mut b, "old"), text("1"), "in the sync after {before}");
        }
        call(&mut a, "CONFIG RESETSTAT");
        let mut writer = master.client();
        wait_until("both connections", || connections(&mut a).len() == 2);
        for number in 0..500 {
            call(&mut writer, &format!("RPUSH list:{} {number}", number % 7));
        }
        wait_until("the link", || field(&mut b, "master_link_status") == "up");
        wait_for_equal(&mut a, &mut b);
        assert_eq!(get(&mut b, "old"), Value::Nil);
        assert_eq!(info(&mut a, "stats", "sync_partial_ok"), partial, "{directive:?}");
        assert_eq!(field(&mut a, "connected_slaves"), "1");
        assert!(field(&mut a, "slave0").contains("state=online"));
    }
}

/// A master that wants no second connection, and one that cannot be reached a second time.
#[test]
fn one_connection_does_where_there_is_no_other() {
    let master = ours(("dual-channel-replication-enabled", "no"));
    let replica = ours(DUAL);
    let (mut a, mut b) = (master.client(), replica.client());
    call(&mut a, "SET key 1");
    call(&mut b, &format!("REPLICAOF 127.0.0.1 {}", master.address().port()));
    wait_until("the link", || field(&mut b, "master_link_status") == "up");
    assert_eq!(get(&mut b, "key"), text("1"));

    let master = Master::new();
    let replica = replica_of(master.port(), &[DUAL]);
    for _ in 0..3 {
        let (mut main, _) = master.asked();
        main.say(b"+DUALCHANNELSYNC\r\n");
        drop(master.accept());
    }
    let mut main = master.accept();
    assert_eq!(main.hear(), "PING");
    main.say(b"+PONG\r\n");
    assert!(main.hear().contains("listening-port"));
    main.say(b"+OK\r\n");
    assert!(!main.hear().contains("dual-channel"), "three times was enough");
    drop(replica);
}

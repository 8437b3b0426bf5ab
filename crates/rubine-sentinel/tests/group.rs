//! What one Sentinel does, step by step, in answer to what it is told.

use rubine_resp::decode::{Value, decode};
use rubine_resp::writer::{Output, Protocol, Reply};
use rubine_sentinel::{Action, Event, Handler, Identity, LinkId, Outcome, Request, Sentinel};

const MASTER_ID: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const REPLICA_ID: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const MY_ID: &str = "0000000000000000000000000000000000000001";

struct Lab {
    sentinel: Sentinel,
    now: i64,
    saves: usize,
    told: Vec<String>,
    links: Vec<(LinkId, u16)>,
    /// What was sent and not answered.
    sent: Vec<(LinkId, Vec<String>)>,
    all_sent: Vec<String>,
}

impl Lab {
    fn new(lines: &[&str]) -> Self {
        let identity = Identity { port: 26379, seed: 1, ..Identity::default() };
        let mut sentinel = Sentinel::new(identity, 1_000_000);
        let mut lines: Vec<Vec<&str>> = lines.iter().map(|it| it.split(' ').collect()).collect();
        lines.sort_by_key(|it| Sentinel::config_order(it[0].as_bytes()));
        for words in &lines {
            sentinel.configure(words, &|_| true).expect("the lines are right");
        }
        sentinel.begin();
        let mut lab = Self {
            sentinel,
            now: 1_000_000,
            saves: 0,
            told: Vec::new(),
            links: Vec::new(),
            sent: Vec::new(),
            all_sent: Vec::new(),
        };
        lab.settle();
        lab
    }

    fn usual() -> Self {
        Self::new(&[
            &format!("myid {MY_ID}"),
            "monitor mymaster 10.0.0.1 6379 1",
            "down-after-milliseconds mymaster 1000",
            "known-replica mymaster 10.0.0.2 6380",
        ])
    }

    fn settle(&mut self) {
        let effects = self.sentinel.take_effects();
        self.saves += usize::from(effects.saves);
        for action in effects.actions {
            match action {
                Action::Tell(notice) => {
                    self.told.push(format!("{} {}", notice.channel, notice.text));
                }
                Action::Connect { link, to } => self.links.push((link, to.port())),
                Action::Close { link } => self.links.retain(|it| it.0 != link),
                Action::Send { link, command } => {
                    let words = command.iter().map(|it| String::from_utf8_lossy(it).into_owned());
                    let words: Vec<_> = words.collect();
                    self.all_sent.push(words.join(" "));
                    self.sent.push((link, words));
                }
                _ => {}
            }
        }
    }

    fn tick(&mut self, after: i64) {
        self.now += after;
        self.sentinel.tick(self.now);
        self.settle();
    }

    fn event(&mut self, event: Event) {
        self.sentinel.handle(event, self.now);
        self.settle();
    }

    /// The connection for commands to that port.
    fn commands_to(&self, port: u16) -> LinkId {
        self.links.iter().find(|it| it.1 == port).expect("it is connected").0
    }

    /// Answers all that was sent to that port, INFO with this.
    fn answer(&mut self, port: u16, info: &str) {
        let link = self.commands_to(port);
        let (mine, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.sent).into_iter().partition(|it| it.0 == link);
        self.sent = others;
        for (link, command) in mine {
            let value = match command[0].as_str() {
                "PING" => Value::Simple(b"PONG".to_vec()),
                "INFO" => Value::Bulk(info.as_bytes().to_vec()),
                _ => Value::Simple(b"OK".to_vec()),
            };
            self.event(Event::Replied { link, value });
        }
    }

    fn run(&mut self, protocol: Protocol, handler: Handler, args: &[&str]) -> (Value, Outcome) {
        let args: Vec<&[u8]> = args.iter().map(|it| it.as_bytes()).collect();
        let mut out = Output::new();
        let reply = Reply::new(&mut out, protocol);
        let now = self.now;
        let mut request = Request { args: &args, reply, now, is_executable: &|_| true };
        let outcome = match self.sentinel.run(handler, &mut request) {
            Ok(outcome) => outcome,
            Err(text) => {
                request.reply.error(&text);
                Outcome::Replied
            }
        };
        let mut slices = [std::io::IoSlice::new(&[]); 64];
        let count = out.front_slices(&mut slices, usize::MAX);
        let bytes: Vec<u8> = slices[..count].iter().flat_map(|it| it.iter().copied()).collect();
        self.settle();
        (decode(&bytes).expect("a reply").expect("a whole one").0, outcome)
    }

    fn has_told(&self, text: &str) -> bool {
        self.told.iter().any(|it| it == text)
    }
}

fn replica_info() -> String {
    format!(
        "run_id:{REPLICA_ID}\r\nrole:slave\r\nmaster_host:10.0.0.1\r\nmaster_port:6379\r\n\
         master_link_status:up\r\nslave_priority:100\r\nslave_repl_offset:10\r\n"
    )
}

#[test]
fn a_failover_goes_through_all_its_states() {
    let mut lab = Lab::usual();
    lab.tick(100);
    let master = format!("run_id:{MASTER_ID}\r\nrole:master\r\n");
    for _ in 0..20 {
        lab.answer(6379, &master);
        lab.answer(6380, &replica_info());
        lab.tick(100);
    }
    for (link, port) in lab.links.clone() {
        if port == 6379 {
            lab.event(Event::Closed { link });
        }
    }
    for _ in 0..15 {
        lab.answer(6380, &replica_info());
        lab.tick(100);
    }
    let unit = [
        "MULTI",
        "SLAVEOF NO ONE",
        "CONFIG REWRITE",
        "CLIENT KILL TYPE normal",
        "CLIENT KILL TYPE pubsub",
        "EXEC",
    ];
    assert!(lab.all_sent.windows(unit.len()).any(|it| it == unit), "{:#?}", lab.all_sent);
    let promoted = format!("run_id:{REPLICA_ID}\r\nrole:master\r\n");
    for _ in 0..15 {
        lab.answer(6380, &promoted);
        lab.tick(100);
    }
    for event in [
        "+monitor master mymaster 10.0.0.1 6379 quorum 1",
        "+sdown master mymaster 10.0.0.1 6379",
        "+odown master mymaster 10.0.0.1 6379 #quorum 1/1",
        "+new-epoch 1",
        "+try-failover master mymaster 10.0.0.1 6379",
        &format!("+vote-for-leader {MY_ID} 1"),
        "+elected-leader master mymaster 10.0.0.1 6379",
        "+failover-state-select-slave master mymaster 10.0.0.1 6379",
        "+selected-slave slave 10.0.0.2:6380 10.0.0.2 6380 @ mymaster 10.0.0.1 6379",
        "+failover-state-send-slaveof-noone slave 10.0.0.2:6380 10.0.0.2 6380 @ mymaster 10.0.0.1 6379",
        "+failover-state-wait-promotion slave 10.0.0.2:6380 10.0.0.2 6380 @ mymaster 10.0.0.1 6379",
        "+promoted-slave slave 10.0.0.2:6380 10.0.0.2 6380 @ mymaster 10.0.0.1 6379",
        "+failover-state-reconf-slaves master mymaster 10.0.0.1 6379",
        "+failover-end master mymaster 10.0.0.1 6379",
        "+switch-master mymaster 10.0.0.1 6379 10.0.0.2 6380",
        "+slave slave 10.0.0.1:6379 10.0.0.1 6379 @ mymaster 10.0.0.2 6380",
    ] {
        assert!(lab.has_told(event), "{event}\n{:#?}", lab.told);
    }
    let lines = lab.sentinel.config_lines();
    for line in [
        "sentinel monitor mymaster 10.0.0.2 6380 1",
        "sentinel config-epoch mymaster 1",
        "sentinel leader-epoch mymaster 1",
        "sentinel known-replica mymaster 10.0.0.1 6379",
        "sentinel current-epoch 1",
    ] {
        assert!(lines.iter().any(|it| it == line), "{line}\n{lines:#?}");
    }
}

#[test]
fn one_epoch_has_one_vote_which_is_saved_first() {
    let mut lab = Lab::usual();
    let ask = |lab: &mut Lab, epoch: &str, id: &str| {
        lab.run(Protocol::Resp2, Sentinel::is_master_down, &["10.0.0.1", "6379", epoch, id])
    };
    let vote = |leader: &str, epoch| {
        let leader = Value::Bulk(leader.as_bytes().to_vec());
        Value::Array(vec![Value::Integer(0), leader, Value::Integer(epoch)])
    };
    let saves = lab.saves;
    let (value, outcome) = ask(&mut lab, "5", "abc");
    assert_eq!(value, vote("abc", 5));
    assert!(matches!(outcome, Outcome::IfSaved(_)));
    assert_eq!(lab.saves, saves + 1);
    // Another one that asks in this epoch, or an earlier one, hears of that vote.
    assert_eq!(ask(&mut lab, "5", "def").0, vote("abc", 5));
    assert_eq!(ask(&mut lab, "4", "def").0, vote("abc", 5));
    assert_eq!(ask(&mut lab, "6", "*").0, vote("*", 0));
    assert_eq!(ask(&mut lab, "6", "def").0, vote("def", 6));
    // What cannot be written is no vote, now and when it is asked for again.
    lab.event(Event::Saved { is_safe: false });
    let saves = lab.saves;
    assert!(matches!(ask(&mut lab, "6", "def").1, Outcome::IfSaved(_)));
    assert_eq!(lab.saves, saves + 1);
}

#[test]
fn a_clock_that_jumps_is_no_reason_to_act() {
    let mut lab = Lab::usual();
    lab.tick(100);
    lab.tick(5000);
    assert!(lab.has_told("+tilt #tilt mode entered"));
    assert!(!lab.told.iter().any(|it| it.starts_with("+sdown")));
    for _ in 0..31 {
        lab.tick(1000);
    }
    assert!(lab.has_told("-tilt #tilt mode exited"));
    assert!(lab.has_told("+sdown master mymaster 10.0.0.1 6379"));
}

#[test]
fn other_sentinels_are_met_move_and_bring_news() {
    let mut lab = Lab::usual();
    let hello = |lab: &mut Lab, text: &str| {
        lab.run(Protocol::Resp2, Sentinel::publish, &["__sentinel__:hello", text]).0
    };
    assert_eq!(hello(&mut lab, "10.0.0.9,26379,abc,0,mymaster,10.0.0.1,6379,0"), Value::Integer(1));
    hello(&mut lab, "10.0.0.8,26379,abc,0,mymaster,10.0.0.1,6379,0");
    hello(&mut lab, "10.0.0.8,26379,def,0,mymaster,10.0.0.1,6379,0");
    hello(&mut lab, "10.0.0.8,26379,def,7,other,10.0.0.1,6379,0");
    hello(&mut lab, "10.0.0.8,26379,def,7,mymaster,10.0.0.2,6380,6");
    for event in [
        "+sentinel sentinel abc 10.0.0.9 26379 @ mymaster 10.0.0.1 6379",
        "+sentinel-address-switch master mymaster 10.0.0.1 6379 ip 10.0.0.8 port 26379 for abc",
        "+sentinel-invalid-addr sentinel abc 10.0.0.8 26379 @ mymaster 10.0.0.1 6379",
        "+new-epoch 7",
        "+config-update-from sentinel def 10.0.0.8 26379 @ mymaster 10.0.0.1 6379",
        "+switch-master mymaster 10.0.0.1 6379 10.0.0.2 6380",
    ] {
        assert!(lab.has_told(event), "{event}\n{:#?}", lab.told);
    }
    let channel = lab.run(Protocol::Resp2, Sentinel::publish, &["other", "x"]).0;
    assert!(matches!(channel, Value::Error(_)));
}

#[test]
fn another_group_that_watches_a_master_of_the_same_name_stays_another() {
    let mut lab = Lab::usual();
    let hello = |lab: &mut Lab, text: &str| {
        lab.run(Protocol::Resp2, Sentinel::publish, &["__sentinel__:hello", text]);
    };
    let news = "10.9.9.9,26379,fff,9,mymaster,10.9.9.1,6379,9";
    hello(&mut lab, news);
    assert_eq!(lab.told, ["+monitor master mymaster 10.0.0.1 6379 quorum 1"]);
    // But if our master says that it follows that one, it is news of ours.
    lab.tick(100);
    let follows =
        format!("run_id:{MASTER_ID}\r\nrole:slave\r\nmaster_host:10.9.9.1\r\nmaster_port:6379\r\n");
    for _ in 0..3 {
        lab.answer(6379, &follows);
        lab.tick(100);
    }
    hello(&mut lab, news);
    assert!(lab.has_told("+switch-master mymaster 10.0.0.1 6379 10.9.9.1 6379"), "{:#?}", lab.told);
}

#[test]
fn replies_have_the_shapes_of_both_protocols() {
    let mut lab = Lab::usual();
    let (Value::Array(two), _) = lab.run(Protocol::Resp2, Sentinel::show_master, &["mymaster"])
    else {
        panic!("no array")
    };
    let (Value::Map(three), _) = lab.run(Protocol::Resp3, Sentinel::show_master, &["mymaster"])
    else {
        panic!("no map")
    };
    assert_eq!(two.len(), three.len() * 2);
    let (none, _) = lab.run(Protocol::Resp2, Sentinel::master_address, &["nobody"]);
    assert_eq!(none, Value::NullArray);
    let (none, _) = lab.run(Protocol::Resp3, Sentinel::master_address, &["nobody"]);
    assert_eq!(none, Value::Null);
    let (error, _) = lab.run(Protocol::Resp2, Sentinel::set, &["mymaster", "quorum", "x"]);
    let text = b"ERR Invalid argument 'x' for SENTINEL SET 'quorum'".to_vec();
    assert_eq!(error, Value::Error(text));
}

#[test]
fn commands_that_were_renamed_are_called_by_their_names() {
    let mut lab = Lab::new(&[
        "monitor mymaster 10.0.0.1 6379 1",
        "auth-user mymaster sentinel",
        "auth-pass mymaster secret",
        "rename-command mymaster client PATRON",
    ]);
    lab.tick(100);
    let sent: Vec<_> = lab.sent.iter().map(|it| it.1.join(" ")).collect();
    assert_eq!(sent[0], "AUTH sentinel secret");
    assert!(sent[1].starts_with("PATRON SETNAME sentinel-"));
    assert_eq!(sent[2], "PING");
}

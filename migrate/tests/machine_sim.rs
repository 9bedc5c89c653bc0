//! Both machines in virtual time, with a link that loses, delays and reorders, hosts that fail, crashes
//! between any two actions, and operators who interfere: thousands of random schedules.
//!
//! Whatever happens: never two owners; nothing acknowledged is lost; once the faults stop, exactly one side
//! serves, thawed and unthrottled. `SEED=n CASES=m cargo test -p migrate --test machine_sim` replays.

#![allow(clippy::unwrap_used, reason = "a test ends by panicking")]

use migrate::machine::{
    DestinationAction, DestinationEvent, DestinationMachine, Prepared, RoundDone, SourceAction, SourceEvent,
    SourceMachine, VolumeDone,
};
use migrate::{Command, Epoch, Message, MigrationId, MigrationRecord, MigrationSpec, Phase, VolumeInfo};
use std::collections::BTreeMap;

struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
    /// True in one of `n` cases.
    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// What will happen at some time.
enum Due {
    ToSource(u32, SourceEvent),
    ToDestination(u32, DestinationEvent),
    /// A message of this link generation.
    Deliver {
        generation: u32,
        to_source: bool,
        message: Message,
    },
    LinkUp,
    Snapshot {
        transfer: (u32, u64),
        round: u32,
        last: bool,
    },
    Install {
        transfer: (u32, u64),
        round: u32,
        generation: u32,
    },
    Frozen {
        incarnation: u32,
        token: u64,
    },
    Relinquished {
        incarnation: u32,
        token: u64,
    },
    RestartSource,
    RestartDestination,
}

/// The durable and volatile state of the two clusters, as far as it matters.
struct World {
    rng: Rng,
    now: u64,
    due: BTreeMap<(u64, u64), Due>,
    sequence: u64,
    faults: bool,
    /// How rare interference is.
    calm: u64,
    link: Option<u32>,
    generations: u32,
    // Source.
    source: Option<SourceMachine>,
    source_journal: Option<MigrationRecord>,
    source_incarnation: u32,
    owned: bool,
    frozen: bool,
    freezing: Option<u64>,
    limit: Option<u64>,
    /// Acknowledged writes.
    content: u64,
    snapshots: BTreeMap<u32, u64>,
    /// Incarnation and token.
    transfer: Option<(u32, u64)>,
    // Destination.
    destination: Option<DestinationMachine>,
    destination_journal: Option<MigrationRecord>,
    destination_incarnation: u32,
    id: MigrationId,
    replica: Option<u64>,
    applied: Option<u64>,
    serving: bool,
    completed: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng(seed);
        let mut spec = MigrationSpec::new("v", "d");
        spec.cutover_window_ms = 2_000;
        spec.auto_cutover = !rng.one_in(4);
        spec.attempts_max = 2 + u32::try_from(rng.below(4)).unwrap();
        let calm = 1_000 << rng.below(6);
        let id = MigrationId(uuid::Uuid::from_u128(u128::from(seed)));
        World {
            rng,
            now: 1_000,
            due: BTreeMap::new(),
            sequence: 0,
            faults: true,
            calm,
            link: None,
            generations: 0,
            source: Some(SourceMachine::start(id, spec, 1_000)),
            source_journal: None,
            source_incarnation: 0,
            owned: true,
            frozen: false,
            freezing: None,
            limit: None,
            content: 1,
            snapshots: BTreeMap::new(),
            transfer: None,
            destination: Some(DestinationMachine::vacant(id, "s".to_owned())),
            destination_journal: None,
            destination_incarnation: 0,
            id,
            replica: None,
            applied: None,
            serving: false,
            completed: false,
        }
    }

    fn at(&mut self, delay: u64, due: Due) {
        self.sequence += 1;
        self.due.insert((self.now + delay, self.sequence), due);
    }

    /// Mostly short, at times longer than the cutover window.
    fn delay(&mut self) -> u64 {
        if self.faults && self.rng.one_in(40) { 3_000 } else { self.rng.below(60) }
    }

    fn fails(&mut self, one_in: u64) -> bool {
        self.faults && self.rng.one_in(one_in)
    }

    /// A host's answer.
    fn host(&mut self, one_in: u64) -> Result<(), String> {
        if self.fails(one_in) { Err("host".to_owned()) } else { Ok(()) }
    }

    fn step(&mut self) {
        self.client_writes();
        if self.faults {
            self.interfere();
        }
        self.connect();
        // One action of one side, so that a crash can come between any two.
        let source_first = self.rng.one_in(2);
        let acted = if source_first { self.act_source() } else { self.act_destination() };
        if !acted {
            let _ = if source_first { self.act_destination() } else { self.act_source() };
        }
        self.pass_time();
        assert!(!(self.owned && self.serving), "two owners");
    }

    fn client_writes(&mut self) {
        if self.owned && !self.frozen && self.source.is_some() {
            self.content += 1;
        }
    }

    fn interfere(&mut self) {
        match self.rng.below(self.calm) {
            0..6 if self.source_journal.is_some() && self.source.is_some() => self.crash_source(),
            6..12 => self.crash_destination(),
            12..22 => self.cut(),
            22..25 => self.command(Command::Pause),
            25..45 => self.command(Command::Resume),
            45..55 => self.command(Command::Cutover),
            55 if self.rng.one_in(6) => self.command(Command::Abort),
            56 if self.rng.one_in(4) => {
                if let Some(machine) = &mut self.destination {
                    // Refused in most phases.
                    let _ = machine.command(self.now, Command::Abort);
                }
            }
            _ => {}
        }
    }

    fn command(&mut self, command: Command) {
        if let Some(machine) = &mut self.source {
            // Refused in some phases.
            let _ = machine.command(self.now, command);
        }
    }

    fn cut(&mut self) {
        if self.link.take().is_none() {
            return;
        }
        let (source, destination) = (self.source_incarnation, self.destination_incarnation);
        // Either side notices in its own time; the transfer breaks.
        let (a, b) = (self.rng.below(60), self.rng.below(60));
        self.at(a, Due::ToSource(source, SourceEvent::LinkDown("cut".to_owned())));
        self.at(b, Due::ToDestination(destination, DestinationEvent::LinkDown("cut".to_owned())));
        if let Some((_, token)) = self.transfer.take() {
            self.at(a, Due::ToSource(source, broken(token)));
        }
    }

    fn crash_source(&mut self) {
        self.cut();
        self.source = None;
        self.source_incarnation += 1;
        (self.frozen, self.freezing, self.limit, self.transfer) = (false, None, None, None);
        let delay = self.rng.below(300);
        self.at(delay, Due::RestartSource);
    }

    fn crash_destination(&mut self) {
        if self.destination.take().is_some() {
            self.cut();
            self.destination_incarnation += 1;
            let delay = self.rng.below(300);
            self.at(delay, Due::RestartDestination);
        }
    }

    fn connect(&mut self) {
        let wanted = self.source.as_ref().is_some_and(SourceMachine::wants_link);
        let pending = self.due.values().any(|due| matches!(due, Due::LinkUp));
        if wanted && self.link.is_none() && self.destination.is_some() && !pending {
            // After both sides have noticed the last break.
            self.at(100, Due::LinkUp);
        } else if !wanted && self.link.is_some() && self.source.is_some() {
            self.cut();
        }
    }

    fn tell_source(&mut self, delay: u64, event: SourceEvent) {
        self.at(delay, Due::ToSource(self.source_incarnation, event));
    }

    fn send(&mut self, to_source: bool, message: Message) {
        let Some(generation) = self.link else { return };
        if self.fails(20) {
            return;
        }
        let delay = self.delay();
        self.at(delay, Due::Deliver { generation, to_source, message });
    }

    /// With nothing left to do, hosts are as the phase says.
    fn check_quiet_source(&self) {
        let Some(machine) = &self.source else { return };
        let phase = machine.record().phase;
        let cutting = matches!(phase, Phase::Cutover | Phase::Activate | Phase::Completed);
        assert!(cutting || !self.frozen, "{phase}, and requests wait");
        assert!(cutting || phase == Phase::AdminCutover || self.limit.is_none(), "{phase}, and throttled");
        assert_eq!(self.limit, machine.record().write_limit_bytes_per_s, "the record and the limit differ");
    }

    fn act_source(&mut self) -> bool {
        let Some(action) = self.source.as_mut().and_then(SourceMachine::poll_action) else {
            self.check_quiet_source();
            return false;
        };
        let delay = self.delay();
        match action {
            SourceAction::Persist(record) => self.source_journal = Some(*record),
            SourceAction::Send(message) => self.send(false, message),
            SourceAction::Prepare { token } => {
                let info = VolumeInfo {
                    uuid: uuid::Uuid::nil(),
                    name: "vol".into(),
                    size_bytes: 1,
                    attributes: String::new(),
                };
                let prepared = Prepared { epoch: Epoch(7), volumes: vec![info], config: vec![1] };
                let result = if self.fails(20) { Err("precheck".to_owned()) } else { Ok(prepared) };
                self.tell_source(delay, SourceEvent::Prepared { token, result });
            }
            SourceAction::Transfer { token, round, last } => {
                assert!(self.transfer.is_none(), "two transfers at once");
                let transfer = (self.source_incarnation, token);
                self.transfer = Some(transfer);
                self.at(delay, Due::Snapshot { transfer, round, last });
            }
            SourceAction::CancelTransfer => self.transfer = None,
            SourceAction::Measure { token } => {
                let remaining = if self.rng.one_in(3) { 0 } else { self.rng.below(1 << 31) };
                let result = if self.fails(30) { Err("x".into()) } else { Ok((remaining, 100 << 20)) };
                self.tell_source(delay, SourceEvent::Measured { token, result });
            }
            SourceAction::SetWriteLimit(limit) => self.limit = limit,
            SourceAction::Freeze { token } => {
                self.freezing = Some(token);
                self.at(delay, Due::Frozen { incarnation: self.source_incarnation, token });
            }
            SourceAction::Thaw => {
                assert!(self.owned, "thawed after the edge");
                (self.frozen, self.freezing) = (false, None);
            }
            SourceAction::Export { token } => {
                let state = (vec![2], self.content.to_be_bytes().to_vec());
                let result = if self.fails(30) { Err("x".to_owned()) } else { Ok(state) };
                self.tell_source(delay, SourceEvent::Exported { token, result });
            }
            SourceAction::Relinquish { token, epoch } => {
                assert_eq!(epoch, Epoch(8));
                self.at(delay, Due::Relinquished { incarnation: self.source_incarnation, token });
            }
            SourceAction::DropSnapshots { keep_from } => {
                self.snapshots.retain(|round, _| *round >= keep_from)
            }
            SourceAction::Retire { token } => {
                assert!(self.serving, "retired before the destination serves");
                self.tell_source(delay, SourceEvent::Retired { token, result: Ok(()) });
            }
            SourceAction::Cleanup { token } => {
                self.tell_source(delay, SourceEvent::CleanedUp { token, result: Ok(()) });
            }
            SourceAction::End => {}
        }
        true
    }

    fn act_destination(&mut self) -> bool {
        let Some(action) = self.destination.as_mut().and_then(DestinationMachine::poll_action) else {
            return false;
        };
        let event = match action {
            DestinationAction::Persist(record) => {
                self.destination_journal = Some(*record);
                return true;
            }
            DestinationAction::Send(message) => {
                self.send(true, message);
                return true;
            }
            DestinationAction::Prepare { token, .. } => {
                DestinationEvent::Prepared { token, result: self.host(50) }
            }
            DestinationAction::Apply { token, open_state, .. } => {
                let result = self.host(20);
                if result.is_ok() {
                    self.applied = Some(u64::from_be_bytes(open_state.try_into().unwrap()));
                }
                DestinationEvent::Applied { token, result }
            }
            DestinationAction::Rollback => {
                self.applied = None;
                return true;
            }
            DestinationAction::Activate { token, epoch } => {
                assert_eq!(epoch, Epoch(8));
                assert!(!self.owned, "activated while the source owns");
                let result = self.host(3);
                if result.is_ok() && !self.serving {
                    assert_eq!(self.applied, Some(self.content), "open state is not that of the edge");
                    assert_eq!(self.replica, Some(self.content), "acknowledged writes are lost");
                    self.serving = true;
                }
                DestinationEvent::Activated { token, result }
            }
            DestinationAction::Discard { token } => {
                assert!(!self.serving && self.owned, "discarded after the edge");
                (self.replica, self.applied) = (None, None);
                DestinationEvent::Discarded { token, result: self.host(3) }
            }
            DestinationAction::Finish { token } => {
                assert!(self.serving);
                self.completed = true;
                DestinationEvent::Finished { token }
            }
        };
        let delay = self.delay();
        self.at(delay, Due::ToDestination(self.destination_incarnation, event));
        true
    }

    fn pass_time(&mut self) {
        self.now += 1;
        while let Some(entry) = self.due.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let due = entry.remove();
            self.happen(due);
        }
        if let Some(machine) = &mut self.source
            && machine.poll_timeout().is_some_and(|at| at <= self.now)
        {
            machine.handle(self.now, SourceEvent::Timeout);
        }
        if let Some(machine) = &mut self.destination
            && machine.poll_timeout().is_some_and(|at| at <= self.now)
        {
            machine.handle(self.now, DestinationEvent::Timeout);
        }
    }

    fn happen(&mut self, due: Due) {
        let now = self.now;
        match due {
            Due::ToSource(incarnation, event) if incarnation == self.source_incarnation => {
                self.source.as_mut().unwrap().handle(now, event);
            }
            Due::ToDestination(incarnation, event) if incarnation == self.destination_incarnation => {
                self.destination.as_mut().unwrap().handle(now, event);
            }
            // Even of an old link: worse than what the driver lets through.
            Due::Deliver { to_source: true, message, .. } => {
                if let Some(machine) = &mut self.source {
                    machine.handle(now, SourceEvent::Message(message));
                }
            }
            Due::Deliver { generation, message, .. } => {
                if let Some(machine) = &mut self.destination
                    && (self.link == Some(generation) || self.rng.one_in(2))
                {
                    machine.handle(now, DestinationEvent::Message(message));
                }
            }
            Due::LinkUp => {
                if let (Some(source), Some(destination)) = (&mut self.source, &mut self.destination) {
                    self.generations += 1;
                    self.link = Some(self.generations);
                    destination.handle(now, DestinationEvent::LinkUp);
                    source.handle(now, SourceEvent::LinkUp);
                }
            }
            Due::Snapshot { transfer, round, last } if self.transfer == Some(transfer) => {
                self.on_snapshot(transfer, round, last);
            }
            Due::Install { transfer, round, generation } if self.transfer == Some(transfer) => {
                self.on_install(transfer.1, round, generation);
            }
            Due::Frozen { incarnation, token }
                if incarnation == self.source_incarnation && self.freezing == Some(token) =>
            {
                self.frozen = true;
                let result = if self.fails(30) { Err("x".to_owned()) } else { Ok(()) };
                self.tell_source(0, SourceEvent::Frozen { token, result });
            }
            // A crash before it was durable: it never happens.
            Due::Relinquished { incarnation, token } if incarnation == self.source_incarnation => {
                assert!(self.frozen, "relinquished while requests pass");
                let fails = self.fails(4);
                self.owned = fails && self.rng.one_in(2);
                let error = fails.then(|| "x".to_owned());
                self.tell_source(0, SourceEvent::Relinquished { token, here: self.owned, error });
            }
            Due::RestartSource => {
                let record = self.source_journal.clone().unwrap();
                self.source = Some(SourceMachine::restart(record, self.owned, now));
            }
            Due::RestartDestination => {
                self.destination = Some(match self.destination_journal.clone() {
                    Some(record) => DestinationMachine::restart(record),
                    None => DestinationMachine::vacant(self.id, "s".to_owned()),
                });
            }
            _ => {}
        }
    }

    fn on_snapshot(&mut self, transfer: (u32, u64), round: u32, last: bool) {
        assert!(!(last && self.snapshots.contains_key(&round)), "a last round met an older snapshot");
        self.snapshots.entry(round).or_insert(self.content);
        match self.link {
            Some(generation) => {
                let delay = self.delay();
                self.at(delay, Due::Install { transfer, round, generation });
            }
            None => {
                self.transfer = None;
                self.tell_source(0, broken(transfer.1));
            }
        }
    }

    fn on_install(&mut self, token: u64, round: u32, generation: u32) {
        self.transfer = None;
        let receives = self.destination.as_ref().is_some_and(DestinationMachine::receives);
        if self.link != Some(generation) || !receives {
            self.tell_source(1, broken(token));
            return;
        }
        if self.replica.is_some_and(|at| !self.snapshots.values().any(|content| *content == at)) {
            panic!("no common snapshot is left");
        }
        self.replica = Some(self.snapshots[&round]);
        // Installed, but the answer may be lost.
        if self.fails(20) {
            self.tell_source(1, broken(token));
            return;
        }
        let bytes = self.rng.below(1 << 26);
        let volume = VolumeDone {
            uuid: uuid::Uuid::nil(),
            snapshot: round.to_string(),
            root: self.snapshots[&round],
            bytes,
        };
        let done = RoundDone { volumes: vec![volume], stream_us: 100_000, total_ms: 120 };
        self.tell_source(1, SourceEvent::Transferred { token, result: Ok(done) });
    }

    fn source_phase(&self) -> Phase {
        self.source.as_ref().map_or(Phase::Setup, |machine| machine.record().phase)
    }

    fn settled(&self) -> bool {
        let Some(machine) = &self.source else { return false };
        let record = machine.record();
        match record.phase {
            Phase::Completed => record.settled && self.completed,
            Phase::Aborted => record.settled,
            Phase::Paused | Phase::Failed => true,
            _ => false,
        }
    }
}

fn broken(token: u64) -> SourceEvent {
    SourceEvent::Transferred { token, result: Err(("link".to_owned(), false)) }
}

/// How one schedule ended.
fn run(seed: u64) -> Phase {
    let mut world = World::new(seed);
    let fault_steps = world.rng.below(10_000);
    for _ in 0..fault_steps {
        world.step();
    }
    world.faults = false;
    if world.source.as_ref().is_some_and(|m| !m.record().cutover_requested) {
        world.command(Command::Cutover);
    }
    // Without faults everything comes to an end, and late messages no longer matter.
    for _ in 0..400_000 {
        if world.settled() && world.due.is_empty() {
            break;
        }
        if world.source.as_ref().is_some_and(|m| !m.record().cutover_requested) {
            world.command(Command::Cutover);
        }
        world.step();
    }
    let phase = world.source_phase();
    assert!(world.settled(), "stuck in {phase}: {:?} {:?}", world.source, world.destination);
    if phase == Phase::Completed {
        assert!(world.serving && !world.owned, "completed, and the destination does not serve");
    } else {
        assert!(world.owned && !world.serving, "{phase}, and the source does not own");
        assert!(!world.frozen, "{phase}, and requests still wait");
        assert_eq!(world.limit, None, "{phase}, and writes are still throttled");
    }
    phase
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn never_two_owners_and_nothing_lost() {
    let (seed, cases) = (number("SEED", 1), number("CASES", 1_500));
    let mut ends: BTreeMap<&str, u64> = BTreeMap::new();
    for case in seed..seed + cases {
        let end = std::panic::catch_unwind(|| run(case));
        match end {
            Ok(phase) => *ends.entry(phase.name()).or_default() += 1,
            Err(panic) => {
                eprintln!("replay with SEED={case} CASES=1");
                std::panic::resume_unwind(panic);
            }
        }
    }
    eprintln!("{ends:?}");
    if cases > 500 {
        for phase in ["completed", "aborted", "failed"] {
            assert!(ends.get(phase).is_some_and(|n| *n > 5), "too few ended {phase}: {ends:?}");
        }
    }
}

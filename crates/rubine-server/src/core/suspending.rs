//! Requests that are put off and taken up again, and those whose work is done elsewhere meanwhile: by the threads that
//! compute, or by another server that takes their keys.

use rubine_commands::{Args, CommandError, Shipment, Task};
use rubine_keyspace::Ticket;
use rubine_system::ticks;

use super::Core;
use crate::aside::{compute, migration};
use crate::client::Client;
use crate::client::moving::Hold;
use crate::client::request::OwnedArgs;
use crate::client::suspension::{Brought, Reason, Suspended};
use crate::observing::latency::LatencyEvent;

impl Core {
    /// Puts a client's request off. `args` is what runs when it goes on, if anything does.
    #[cold]
    pub(crate) fn suspend(&mut self, client: &mut Client, args: Option<Args<'_>>, reason: Reason) {
        if reason.counts_as_blocked() {
            self.count_blocked(1);
        }
        if matches!(reason, Reason::Paused) {
            self.paused.push(client.id);
        }
        let request = args.map(OwnedArgs::of);
        client.suspended = Some(Box::new(Suspended { request, reason, since: ticks::now() }));
    }

    /// A walk has met a busy shard. Its command is as if it had not run, and runs when the shard is free.
    #[cold]
    pub(crate) fn stand_for(&mut self, client: &mut Client, args: Args<'_>, busy: usize) {
        let effects = &mut self.runner.effects;
        let computations = &self.server.aside.computations;
        for task in [effects.task.take(), effects.computed.take()].into_iter().flatten() {
            computations.discard(task);
        }
        let ticket = Ticket { worker: self.index, client: client.id };
        client.standing = Some(self.server.keyspace.stand(ticket, busy));
        self.suspend(client, Some(args), Reason::BusyShard);
        self.start_clock();
    }

    /// Lets a request that was put off run again when its client is served next. Returns why it had to wait.
    pub(crate) fn resume(&mut self, client: &mut Client) -> Option<Reason> {
        let suspended = client.suspended.as_mut()?;
        let reason = std::mem::replace(&mut suspended.reason, Reason::Over);
        if matches!(reason, Reason::BusyShard) {
            let waited = ticks::now().wrapping_sub(suspended.since);
            self.note_latency(LatencyEvent::LockWait, waited);
            self.stats().shard_waits.add(1);
            self.stats().shard_wait_ticks.add(waited);
        }
        if reason.counts_as_blocked() {
            self.count_blocked(-1);
        }
        Some(reason)
    }

    /// Forgets the request of a client that goes away, whatever it waits for.
    pub(crate) fn abandon(&mut self, client: &mut Client) {
        if client.blocked().is_some() {
            self.abandon_wait(client);
        }
        let computations = &self.server.aside.computations;
        match self.resume(client) {
            Some(Reason::Computing) => computations.cancel(client.id),
            Some(Reason::Shipping(_)) => {
                // What is under way arrives, but nothing is removed for it.
                let waiting = self.server.aside.migrations.cancel(client.id);
                waiting.into_iter().for_each(|it| computations.discard(it));
            }
            _ => {}
        }
        client.suspended = None;
        if let Some(standing) = client.standing.take() {
            self.server.keyspace.withdraw(standing);
        }
        self.discard_brought(client);
    }

    /// Has what nobody takes up any more dropped where that may take long.
    pub(crate) fn discard_brought(&mut self, client: &mut Client) {
        let computations = &self.server.aside.computations;
        match client.brought.take() {
            Some(Brought::Computed(task)) => computations.discard(task),
            Some(Brought::Shipped(shipment, _)) => computations.discard(shipment),
            Some(Brought::Ran(..) | Brought::Slot(_)) | None => {}
        }
    }

    /// Hands a client's command what was done for it elsewhere. Returns its hold on the keys that it moves.
    #[cold]
    pub(crate) fn take_hold(&mut self, client: &mut Client) -> Option<Hold> {
        match client.brought.take()? {
            Brought::Computed(task) => {
                self.runner.effects.computed = Some(task);
                None
            }
            Brought::Shipped(shipment, hold) => {
                self.runner.effects.shipped = Some(shipment);
                hold
            }
            Brought::Ran(..) | Brought::Slot(_) => None,
        }
    }

    /// Lets a client wait until what its command needs is computed; then the command runs again.
    pub(crate) fn start_computing(&mut self, client: &mut Client, args: Args<'_>, task: Task) {
        self.suspend(client, Some(args), Reason::Computing);
        let asker = compute::Asker { worker: self.index, client: client.id };
        self.server.aside.computations.compute(asker, task);
    }

    /// Makes the keys of a shipment the client's, while the locks are held under which it was made. Returns whether they
    /// are; if not, they move already.
    pub(crate) fn claim_keys(
        &self,
        client: &Client,
        hold: &mut Option<Hold>,
        shipment: &Shipment,
    ) -> bool {
        if shipment.removes() && hold.is_none() {
            *hold = Hold::new(&self.server.aside.moving, client.id, shipment);
        }
        hold.is_some() || !shipment.removes()
    }

    /// Lets a client wait until its keys have been sent; then its command runs again.
    pub(crate) fn start_shipping(
        &mut self,
        client: &mut Client,
        args: Args<'_>,
        shipment: Box<Shipment>,
        hold: Option<Hold>,
    ) {
        if let Some(hold) = hold.as_ref().filter(|_| shipment.is_contested()) {
            hold.contest();
        }
        self.suspend(client, Some(args), Reason::Shipping(hold));
        let tls = self.server.tls_to_nodes();
        let job = migration::Job { worker: self.index, client: client.id, shipment, tls };
        migration::start(&self.server.aside.migrations, &self.server.workers, job);
    }

    /// Sends what a command of a transaction has handed out, in place: nothing may come between, so all who need the
    /// locked keys wait for the other server, as in Redis.
    #[cold]
    pub(crate) fn ship_in_place(&self, client: &Client, shipment: &mut Shipment) {
        let mut hold = None;
        if self.claim_keys(client, &mut hold, shipment) {
            let tls = self.server.tls_to_nodes();
            self.server.aside.migrations.carry(shipment, tls.as_ref());
        } else {
            shipment.refuse(CommandError::BeingMoved);
        }
    }
}

//! Computations that take too long to be made under locks: they are made on handles, elsewhere, and the command runs
//! again with the result. Never decides where.
//!
//! A handler that meets a long computation ends without having done anything. Its client is parked, the computation
//! made without any lock, and the handler called again: it parses and looks up as before, and if what it finds is what
//! the result was computed from, the result is what it would compute now. If not, it starts over.

use std::any::Any;

use crate::context::Context;

/// So often a computation starts over because its sources were changed meanwhile; then it is made under the locks.
const ATTEMPTS_MAX: u32 = 4;

/// Something that follows from handles of values and plain parameters alone.
pub trait Computation: Send + 'static {
    type Output: Send + 'static;

    /// How long it takes, in steps of 100 ns to 1 µs: about one for every element that is looked at or made.
    fn steps(&self) -> u64;

    /// Whether the other, of the same command with the same arguments, has the same outcome: their handles are of the
    /// same values still, and the limits that were looked up are equal.
    fn is_same(&self, other: &Self) -> bool;

    fn compute(&self) -> Self::Output;
}

/// A computation on its way from a command to whoever makes it, and back.
pub struct Task {
    work: Box<dyn Work>,
}

impl Task {
    /// Makes the computation.
    pub fn run(&mut self) {
        self.work.run();
    }

    fn attempt<C: Computation>(self) -> Option<Attempt<C>> {
        let work: Box<dyn Any> = self.work;
        work.downcast().ok().map(|attempt| *attempt)
    }
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task").finish_non_exhaustive()
    }
}

trait Work: Any + Send {
    fn run(&mut self);
}

struct Attempt<C: Computation> {
    computation: C,
    /// It is the first, the second ..
    number: u32,
    output: Option<C::Output>,
}

impl<C: Computation> Work for Attempt<C> {
    fn run(&mut self) {
        self.output = Some(self.computation.compute());
    }
}

impl Context<'_, '_> {
    /// The outcome of a computation whose result will be stored; it is that of the keys as they are now. `None` if it
    /// has to be made without the locks: then the handler ends, without having written or replied anything, and runs
    /// again when the result is there.
    #[must_use]
    pub fn compute<C: Computation>(&mut self, computation: C) -> Option<C::Output> {
        if computation.steps() <= self.client.steps_at_once_max {
            return Some(computation.compute());
        }
        let Some(Attempt { computation: earlier, number, output }) = self.take_computed::<C>()
        else {
            return self.defer(computation, 1);
        };
        if earlier.is_same(&computation) {
            // Whatever is the last handle of a value that was removed meanwhile takes long to drop.
            self.effects.computed = Some(Task::holding(earlier));
            return output;
        }
        self.effects.computed =
            Some(Task { work: Box::new(Attempt { computation: earlier, number, output }) });
        if number < ATTEMPTS_MAX {
            self.defer(computation, number + 1)
        } else {
            Some(computation.compute())
        }
    }

    /// As [`Self::compute`], where the outcome is only replied: it may be that of the keys as they were when the command
    /// ran first, which is between the request and the reply as well.
    #[must_use]
    pub fn compute_reply<C: Computation>(&mut self, computation: C) -> Option<C::Output> {
        if computation.steps() <= self.client.steps_at_once_max {
            return Some(computation.compute());
        }
        let Some(Attempt { computation: earlier, output, .. }) = self.take_computed::<C>() else {
            return self.defer(computation, 1);
        };
        self.effects.computed = Some(Task::holding(earlier));
        output
    }

    fn take_computed<C: Computation>(&mut self) -> Option<Attempt<C>> {
        let attempt = self.effects.computed.take()?.attempt::<C>()?;
        attempt.output.is_some().then_some(attempt)
    }

    fn defer<C: Computation>(&mut self, computation: C, number: u32) -> Option<C::Output> {
        let attempt = Attempt { computation, number, output: None };
        self.effects.task = Some(Task { work: Box::new(attempt) });
        None
    }
}

impl Task {
    /// Nothing to do any more but to be dropped.
    fn holding<C: Computation>(computation: C) -> Self {
        Self { work: Box::new(Attempt { computation, number: 0, output: None }) }
    }
}

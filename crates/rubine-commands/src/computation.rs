//! Computations that take too long to be made under locks: they are made on handles, elsewhere, and the command runs
//! again with the result. Never decides where.
//!
//! A handler that meets a long computation ends without having done anything. Its client is parked, the computation
//! made without any lock, and the handler called again: it parses and looks up as before, and if what it finds is what
//! the result was computed from, the result is what it would compute now. If not, it starts over.

use std::any::Any;

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

    /// Nothing to do any more but to be dropped.
    pub(crate) fn holding<C: Computation>(computation: C) -> Self {
        Self::of(Attempt { computation, number: 0, output: None })
    }

    pub(crate) fn of<C: Computation>(attempt: Attempt<C>) -> Self {
        Self { work: Box::new(attempt) }
    }

    pub(crate) fn attempt<C: Computation>(self) -> Option<Attempt<C>> {
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

/// One try at a computation, made or to be made.
pub(crate) struct Attempt<C: Computation> {
    pub(crate) computation: C,
    /// It is the first, the second ..
    pub(crate) number: u32,
    pub(crate) output: Option<C::Output>,
}

impl<C: Computation> Work for Attempt<C> {
    fn run(&mut self) {
        self.output = Some(self.computation.compute());
    }
}

//! How a command asks for the outcome of a computation, and ends if that has to be made elsewhere first. Never makes it
//! there.

use crate::computation::{Attempt, Computation, Task};
use crate::context::Context;

/// So often a computation starts over because its sources were changed meanwhile; then it is made under the locks.
const ATTEMPTS_MAX: u32 = 4;

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
        self.effects.computed = Some(Task::of(Attempt { computation: earlier, number, output }));
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
        self.effects.task = Some(Task::of(Attempt { computation, number, output: None }));
        None
    }
}

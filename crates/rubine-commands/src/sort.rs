//! SORT and `SORT_RO`: the elements of a list, a set or a sorted set, in an order that other keys may decide. What takes
//! long is sorted without the locks, over handles. Never changes what it sorts.

mod elements;
mod options;
mod order;
mod pattern;
mod source;

use std::sync::Arc;

use rubine_base::crc::slot_of;
use rubine_keyspace::Key;
use rubine_resp::writer::{Progress, Reply, ReplyStream};
use rubine_structures::list::{ChunkLimit, End, List};
use rubine_structures::value::Value;

use crate::args::Args;
use crate::command::{Acl, Command, KeyPositions, KeySpec};
use crate::computation::Computation;
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::event::Event;
use crate::hash::Sight;
use crate::list::chunk_limit;
use elements::{Elements, steps};
use options::{Form, Options};
use pattern::{Found, Image, Live, NoKeys, Subject, Values};
use rubine_base::collation::Collation;
use source::Source;

pub(crate) const COMMANDS: &[Command] = &[SORT, SORT_RO];

const CATEGORIES: Acl = Acl::SET.union(Acl::SORTED_SET).union(Acl::LIST).union(Acl::DANGEROUS);

const COMPLEXITY: &str = "O(N+M*log(M)) with N the number of elements and M the number of those returned; O(N) if \
                          nothing is sorted.";

/// What is replied at once, in bytes and what stands for them; a stream writes what is beyond.
const COST_AT_ONCE_MAX: usize = 64 * 1024;
/// Elements of one RPUSH in the journal.
const ELEMENTS_PER_PUSH: usize = 512;

const SORT: Command = Command::new("SORT", sort)
    .summary("Returns or stores the elements of a list, a set or a sorted set in order.")
    .syntax(
        "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] [ALPHA] [STORE destination]",
    )
    .complexity(COMPLEXITY)
    .arity(-2)
    .writes()
    .denies_oom()
    .also(CATEGORIES)
    .except(Acl::KEYSPACE)
    .all_shards_if(|args| needs_other_keys(args, Form::MayStore))
    .key("RO ACCESS")
    .keys(OTHER_KEYS)
    .keys(KeySpec { positions: KeyPositions::Custom(find_destination), access: "OW UPDATE" });

const SORT_RO: Command = Command::new("SORT_RO", sort_ro)
    .summary("Returns the elements of a list, a set or a sorted set in order.")
    .syntax("key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] [ALPHA]")
    .since("7.0.0")
    .complexity(COMPLEXITY)
    .arity(-2)
    .reads()
    .also(CATEGORIES)
    .except(Acl::KEYSPACE)
    .all_shards_if(|args| needs_other_keys(args, Form::ReadOnly))
    .key("RO ACCESS")
    .keys(OTHER_KEYS);

/// The keys that patterns name. Which they are, only the elements tell.
const OTHER_KEYS: KeySpec =
    KeySpec { positions: KeyPositions::Custom(|_, _| {}), access: "RO ACCESS" };

fn needs_other_keys(args: Args<'_>, form: Form) -> bool {
    Options::parse(args, form, options::Readable::EveryKey)
        .is_ok_and(|options| options.needs_other_keys())
}

fn find_destination(args: Args<'_>, visit: &mut dyn FnMut(usize)) {
    if let Ok(Options { destination: Some(index), .. }) =
        Options::parse(args, Form::MayStore, options::Readable::EveryKey)
    {
        visit(index);
    }
}

fn sort(cx: &mut Context<'_, '_>) -> CommandResult {
    let mut options = Options::parse(cx.args, Form::MayStore, readable_to(cx))?;
    options.orders_sets |= cx.client.is_script;
    let source = find(cx)?;
    match options.destination {
        Some(destination) => store(cx, destination, source, options),
        None => reply(cx, source, options),
    }
}

fn sort_ro(cx: &mut Context<'_, '_>) -> CommandResult {
    let mut options = Options::parse(cx.args, Form::ReadOnly, readable_to(cx))?;
    options.orders_sets |= cx.client.is_script;
    let source = find(cx)?;
    reply(cx, source, options)
}

fn readable_to(cx: &Context<'_, '_>) -> options::Readable {
    match cx.client.reads_every_key {
        false => options::Readable::SomeKeys,
        true if cx.limits.cluster => options::Readable::EveryKeyOfSlot(slot_of(cx.args.at(1))),
        true => options::Readable::EveryKey,
    }
}

/// A handle of what is to be sorted.
fn find(cx: &mut Context<'_, '_>) -> Result<Source, CommandError> {
    let key = cx.key(1);
    let Some(record) = cx.keys.find(key) else { return Ok(Source::Nothing) };
    Source::of(record.value()).ok_or(CommandError::WrongType)
}

fn reply(cx: &mut Context<'_, '_>, source: Source, options: Options) -> CommandResult {
    let sight = Sight::of(cx);
    let mut elements;
    let mut image = None;
    if steps(&source, &options) <= cx.client.steps_at_once_max {
        let live = &mut Live { keys: &mut cx.keys, sight };
        elements = Elements::new(&source, &options, cx.limits.collation.as_ref(), live)?;
    } else {
        let image_now = options.needs_other_keys().then(|| Image::of(cx));
        let sorting = Sorting {
            source,
            options: options.clone(),
            collation: cx.limits.collation.clone(),
            image: image_now,
        };
        let Some(sorted) = cx.compute_reply(sorting) else { return Ok(()) };
        (elements, image) = sorted?;
    }
    let gets = options.gets.as_slice();
    cx.reply.array(elements.len().saturating_mul(gets.len().max(1)));
    let has_more = if let Some(mut image) = image.as_deref() {
        write_some(&mut elements, gets, &mut image, &mut cx.reply, COST_AT_ONCE_MAX)
    } else {
        let mut live = Live { keys: &mut cx.keys, sight };
        write_some(&mut elements, gets, &mut live, &mut cx.reply, COST_AT_ONCE_MAX)
    };
    if has_more {
        if options.gets_other_keys() && image.is_none() {
            image = Some(Image::of(cx));
        }
        cx.reply.stream(Box::new(Rest { elements, gets: options.gets, image }));
    }
    Ok(())
}

/// Writes the next elements, or what is got for them. Returns whether there are more.
fn write_some(
    elements: &mut Elements,
    gets: &[Subject],
    values: &mut impl Values,
    reply: &mut Reply<'_>,
    budget_bytes: usize,
) -> bool {
    elements.give(gets, values, budget_bytes, |found| write(reply, found))
}

fn write(reply: &mut Reply<'_>, found: Found<'_>) {
    match found {
        Found::Nothing => reply.null(),
        Found::Text(text) => reply.bulk(text),
        Found::Integer(integer) => reply.bulk_integer(integer),
        Found::Shared(value) => reply.shared(value),
    }
}

fn store(
    cx: &mut Context<'_, '_>,
    destination: usize,
    source: Source,
    options: Options,
) -> CommandResult {
    let limit = chunk_limit(cx.limits);
    let reads_fields = options.reads_fields();
    let result = if options.needs_other_keys() {
        // Whether any of those keys was changed meanwhile could not be told afterwards.
        let sight = Sight::of(cx);
        result(&source, &options, limit, &mut Live { keys: &mut cx.keys, sight })?
    } else {
        let Some(result) = cx.compute(Storing { source, options, limit }) else { return Ok(()) };
        result?
    };
    let destination = cx.key(destination);
    let len = result.len();
    if 0 < len {
        if reads_fields {
            // Whoever replays it may not know yet which fields were due.
            replicate_result(cx, destination, &result);
        }
        if cx.keys.store(destination, Value::List(result), None) {
            cx.notify(destination, Event::NEW);
        }
        cx.touched(destination, Event::SORTSTORE);
        cx.keys.add_dirty(len as u64 - 1);
    } else if cx.keys.remove(destination) {
        cx.touched(destination, Event::DEL);
    }
    cx.reply.integer(len as i64);
    Ok(())
}

/// What is stored.
fn result(
    source: &Source,
    options: &Options,
    limit: ChunkLimit,
    values: &mut impl Values,
) -> Result<List, CommandError> {
    let mut elements = Elements::new(source, options, None, values)?;
    let mut list = List::new();
    let mut digits = itoa::Buffer::new();
    let mut push = |found: Found<'_>| {
        let text = match found {
            Found::Nothing => b"",
            Found::Text(text) => text,
            Found::Integer(integer) => digits.format(integer).as_bytes(),
            Found::Shared(value) => value,
        };
        list.push(End::Back, text, limit);
    };
    while elements.give(&options.gets, values, COST_AT_ONCE_MAX, &mut push) {}
    Ok(list)
}

/// Writes to the journal what the list becomes, in place of how that was found out.
fn replicate_result(cx: &mut Context<'_, '_>, destination: Key<'_>, result: &List) {
    cx.replicate(&[b"DEL", destination.bytes()]);
    if !cx.effects.is_journalled {
        return;
    }
    let mut items = result.iter().peekable();
    while items.peek().is_some() {
        let mut command: Vec<&[u8]> = vec![b"RPUSH", destination.bytes()];
        command.extend(items.by_ref().take(ELEMENTS_PER_PUSH));
        cx.replicate(&command);
    }
}

/// Sorting for a reply. What patterns name is looked up in an image, since it has to be that of one instant.
struct Sorting {
    source: Source,
    options: Options,
    collation: Option<Arc<dyn Collation>>,
    image: Option<Arc<Image>>,
}

impl Computation for Sorting {
    type Output = Result<(Elements, Option<Arc<Image>>), CommandError>;

    fn steps(&self) -> u64 {
        steps(&self.source, &self.options)
    }

    fn is_same(&self, other: &Self) -> bool {
        self.source.is_same(&other.source)
    }

    fn compute(&self) -> Self::Output {
        let Self { source, options, collation, image } = self;
        let elements = match image.as_deref() {
            Some(mut image) => Elements::new(source, options, collation.as_ref(), &mut image)?,
            None => Elements::new(source, options, collation.as_ref(), &mut NoKeys)?,
        };
        Ok((elements, self.image.clone()))
    }
}

/// Sorting what is to be stored, where no pattern names other keys.
struct Storing {
    source: Source,
    options: Options,
    limit: ChunkLimit,
}

impl Computation for Storing {
    type Output = Result<List, CommandError>;

    fn steps(&self) -> u64 {
        self.source.len() as u64
    }

    fn is_same(&self, other: &Self) -> bool {
        self.limit == other.limit && self.source.is_same(&other.source)
    }

    fn compute(&self) -> Self::Output {
        result(&self.source, &self.options, self.limit, &mut NoKeys)
    }
}

/// The elements of a long reply that are still to be written.
struct Rest {
    elements: Elements,
    gets: Vec<Subject>,
    /// The keys that patterns name, as they were.
    image: Option<Arc<Image>>,
}

impl ReplyStream for Rest {
    fn fill(&mut self, reply: &mut Reply<'_>, budget_bytes: usize) -> Progress {
        let Self { elements, gets, image } = self;
        let has_more = match image.as_deref() {
            Some(mut image) => write_some(elements, gets, &mut image, reply, budget_bytes),
            None => write_some(elements, gets, &mut NoKeys, reply, budget_bytes),
        };
        if has_more { Progress::More } else { Progress::Done }
    }

    fn pinned_bytes(&self) -> usize {
        self.elements.heap_bytes()
    }
}

//! Patterns that make names of keys from elements, and the values under those keys. Never writes a reply.

use std::sync::Arc;

use rubine_base::SharedBytes;
use rubine_keyspace::{Key, Snapshot, View};
use rubine_structures::record::RecordRef;
use rubine_structures::value::ValueRef;

use crate::context::Context;
use crate::hash::Sight;

/// A key's name with a gap for an element, and perhaps the name of a field of the hash under that key.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    before: Box<[u8]>,
    after: Box<[u8]>,
    field: Option<Box<[u8]>>,
}

impl Pattern {
    /// `None` if it has no gap. As in Redis, a null byte ends the search for the gap and for the field, not what is found.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let searched = until_null(text);
        let gap = memchr::memchr(b'*', searched)?;
        let arrow = memchr::memmem::find(&searched[gap + 1..], b"->").map(|at| gap + 1 + at);
        let arrow = arrow.filter(|arrow| arrow + 2 < searched.len());
        Some(Self {
            before: text[..gap].into(),
            after: text[gap + 1..arrow.unwrap_or(text.len())].into(),
            field: arrow.map(|arrow| text[arrow + 2..].into()),
        })
    }

    pub(super) fn names_field(&self) -> bool {
        self.field.is_some()
    }

    /// The name of the key for an element.
    fn key_for(&self, element: &[u8]) -> Vec<u8> {
        [&self.before, element, &self.after].concat()
    }
}

/// What is got for each element.
#[derive(Clone, Debug)]
pub(super) enum Subject {
    Element,
    Value(Pattern),
    /// A pattern without a gap: the same key for all elements, for which nothing is ever found.
    Nothing,
}

impl Subject {
    pub(super) fn parse(text: &[u8]) -> Self {
        if until_null(text) == b"#" {
            Self::Element
        } else {
            Pattern::parse(text).map_or(Self::Nothing, Self::Value)
        }
    }

    pub(super) fn pattern(&self) -> Option<&Pattern> {
        match self {
            Self::Value(pattern) => Some(pattern),
            Self::Element | Self::Nothing => None,
        }
    }
}

/// The part of a text in front of its first null byte: what C takes for all of it.
pub(super) fn until_null(text: &[u8]) -> &[u8] {
    &text[..memchr::memchr(0, text).unwrap_or(text.len())]
}

/// What a pattern leads to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found<'v> {
    Nothing,
    Text(&'v [u8]),
    Integer(i64),
    Shared(&'v SharedBytes),
}

impl Found<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Nothing | Self::Integer(_) => 0,
            Self::Text(text) => text.len(),
            Self::Shared(value) => value.len(),
        }
    }
}

/// Where values of keys come from.
pub(super) trait Values {
    /// Shows the value that `pattern` leads to for `element`.
    fn visit<R>(
        &mut self,
        pattern: &Pattern,
        element: &[u8],
        look: impl FnOnce(Found<'_>) -> R,
    ) -> R;
}

/// Keys whose shards are locked.
pub(super) struct Live<'a, 'v, 'k> {
    pub(super) keys: &'a mut View<'v, 'k>,
    pub(super) sight: Sight,
}

impl Values for Live<'_, '_, '_> {
    fn visit<R>(
        &mut self,
        pattern: &Pattern,
        element: &[u8],
        look: impl FnOnce(Found<'_>) -> R,
    ) -> R {
        let name = pattern.key_for(element);
        look(found_in(self.keys.find(Key::new(&name)), pattern, self.sight))
    }
}

/// All keys as they were at one instant.
#[derive(Debug)]
pub(super) struct Image {
    keys: Snapshot,
    db: usize,
    /// Keys with a deadline up to this are not there.
    due_until: i64,
    sight: Sight,
}

impl Image {
    /// Of all keys, whose shards are locked.
    pub(super) fn of(cx: &mut Context<'_, '_>) -> Arc<Self> {
        let (db, due_until) = (cx.keys.db(), cx.keys.due_until());
        Arc::new(Self { db, due_until, sight: Sight::of(cx), keys: cx.keys.image() })
    }
}

impl Values for &Image {
    fn visit<R>(
        &mut self,
        pattern: &Pattern,
        element: &[u8],
        look: impl FnOnce(Found<'_>) -> R,
    ) -> R {
        let name = pattern.key_for(element);
        let is_due =
            |record: &RecordRef<'_>| record.deadline().is_some_and(|it| it <= self.due_until);
        let record = self.keys.find(self.db, Key::new(&name)).filter(|record| !is_due(record));
        look(found_in(record, pattern, self.sight))
    }
}

/// For a job without patterns.
pub(super) struct NoKeys;

impl Values for NoKeys {
    fn visit<R>(&mut self, _: &Pattern, _: &[u8], look: impl FnOnce(Found<'_>) -> R) -> R {
        look(Found::Nothing)
    }
}

fn found_in<'v>(record: Option<RecordRef<'v>>, pattern: &Pattern, sight: Sight) -> Found<'v> {
    match (record.map(RecordRef::value), &pattern.field) {
        (Some(ValueRef::Int(integer)), None) => Found::Integer(integer),
        (Some(ValueRef::Bytes { bytes, .. }), None) => Found::Text(bytes),
        (Some(ValueRef::Shared(value)), None) => Found::Shared(value),
        (Some(ValueRef::Hash(hash)), Some(field)) => match sight.get(hash, field) {
            Some(element) => match element.shared_value {
                Some(value) => Found::Shared(value),
                None => Found::Text(element.value),
            },
            None => Found::Nothing,
        },
        _ => Found::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::{Pattern, Subject};

    #[test]
    fn patterns_are_read_like_this() {
        let check = |text: &[u8], key: &[u8], field: Option<&[u8]>| {
            let pattern = Pattern::parse(text).unwrap();
            assert_eq!(pattern.key_for(b"E"), key);
            assert_eq!(pattern.field.as_deref(), field);
        };
        check(b"*", b"E", None);
        check(b"w_*_x", b"w_E_x", None);
        check(b"w_*_*", b"w_E_*", None);
        check(b"w_*->f", b"w_E", Some(b"f"));
        check(b"w_*_x->f->g", b"w_E_x", Some(b"f->g"));
        check(b"w_*->", b"w_E->", None);
        check(b"a->b*", b"a->bE", None);
        check(b"a->*->b", b"a->E", Some(b"b"));
        check(b"*->f\0g", b"E", Some(b"f\0g"));
        check(b"*\0->f", b"E\0->f", None);
        assert!(Pattern::parse(b"").is_none());
        assert!(Pattern::parse(b"nosort").is_none());
        assert!(Pattern::parse(b"a\0*").is_none());
    }

    #[test]
    fn a_number_sign_is_the_element() {
        assert!(matches!(Subject::parse(b"#"), Subject::Element));
        assert!(matches!(Subject::parse(b"#\0x"), Subject::Element));
        assert!(matches!(Subject::parse(b"#x"), Subject::Nothing));
        assert!(matches!(Subject::parse(b"#*"), Subject::Value(_)));
    }
}

//! The order of texts as a language has it. Whoever compares texts is handed one; who makes one knows the system's locales.

use std::cmp::Ordering;
use std::ffi::CStr;

/// The order that a locale gives texts. It may contradict itself: nobody has proved the tables of locales.
pub trait Collation: std::fmt::Debug + Send + Sync {
    fn compare(&self, a: &CStr, b: &CStr) -> Ordering;
}

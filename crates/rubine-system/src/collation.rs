//! The order of texts in a locale. Nothing of the process is changed for it: the locale is an object of its own, which any
//! number of threads may use.

use std::cmp::Ordering;
use std::ffi::{CStr, CString};
use std::ptr::NonNull;
use std::sync::Arc;

use rubine_base::collation::Collation;

/// Locales whose order is that of bytes.
const BYTEWISE: [&str; 4] = ["C", "POSIX", "C.UTF-8", "C.utf8"];

#[expect(unsafe_code, reason = "the libc crate does not declare it")]
unsafe extern "C" {
    fn strcoll_l(
        a: *const libc::c_char,
        b: *const libc::c_char,
        locale: libc::locale_t,
    ) -> libc::c_int;
}

/// This machine has no such locale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownLocale;

/// The order of the locale `name`, or of the one that the environment asks for where that is empty; `None` for the order
/// of bytes.
pub fn collation(name: &str) -> Result<Option<Arc<dyn Collation>>, UnknownLocale> {
    let locale = Locale::open(name).ok_or(UnknownLocale)?;
    let meant = if name.is_empty() { of_environment() } else { name.to_owned() };
    let is_bytewise = BYTEWISE.contains(&meant.as_str());
    Ok(if is_bytewise { None } else { Some(Arc::new(locale)) })
}

/// What the environment says, as the C library reads it.
fn of_environment() -> String {
    let variables = ["LC_ALL", "LC_COLLATE", "LANG"];
    let set = variables.into_iter().filter_map(|it| std::env::var(it).ok());
    set.into_iter().find(|it| !it.is_empty()).unwrap_or_else(|| "C".to_owned())
}

/// A locale of the C library. Invariant: the object exists until this is dropped.
#[derive(Debug)]
struct Locale(NonNull<libc::c_void>);

// SAFETY: the object is never changed between its creation and its end, so any thread may read it.
#[expect(unsafe_code, reason = "a raw pointer has no threads of its own")]
unsafe impl Send for Locale {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "a raw pointer has no threads of its own")]
unsafe impl Sync for Locale {}

impl Locale {
    #[expect(unsafe_code, reason = "no library offers locales of the system")]
    fn open(name: &str) -> Option<Self> {
        let name = CString::new(name).ok()?;
        // SAFETY: the name outlives the call, and a null base asks for a new object. The environment is read, which no
        // thread changes once there are several (`title.rs`).
        let locale =
            unsafe { libc::newlocale(libc::LC_COLLATE_MASK, name.as_ptr(), std::ptr::null_mut()) };
        NonNull::new(locale.cast()).map(Self)
    }
}

impl Collation for Locale {
    #[expect(unsafe_code, reason = "no library offers locales of the system")]
    fn compare(&self, a: &CStr, b: &CStr) -> Ordering {
        // SAFETY: both texts end with a null byte, and the object exists by the invariant.
        unsafe { strcoll_l(a.as_ptr(), b.as_ptr(), self.0.as_ptr().cast()) }.cmp(&0)
    }
}

impl Drop for Locale {
    #[expect(unsafe_code, reason = "no library offers locales of the system")]
    fn drop(&mut self) {
        // SAFETY: the object exists by the invariant, and nobody can use it any more.
        unsafe { libc::freelocale(self.0.as_ptr().cast()) }
    }
}

#[cfg(test)]
mod tests {
    use super::collation;

    #[test]
    fn what_orders_bytes_is_left_to_those_who_can_do_it_faster() {
        for name in ["C", "POSIX"] {
            assert!(collation(name).is_ok_and(|it| it.is_none()), "{name}");
        }
    }

    #[test]
    fn an_unknown_locale_is_told() {
        for name in ["tlh_XX.UTF-8", "a\0b", "/"] {
            assert!(collation(name).is_err(), "{name}");
        }
    }
}

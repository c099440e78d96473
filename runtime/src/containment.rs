//! Contains panics of library code that reads damaged files.
//!
//! Such a panic is the fault of the disk, not of this program. It becomes an error: nothing is printed, and no crash
//! report is written.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

/// The code panicked, with this message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Panicked(pub String);

/// Runs `work` and turns a panic into an error.
///
/// # Errors
/// [`Panicked`] if it panicked.
pub fn contain<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    QUIET_HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !is_contained() {
                before(info);
            }
        }));
    });
    let outer = CONTAINED.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    CONTAINED.set(outer);
    result.map_err(|payload| {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        Panicked(text.unwrap_or("it breaks its own rules").chars().take(MESSAGE_CHARS_MAX).collect())
    })
}

/// Tells whether panics of this thread are contained at the moment.
pub fn is_contained() -> bool {
    CONTAINED.get()
}

thread_local! {
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

static QUIET_HOOK: Once = Once::new();
const MESSAGE_CHARS_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_later_ones_are_not_hidden() {
        assert_eq!(contain(|| 3), Ok(3));
        assert_eq!(contain(|| panic!("page {}", 7)), Err::<(), _>(Panicked("page 7".to_owned())));
        assert!(!is_contained());
        let nested = contain(|| {
            contain(|| panic!("inner")).unwrap_err();
            is_contained()
        });
        assert_eq!(nested, Ok(true));
    }
}

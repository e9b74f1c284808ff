//! How the allocator is used: the one place with `unsafe`, since its options are functions of C.

use libmimalloc_sys::{mi_option_set, mi_option_t};

/// `mi_option_purge_delay` of `mimalloc.h`, version 3, which the bindings do not name.
const PURGE_DELAY: mi_option_t = 15;
/// How long freed memory may be kept for the next one who needs some. It is a second unless set: a merge of segments then
/// takes half as much again as its limit counts, since all that it freed within that second is still there.
const PURGE_DELAY_MILLIS: std::ffi::c_long = 10;

/// The variable by which mimalloc is told the same.
const PURGE_DELAY_VARIABLE: &str = "MIMALLOC_PURGE_DELAY";

/// Gives freed memory back to the kernel soon, unless the environment says when.
pub(crate) fn configure() {
    if std::env::var_os(PURGE_DELAY_VARIABLE).is_some() {
        return;
    }
    #[expect(unsafe_code, reason = "mimalloc has no other way to set an option")]
    // SAFETY: the call takes two numbers and stores the second; it can be called at any time, from any thread.
    unsafe {
        mi_option_set(PURGE_DELAY, PURGE_DELAY_MILLIS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_that_of_the_delay() {
        #[expect(unsafe_code, reason = "mimalloc has no other way to read an option")]
        // SAFETY: the call takes a number and reads what is stored under it.
        let read = || unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        assert_eq!(read(), 1000, "what mimalloc has unless told otherwise");
        configure();
        assert_eq!(read(), PURGE_DELAY_MILLIS);
    }
}

//! The C library's heap: one, and what is no longer needed goes back to the system.
//!
//! Only glibc is told; others do so by themselves or cannot.

/// For a program whose threads hardly allocate at the same time. Call it before there are any (mallopt(3)).
pub fn be_sparing() {
    #[cfg(target_env = "gnu")]
    {
        use nix::libc;
        // A heap for every thread keeps what a dump of neighbours needed once. And a buffer of megabytes, when it
        // is freed, would raise the size from which memory is given back to its own; a fixed one, the
        // default, prevents it.
        const MMAP_THRESHOLD: libc::c_int = 128 * 1024;
        for (parameter, value) in [(libc::M_ARENA_MAX, 1), (libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD)] {
            // SAFETY: takes two numbers, and only the allocator's own settings change.
            if unsafe { libc::mallopt(parameter, value) } == 0 {
                tracing::debug!(parameter, value, "the allocator does not take this setting");
            }
        }
    }
}

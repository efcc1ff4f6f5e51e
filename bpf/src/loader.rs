//! aya's loader, without all of the kernel's types in memory.

use aya::{Btf, EbpfLoader, VerifierLogLevel};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// A loader that knows these types of the kernel, or none.
pub(crate) fn loader(types: Option<&Btf>) -> EbpfLoader<'_> {
    let mut loader = without_descriptors(EbpfLoader::new);
    // The verifier tells the last words of a refused program, and not every step: the steps are many megabytes.
    loader.btf(types).verifier_log_level(VerifierLogLevel::STATS);
    loader
}

/// Making a loader reads the kernel's types as soon as it is made, 15 MB of memory, before anybody can say that others are
/// to be used. A process that may have no more descriptors can't open their file, which aya takes for a kernel without
/// types. Other threads can't open anything in that moment; the programs that load have none.
fn without_descriptors<T>(make: impl FnOnce() -> T) -> T {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return make();
    };
    let limited = setrlimit(Resource::RLIMIT_NOFILE, 0, hard).is_ok();
    let made = make();
    if limited {
        // Never refused: it is what was allowed before.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, soft, hard);
    }
    made
}

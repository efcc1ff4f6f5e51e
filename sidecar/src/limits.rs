//! How much of the machine the process takes: its threads, and each one's share of what is bounded for all of them.

use nix::sys::resource::{Resource, getrlimit};

/// Most data threads that are started unless more are asked for: a sidecar is to be small beside its application.
const THREADS: usize = 4;
/// Descriptors of a process without connections, at most: standard streams, runtimes, endpoints, sinks.
const FILES_OF_PROCESS: u64 = 32;
/// Descriptors of a data thread without connections, at most: its runtime, its listeners, a packet socket.
const FILES_OF_THREAD: u64 = 16;
/// A limit of open files below this is worth a warning: two files a connection.
const FEW_FILES: u64 = 256;

/// How many data threads there are to be: as many as asked for, or by default one for each core that the process may use and
/// at most four. Fewer where the limit of open files leaves no room for connections otherwise.
pub fn threads(asked: usize) -> usize {
    let wanted = match asked {
        0 => std::thread::available_parallelism().map_or(1, |cores| cores.get().min(THREADS)),
        threads => threads,
    };
    let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
    let threads = with_files(wanted, files);
    if threads < wanted || files < FEW_FILES {
        tracing::warn!(
            files,
            threads,
            "the limit of open files is low: few connections at once, and no more than so many data threads; raise it \
             (`ulimit -n`, or the container's `nofile`)"
        );
    }
    threads
}

/// At rest all threads take half of the descriptors at most.
fn with_files(wanted: usize, files: u64) -> usize {
    let room = files.saturating_sub(FILES_OF_PROCESS) / 2 / FILES_OF_THREAD;
    wanted.min(usize::try_from(room).unwrap_or(usize::MAX)).max(1)
}

/// One thread's share of what all of them may have.
pub fn share(all: usize, threads: usize) -> usize {
    all / threads.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_open_files_mean_few_threads_and_always_one() {
        for (wanted, files, threads) in [
            (4, 1 << 20, 4),
            (4, 1024, 4),
            (64, 1024, 31),
            (4, 64, 1),
            (4, 0, 1),
            (1, u64::MAX, 1),
        ] {
            assert_eq!(with_files(wanted, files), threads, "{wanted} {files}");
        }
    }

    #[test]
    fn by_default_there_are_few_threads() {
        assert!((1..=THREADS).contains(&threads(0)));
    }
}

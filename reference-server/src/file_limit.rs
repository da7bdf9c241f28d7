//! How many files this process may open, against how many connections it is meant to take.

/// What the server opens besides its connections: listeners, the database, log and runtime.
#[cfg(unix)]
const OTHER_FILES: u64 = 64;

/// Raises the process's soft limit as far as it may, and warns when `connections_max` clients do not
/// fit it all the same. For the program; a library leaves its process alone.
#[cfg(unix)]
pub(crate) fn prepare(connections_max: usize) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = connections_max as u64 + OTHER_FILES;
    let Some(soft) = current.filter(|soft| *soft < wanted) else {
        return;
    };
    let raised = maximum.map_or(wanted, |maximum| wanted.min(maximum));
    let limit = Rlimit {
        current: Some(raised),
        maximum,
    };
    let files_max = match setrlimit(Resource::Nofile, limit) {
        Ok(()) => raised,
        Err(_) => soft,
    };
    if files_max < wanted {
        tracing::warn!(
            connections_max,
            files_max,
            "connections_max is more than the files that this process may open: raise the limit \
             (ulimit -n, LimitNOFILE) or lower connections_max, or clients will wait unanswered"
        );
    }
}

/// Elsewhere sockets are not counted as files.
#[cfg(not(unix))]
pub(crate) const fn prepare(_connections_max: usize) {}

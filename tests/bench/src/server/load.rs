//! The runtime of the load: one thread, since it shares the machine with what it measures.

use std::future::Future;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Builder;
use tokio::task::LocalSet;

/// Runs a load to its end; tasks that it leaves behind end with it.
///
/// Errors: those of the load.
pub fn run<T>(load: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    raise_file_limit()?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, load)
}

/// A connection is a file here and one in the program under test, which inherits this limit.
fn raise_file_limit() -> anyhow::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let current = maximum;
    Ok(setrlimit(Resource::Nofile, Rlimit { current, maximum })?)
}

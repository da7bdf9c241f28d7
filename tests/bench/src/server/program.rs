//! A program under test, as a process of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};

/// A running program; it ends when this is dropped, or when this process ends.
#[derive(Debug)]
pub struct Program {
    child: Child,
    address: SocketAddr,
}

impl Program {
    /// Starts the server: `tidewire-bench serve ARGS…`.
    ///
    /// Errors: it does not start, or listens nowhere.
    pub fn ours(args: &[&str]) -> anyhow::Result<Self> {
        Self::start("serve", args)
    }

    /// Starts the bare program: `tidewire-bench serve-bare`.
    ///
    /// Errors: as [`Program::ours`].
    pub fn bare() -> anyhow::Result<Self> {
        Self::start("serve-bare", &[])
    }

    /// Starts the bare program such that it answers each message with messages of so many bytes, to
    /// whoever sent it alone.
    ///
    /// Errors: as [`Program::ours`].
    pub fn answering(answers: &[usize]) -> anyhow::Result<Self> {
        let answers: Vec<String> = answers.iter().map(|b| format!("--answer={b}")).collect();
        let args: Vec<&str> = answers.iter().map(String::as_str).collect();
        Self::start("serve-bare", &args)
    }

    /// Starts the bare program such that it keeps so many names with an entry each.
    ///
    /// Errors: as [`Program::ours`].
    pub fn keeping(names: usize) -> anyhow::Result<Self> {
        Self::start("serve-bare", &[&format!("--keep={names}")])
    }

    fn start(kind: &str, args: &[&str]) -> anyhow::Result<Self> {
        let path = path()?;
        let mut child = Command::new(&path)
            .arg(kind)
            .args(args)
            // It ends when its input does.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", path.display()))?;
        let mut said = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut said)?;
        }
        let address = said
            .trim()
            .strip_prefix("listening ")
            .and_then(|at| at.parse().ok());
        Ok(Self {
            child,
            address: address.with_context(|| format!("`{kind}` said {said:?} and no address"))?,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The processor time that all its threads have used so far, in steps of 10 ms.
    ///
    /// Errors: it has ended.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = self.read("stat")?;
        // The second field is a name in parentheses that may hold anything.
        let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let mut ticks = fields.split(' ').skip(11).map(str::parse::<u64>);
        let (Some(Ok(user)), Some(Ok(system))) = (ticks.next(), ticks.next()) else {
            anyhow::bail!("no processor times in {stat:?}");
        };
        let second = rustix::param::clock_ticks_per_second() as f64;
        Ok(Duration::from_secs_f64((user + system) as f64 / second))
    }

    /// The memory that it keeps resident, in bytes.
    ///
    /// Errors: it has ended.
    pub fn memory(&self) -> anyhow::Result<u64> {
        let rollup = self.read("smaps_rollup")?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        Ok(kib.with_context(|| format!("no Rss in {rollup:?}"))? * 1024)
    }

    fn read(&self, file: &str) -> anyhow::Result<String> {
        let path = format!("/proc/{}/{file}", self.child.id());
        fs::read_to_string(&path).with_context(|| format!("{path}: the program has ended"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // One that has ended by itself is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `tidewire-bench`: this program, or the one that cargo built beside this test.
fn path() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let name = format!("tidewire-bench{}", std::env::consts::EXE_SUFFIX);
    if own.file_name().is_some_and(|own| *own == *name) {
        return Ok(own);
    }
    let beside = own.ancestors().nth(2).map(|dir| dir.join(name));
    let beside = beside.with_context(|| format!("{} is nowhere", own.display()))?;
    ensure!(
        beside.is_file(),
        "{} is missing: run these tests with cargo, which builds it",
        beside.display()
    );
    Ok(beside)
}

//! How much memory there is for this process: what its control group allows, else what the machine has.

use std::fs;
use std::path::{Path, PathBuf};

/// Where nobody says how much there is: what a small virtual machine has.
const UNKNOWN: u64 = 1024 * 1024 * 1024;

/// The bytes that everything together may take when `memory_bytes_max` is 0: half of what there is. The
/// other half is for what is not counted: tasks, sockets, the allocator's own, the page cache.
pub(crate) fn half() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.as_deref().and_then(total);
    let available = [machine, group()].into_iter().flatten().min();
    available.unwrap_or(UNKNOWN) / 2
}

/// The line `MemTotal:  N kB`.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// The least that this process's control group and those around it allow.
fn group() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    limit(&groups, &|path| fs::read_to_string(path).ok())
}

/// `groups` has lines `ID:CONTROLLERS:PATH`; ID 0 is version 2.
fn limit(groups: &str, read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
    let mut least: Option<u64> = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(id), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let (root, file) = match controllers {
            "" if id == "0" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        // Inside of a container the path may be that of the outside; its own is then the root.
        let mut group: PathBuf = [root, path.trim_start_matches('/')].iter().collect();
        loop {
            let text = read(&group.join(file));
            // "max" is no limit, and version 1 says "none" with a number near 2^63.
            let found = text.and_then(|text| text.trim().parse::<u64>().ok());
            let found = found.filter(|bytes| *bytes < 1 << 60);
            least = [least, found].into_iter().flatten().min();
            if group == Path::new(root) || !group.pop() {
                break;
            }
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_limit_around_the_process_counts() {
        let files = |path: &Path| -> Option<String> {
            let text = match path.to_str()? {
                "/sys/fs/cgroup/a/b/memory.max" => "max\n",
                "/sys/fs/cgroup/a/memory.max" => "2000\n",
                "/sys/fs/cgroup/memory.max" => "3000\n",
                "/sys/fs/cgroup/memory/x/memory.limit_in_bytes" => "1500\n",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes" => "9223372036854771712\n",
                _ => return None,
            };
            Some(text.into())
        };
        for (groups, least) in [
            ("0::/a/b\n", Some(2000)),
            ("0::/\n", Some(3000)),
            ("0::/elsewhere/c\n", Some(3000)),
            ("5:memory:/x\n", Some(1500)),
            ("5:memory:/y\n", None),
            ("3:cpu,memory:/x\n0::/a/b\n", Some(1500)),
            ("1:cpu:/x\n", None),
            ("nonsense", None),
            ("", None),
        ] {
            assert_eq!(limit(groups, &files), least, "{groups}");
        }
    }

    #[test]
    fn the_machine_says_how_much_it_has() {
        assert_eq!(
            total("MemTotal:       16 kB\nMemFree: 3 kB\n"),
            Some(16 * 1024)
        );
        for bad in ["", "MemFree: 3 kB", "MemTotal: x kB", "MemTotal: 3"] {
            assert_eq!(total(bad), None, "{bad}");
        }
        assert!(half() > 0);
    }
}

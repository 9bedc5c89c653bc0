//! How much memory the volumes of a node share: what the configuration says, or a part of what the machine has. Opens no volume.

use crate::config::VolumesConfig;
use fsstore::Memory;
use std::path::Path;

const MIB: u64 = 1 << 20;
/// Least and most that a node takes by itself.
const DEFAULT_BYTES_MIN: u64 = 128 * MIB;
const DEFAULT_BYTES_MAX: u64 = 8192 * MIB;
/// Taken for the machine's memory where it can't be read.
const UNKNOWN_BYTES: u64 = 1024 * MIB;
/// Most for changes: more would make a consistency point long, and nothing faster.
const DIRTY_BYTES_MAX: u64 = 512 * MIB;

/// The memory of all volumes of a node: a third of it for changes, the rest for the cache.
pub(crate) fn of_node(config: &VolumesConfig) -> Memory {
    let bytes =
        config.memory_mib.map_or_else(|| default_bytes(machine_bytes()), |mib| mib.saturating_mul(MIB));
    let dirty_bytes = (bytes / 3).min(DIRTY_BYTES_MAX);
    tracing::info!(mib = bytes / MIB, "memory for volumes");
    Memory::new(bytes - dirty_bytes, dirty_bytes)
}

/// A quarter of what there is, within bounds.
fn default_bytes(machine: Option<u64>) -> u64 {
    (machine.unwrap_or(UNKNOWN_BYTES) / 4).clamp(DEFAULT_BYTES_MIN, DEFAULT_BYTES_MAX)
}

/// The machine's memory, or what the control groups that this process is in leave of it.
fn machine_bytes() -> Option<u64> {
    let total = total_bytes(&std::fs::read_to_string("/proc/meminfo").ok()?)?;
    let group = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = group_files(&group).into_iter().filter_map(|path| {
        let text = std::fs::read_to_string(Path::new("/sys/fs/cgroup").join(path)).ok()?;
        // `max`: none.
        text.trim().parse().ok()
    });
    Some(limits.fold(total, u64::min))
}

fn total_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Where limits may be: in the process's group and in each above it (version 2), or in one place (version 1).
fn group_files(groups: &str) -> Vec<String> {
    let mut files = vec!["memory/memory.limit_in_bytes".to_owned(), "memory.max".to_owned()];
    if let Some(path) = groups.lines().find_map(|line| line.strip_prefix("0::/")) {
        let mut at = String::new();
        for part in path.split('/').filter(|part| !part.is_empty() && *part != "..") {
            at.push_str(part);
            at.push('/');
            files.push(format!("{at}memory.max"));
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_takes_a_quarter_within_bounds() {
        assert_eq!(default_bytes(Some(4096 * MIB)), 1024 * MIB);
        assert_eq!(default_bytes(Some(100 * MIB)), DEFAULT_BYTES_MIN);
        assert_eq!(default_bytes(Some(1 << 50)), DEFAULT_BYTES_MAX);
        assert_eq!(default_bytes(None), 256 * MIB);
    }

    #[test]
    fn what_the_operator_says_counts() {
        let config = VolumesConfig { memory_mib: Some(300), ..VolumesConfig::default() };
        let limits = of_node(&config).usage();
        assert_eq!(limits.dirty_bytes_max, 100 * MIB);
        assert!(limits.cache_bytes_max.abs_diff(200 * MIB) < MIB, "{limits:?}");
    }

    #[test]
    fn the_limits_of_all_groups_above_are_looked_at() {
        assert_eq!(total_bytes("MemFree: 1 kB\n"), None);
        assert_eq!(total_bytes("MemTotal:       24576 kB\nMemFree: 1 kB\n"), Some(24 * MIB));
        let files = group_files("0::/system.slice/ferry.service\n");
        assert!(files.contains(&"memory.max".to_owned()));
        assert!(files.contains(&"system.slice/memory.max".to_owned()));
        assert!(files.contains(&"system.slice/ferry.service/memory.max".to_owned()));
    }
}

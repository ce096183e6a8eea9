//! How much memory there is for the asking.

use std::fs;
use std::path::Path;

/// Bytes that the machine, and the container, can still give without swapping; `None` where the system does not say.
pub fn available_memory() -> Option<usize> {
    let available = [
        meminfo_available(),
        cgroup_available(Path::new("/sys/fs/cgroup")),
    ];
    available.into_iter().flatten().min()
}

/// `MemAvailable` of `/proc/meminfo`, in bytes.
fn meminfo_available() -> Option<usize> {
    parse_meminfo(&fs::read_to_string("/proc/meminfo").ok()?)
}

fn parse_meminfo(text: &str) -> Option<usize> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// What the process's control group (version 2, mounted at `root`) leaves: its limit minus its use.
fn cgroup_available(root: &Path) -> Option<usize> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let relative = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    // In a container the group's path is often not visible below the mount: then the mount itself is the group.
    let below = root.join(relative.trim());
    let group = if below.join("memory.max").exists() {
        below
    } else {
        root.to_path_buf()
    };
    let number = |name: &str| -> Option<usize> {
        fs::read_to_string(group.join(name))
            .ok()?
            .trim()
            .parse()
            .ok()
    };
    // "max" does not parse: no limit, nothing to say.
    Some(number("memory.max")?.saturating_sub(number("memory.current")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_in_kib() {
        let text = "MemTotal:       2457600 kB\nMemAvailable:   2048000 kB\n";
        assert_eq!(parse_meminfo(text), Some(2_048_000 * 1024));
        assert_eq!(parse_meminfo("MemTotal: 1 kB\n"), None);
        assert_eq!(parse_meminfo("MemAvailable: lots kB\n"), None);
    }
}

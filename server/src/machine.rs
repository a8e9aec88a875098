//! What the machine offers: cores, and the memory of the host or of the container.

use std::fs;
use std::path::Path;

/// Cores this process may use; at least one.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Memory this process may use, bytes: the host's, or the smaller limit of a cgroup.
#[must_use]
pub fn memory_bytes() -> u64 {
    let host = host_memory_bytes();
    cgroup_memory_bytes(Path::new("/sys/fs/cgroup")).map_or(host, |limit| limit.min(host))
}

/// Physical memory of the host, bytes.
#[must_use]
pub fn host_memory_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram as u64 * u64::from(info.mem_unit)
}

/// Name, release and machine, as `uname` has them.
#[must_use]
pub fn os() -> String {
    let name = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    format!("{} {} {}", text(name.sysname()), text(name.release()), text(name.machine()))
}

/// CPU time of this process so far: user and system, seconds.
#[must_use]
pub fn cpu_seconds() -> (f64, f64) {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to memory of the type's size, and zeros are a valid `rusage`.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    (seconds(usage.ru_utime), seconds(usage.ru_stime))
}

/// The smallest limit on the way from this process's cgroup to the root, v2 or v1.
fn cgroup_memory_bytes(root: &Path) -> Option<u64> {
    let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = membership.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        match controllers {
            "" => smallest_limit(root, path, "memory.max"),
            list if list.split(',').any(|name| name == "memory") => {
                smallest_limit(&root.join("memory"), path, "memory.limit_in_bytes")
            }
            _ => None,
        }
    });
    limits.min()
}

/// Reads the limit of a group and of all groups above it. Inside a container the path may lead
/// outside of what is mounted; the mount's root then is the container's own group.
fn smallest_limit(mount: &Path, path: &str, file: &str) -> Option<u64> {
    let group = mount.join(path.trim_start_matches('/'));
    let groups = group.ancestors().take_while(|folder| folder.starts_with(mount));
    groups.filter_map(|folder| fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_limit_on_the_way_up_counts() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let group = root.path().join("a/b");
        fs::create_dir_all(&group).expect("created");
        fs::write(group.join("memory.max"), "max\n").expect("written");
        fs::write(root.path().join("a/memory.max"), "1048576\n").expect("written");
        fs::write(root.path().join("memory.max"), "2097152\n").expect("written");
        assert_eq!(smallest_limit(root.path(), "/a/b", "memory.max"), Some(1 << 20));
        assert_eq!(smallest_limit(root.path(), "/not/mounted/here", "memory.max"), Some(2 << 20));
        assert_eq!(smallest_limit(root.path(), "/a/b", "memory.limit_in_bytes"), None);
    }

    #[test]
    fn the_machine_has_cores_and_memory() {
        assert!(cores() >= 1);
        assert!(memory_bytes() > 1 << 20);
    }
}

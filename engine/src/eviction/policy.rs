//! The eviction policies, by Redis's names.

/// What happens at the bound of the whole data set. The names are Redis's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Policy {
    /// Tiered: cold data moves to disk, nothing is dropped.
    #[default]
    NoEviction = 0,
    AllKeysLru = 1,
    AllKeysLfu = 2,
    AllKeysRandom = 3,
    VolatileLru = 4,
    VolatileLfu = 5,
    VolatileRandom = 6,
    VolatileTtl = 7,
}

impl Policy {
    const ALL: [Policy; 8] = [
        Policy::NoEviction,
        Policy::AllKeysLru,
        Policy::AllKeysLfu,
        Policy::AllKeysRandom,
        Policy::VolatileLru,
        Policy::VolatileLfu,
        Policy::VolatileRandom,
        Policy::VolatileTtl,
    ];

    /// Whether the keys used least often go, by LFU's counter.
    #[must_use]
    pub fn is_lfu(self) -> bool {
        matches!(self, Policy::AllKeysLfu | Policy::VolatileLfu)
    }

    /// The name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Policy::NoEviction => "noeviction",
            Policy::AllKeysLru => "allkeys-lru",
            Policy::AllKeysLfu => "allkeys-lfu",
            Policy::AllKeysRandom => "allkeys-random",
            Policy::VolatileLru => "volatile-lru",
            Policy::VolatileLfu => "volatile-lfu",
            Policy::VolatileRandom => "volatile-random",
            Policy::VolatileTtl => "volatile-ttl",
        }
    }

    /// The policy of a number, as of `policy as u8`.
    #[must_use]
    pub fn from_code(code: u8) -> Policy {
        Policy::ALL.get(code as usize).copied().unwrap_or_default()
    }

    /// The policy of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Policy> {
        Policy::ALL.into_iter().find(|policy| policy.name() == name)
    }

    /// Whether only keys with a deadline are dropped.
    #[must_use]
    pub fn is_volatile(self) -> bool {
        matches!(
            self,
            Policy::VolatileLru | Policy::VolatileLfu | Policy::VolatileRandom | Policy::VolatileTtl
        )
    }
}

/// How LFU's counter grows and falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lfu {
    /// How slowly it grows: the higher, the more uses a step takes.
    pub log_factor: u32,
    /// Minutes without a use after which it loses one; 0 is never.
    pub decay_minutes: u32,
}

impl Default for Lfu {
    fn default() -> Self {
        Lfu { log_factor: 10, decay_minutes: 1 }
    }
}

/// What is dropped at the bound on the disk space, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheConfig {
    pub policy: Policy,
    /// Bound on the disk space of the store, bytes; 0 for none.
    pub maxdisk: u64,
    /// Keys that compete to be dropped.
    pub samples: usize,
    pub lfu: Lfu,
}

impl Default for CacheConfig {
    fn default() -> Self {
        CacheConfig { policy: Policy::NoEviction, maxdisk: 0, samples: 5, lfu: Lfu::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_are_unique() {
        for (code, policy) in Policy::ALL.into_iter().enumerate() {
            assert_eq!(Policy::from_code(code as u8), policy);
            assert_eq!(Policy::from_name(policy.name()), Some(policy));
        }
        assert_eq!(Policy::from_name("lru"), None);
    }
}

//! The engine's identifiers, each a type of its own so that the compiler catches a swap.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// Log sequence number: the position of a commit in the WAL. Dense (each commit is the one
    /// before it plus one) and below 2^48; 0 stands for "no commit".
    Lsn(u64)
);
id!(
    /// The database number a client names with SELECT.
    DbIndex(u8)
);
id!(
    /// Logical database id: what rows and effects carry. Never reused; FLUSHDB allots a new one.
    DbId(u32)
);
id!(
    /// One slice of the keyspace under one lock. The number of shards is fixed per store.
    ShardId(u8)
);
id!(
    /// Names the rows of one large value in `elements`. Never reused: the number of the store's
    /// opening (24 bits) and a counter (40 bits).
    Incarnation(u64)
);
id!(
    /// A deadline: absolute Unix time in milliseconds from which the key counts as gone.
    ExpireAt(u64)
);

impl Lsn {
    /// The largest LSN that can be stored; entries keep 48 bits.
    pub const MAX: Lsn = Lsn((1 << 48) - 1);

    /// The LSN that follows this one.
    #[must_use]
    pub fn next(self) -> Lsn {
        Lsn(self.0 + 1)
    }
}

impl ExpireAt {
    /// Whether a key with this deadline counts as gone at `now_ms` (Unix milliseconds).
    #[must_use]
    pub fn is_past(self, now_ms: u64) -> bool {
        self.0 <= now_ms
    }
}

//! Values whose content is rows of `elements` and not in memory: where it is, and a collection of which
//! only the header is in memory.
//!
//! A string and a collection that was built from parts are *pages*: their bytes, cut evenly. A collection
//! too large for one row is *nodes*: pieces that its type cut, each under its own key.
//!
//! Only replay, which reads no rows, leaves edits waiting at a stored collection. They are made when the
//! content is read.

use super::TypeTag;
use super::collection::{Collection, Held};
use crate::codec::DecodeError;
use crate::ids::Incarnation;

/// Where the content of a value is.
#[derive(Debug, Clone, PartialEq)]
pub enum StoredAt {
    /// A string: `len` bytes in pages.
    String { incarnation: Incarnation, len: u64 },
    /// A collection: `len` bytes in pages, as its type encodes it.
    Pages { tag: TypeTag, incarnation: Incarnation, len: u64 },
    /// A collection: nodes, and what its type keeps outside of them.
    Nodes { tag: TypeTag, incarnation: Incarnation, header: Box<[u8]> },
}

impl StoredAt {
    /// Names the rows.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        match self {
            StoredAt::String { incarnation, .. }
            | StoredAt::Pages { incarnation, .. }
            | StoredAt::Nodes { incarnation, .. } => *incarnation,
        }
    }

    /// What the key holds.
    fn type_tag(&self) -> TypeTag {
        match self {
            StoredAt::String { .. } => TypeTag::String,
            StoredAt::Pages { tag, .. } | StoredAt::Nodes { tag, .. } => *tag,
        }
    }
}

/// The content of a stored value.
#[derive(Debug)]
pub enum Loaded {
    String(Vec<u8>),
    Collection(Held),
}

impl Loaded {
    /// Memory that it takes, bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Loaded::String(bytes) => bytes.len(),
            Loaded::Collection(held) => held.heap_bytes(),
        }
    }
}

/// A collection without its elements. Never [`StoredAt::String`].
#[derive(Debug, Clone, PartialEq)]
pub struct StoredCollection {
    pub at: StoredAt,
    edits: Vec<Box<[u8]>>,
    /// Their bytes: each edit asks for the size before and after it.
    edit_bytes: usize,
}

impl StoredCollection {
    /// A collection whose content is rows.
    #[must_use]
    pub fn new(at: StoredAt) -> Self {
        StoredCollection { at, edits: Vec::new(), edit_bytes: 0 }
    }

    /// What the key holds.
    #[must_use]
    pub fn type_tag(&self) -> TypeTag {
        self.at.type_tag()
    }

    /// How the value is stored, as OBJECT ENCODING names it.
    #[must_use]
    pub fn encoding(&self) -> &'static str {
        match &self.at {
            // A list of a few large elements counts as packed.
            StoredAt::Nodes { tag: TypeTag::List, header, .. } => {
                Collection::begin_load(TypeTag::List, header).map_or("quicklist", |list| list.encoding())
            }
            at => at.type_tag().large_encoding(),
        }
    }

    /// Whether edits wait for the content.
    #[must_use]
    pub fn has_edits(&self) -> bool {
        !self.edits.is_empty()
    }

    /// Queues an edit.
    pub fn edit(&mut self, edit: &[u8]) {
        self.edit_bytes += edit.len();
        self.edits.push(Box::from(edit));
    }

    /// Makes the edits that wait.
    ///
    /// # Errors
    /// One does not fit the content: corruption.
    pub fn load(&self, mut held: Held) -> Result<Held, DecodeError> {
        for edit in &self.edits {
            held.apply(edit)?;
        }
        Ok(held)
    }

    /// Heap bytes held.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let header = match &self.at {
            StoredAt::Nodes { header, .. } => header.len(),
            _ => 0,
        };
        size_of::<Self>() + header + self.edits.capacity() * size_of::<Box<[u8]>>() + self.edit_bytes
    }
}

/// Puts a collection together from its nodes.
pub struct NodeLoader {
    value: Collection,
    incarnation: Incarnation,
}

impl NodeLoader {
    /// Begins with the header.
    ///
    /// # Errors
    /// It does not decode: corruption.
    pub fn new(tag: TypeTag, incarnation: Incarnation, header: &[u8]) -> Result<Self, DecodeError> {
        Ok(NodeLoader { value: Collection::begin_load(tag, header)?, incarnation })
    }

    /// Adds a node; they come in the order of their keys.
    ///
    /// # Errors
    /// It does not decode or does not follow the one before: corruption.
    pub fn push(&mut self, key: &[u8], body: &[u8]) -> Result<(), DecodeError> {
        self.value.push_node(key, body)
    }

    /// The collection, with nothing dirty.
    ///
    /// # Errors
    /// Nodes are missing: corruption.
    pub fn finish(mut self) -> Result<Held, DecodeError> {
        self.value.end_load()?;
        Ok(Held::of_nodes(self.value, self.incarnation))
    }
}

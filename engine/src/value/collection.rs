//! One enum over all collections, and what the engine asks of each.
//!
//! The engine stores, moves and replays collections without knowing their insides: it decodes a row,
//! applies an edit, asks for bytes. What a type must provide for that are the methods called here; its
//! edits are bytes that only it reads. Commands match on the variant and use the type itself.

use super::TypeTag;
use super::hash::HashValue;
use super::list::ListValue;
use super::set::SetValue;
use super::stream::StreamValue;
use super::zset::ZSetValue;
use crate::codec::DecodeError;
use crate::ids::{ExpireAt, Incarnation};

macro_rules! collections {
    ($($name:ident($type:ty) = $doc:literal,)*) => {
        /// A collection of any type.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Collection { $(#[doc = $doc] $name($type),)* }

        impl Collection {
            /// An empty collection; `None` for a type that is none.
            #[must_use]
            pub fn new(tag: TypeTag) -> Option<Collection> {
                match tag {
                    $(TypeTag::$name => Some(Collection::$name(<$type>::default())),)*
                    TypeTag::String => None,
                }
            }

            /// Decodes the body of a row.
            ///
            /// # Errors
            /// The bytes are not what the type writes: corruption.
            pub fn decode(tag: TypeTag, bytes: &[u8]) -> Result<Collection, DecodeError> {
                match tag {
                    $(TypeTag::$name => <$type>::decode(bytes).map(Collection::$name),)*
                    TypeTag::String => Err(DecodeError { what: "a string is no collection", at: 0 }),
                }
            }

            /// The type.
            #[must_use]
            pub fn type_tag(&self) -> TypeTag {
                match self { $(Collection::$name(_) => TypeTag::$name,)* }
            }

            /// Applies an edit, live and in replay alike.
            ///
            /// # Errors
            /// The edit does not decode or does not fit this value: corruption, only in replay.
            pub fn apply(&mut self, edit: &[u8]) -> Result<(), DecodeError> {
                match self { $(Collection::$name(value) => value.apply(edit),)* }
            }

            /// The encoding as OBJECT ENCODING names it.
            #[must_use]
            pub fn encoding(&self) -> &'static str {
                match self { $(Collection::$name(value) => value.encoding(),)* }
            }

            /// Whether the key of this value goes: it has no elements and its type does not allow that.
            #[must_use]
            pub fn is_vacant(&self) -> bool {
                match self { $(Collection::$name(value) => value.is_vacant(),)* }
            }

            /// Heap bytes held.
            #[must_use]
            pub fn heap_bytes(&self) -> usize {
                match self { $(Collection::$name(value) => value.heap_bytes(),)* }
            }

            /// Appends the body of its row.
            pub fn encode(&self, out: &mut Vec<u8>) {
                match self { $(Collection::$name(value) => value.encode(out),)* }
            }

            /// Length of the body of its row, about.
            #[must_use]
            pub fn encoded_len(&self) -> usize {
                match self { $(Collection::$name(value) => value.encoded_len(),)* }
            }

            /// Appends what is not in nodes.
            pub fn encode_header(&self, out: &mut Vec<u8>) {
                match self { $(Collection::$name(value) => value.encode_header(out),)* }
            }

            /// Hands out the nodes that changed since the last call: key, and bytes or `None` for one that is
            /// gone. They count as written then.
            pub fn take_dirty_nodes(&mut self, put: &mut dyn FnMut(&[u8], Option<&[u8]>)) {
                match self { $(Collection::$name(value) => value.take_dirty_nodes(put),)* }
            }

            /// Hands out all nodes. They count as written then.
            pub fn all_nodes(&mut self, put: &mut dyn FnMut(&[u8], &[u8])) {
                match self { $(Collection::$name(value) => value.all_nodes(put),)* }
            }

            /// An incomplete collection to which its nodes will come.
            ///
            /// # Errors
            /// The header does not decode: corruption.
            pub fn begin_load(tag: TypeTag, header: &[u8]) -> Result<Collection, DecodeError> {
                match tag {
                    $(TypeTag::$name => <$type>::begin_load(header).map(Collection::$name),)*
                    TypeTag::String => Err(DecodeError { what: "a string is no collection", at: 0 }),
                }
            }

            /// Adds a node; they come in the order of their keys.
            ///
            /// # Errors
            /// It does not decode or is out of order: corruption.
            pub fn push_node(&mut self, key: &[u8], body: &[u8]) -> Result<(), DecodeError> {
                match self { $(Collection::$name(value) => value.push_node(key, body),)* }
            }

            /// Ends the loading.
            ///
            /// # Errors
            /// Something is missing: corruption.
            pub fn end_load(&mut self) -> Result<(), DecodeError> {
                match self { $(Collection::$name(value) => value.end_load(),)* }
            }
        }
    };
}

collections! {
    Hash(HashValue) = "Fields and their values.",
    List(ListValue) = "Elements by position.",
    Set(SetValue) = "Members.",
    ZSet(ZSetValue) = "Members by score.",
    Stream(StreamValue) = "Entries by id, and who reads them.",
}

/// Longer bodies are stored as nodes.
pub const ROW_MAX: usize = 1 << 20;

/// What of a collection is in the cold tier besides its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Home {
    /// Nodes of an incarnation; those that are not dirty are rows.
    Nodes(Incarnation),
    /// Pages of its encoded bytes, so many, as it was published. The first edit ends that: it says in the log
    /// that they die.
    Pages(Incarnation, u64),
}

impl Collection {
    /// When the next element expires by itself (a field of a hash); it may be over already.
    #[must_use]
    pub fn next_deadline(&self) -> Option<ExpireAt> {
        match self {
            Collection::Hash(hash) => hash.next_deadline(),
            _ => None,
        }
    }
}

/// A collection in memory, and how it stands in the cold tier.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    pub value: Collection,
    /// `None`: the row has it all, if there is one. Few collections have more.
    home: Option<Box<Home>>,
}

/// How a dirty collection is to be written.
#[derive(Debug, PartialEq, Eq)]
pub enum Image {
    /// As the body of its row.
    Row,
    /// As nodes of an incarnation; `is_new`: none of them is a row yet.
    Nodes { incarnation: Incarnation, is_new: bool },
    /// As the pages that it was published as.
    Pages { incarnation: Incarnation, len: u64 },
}

impl Held {
    /// A collection that no row knows yet, or that its row has as a whole.
    #[must_use]
    pub fn new(value: Collection) -> Self {
        Held { value, home: None }
    }

    /// A collection read from its nodes.
    #[must_use]
    pub fn of_nodes(value: Collection, incarnation: Incarnation) -> Self {
        Held { value, home: Some(Box::new(Home::Nodes(incarnation))) }
    }

    /// A collection read from pages.
    #[must_use]
    pub fn of_pages(value: Collection, incarnation: Incarnation, len: u64) -> Self {
        Held { value, home: Some(Box::new(Home::Pages(incarnation, len))) }
    }

    /// The incarnation whose rows it has.
    #[must_use]
    pub fn incarnation(&self) -> Option<Incarnation> {
        self.home.as_deref().map(|home| match home {
            Home::Nodes(incarnation) | Home::Pages(incarnation, _) => *incarnation,
        })
    }

    /// The pages that an edit of it makes useless.
    #[must_use]
    pub fn published_pages(&self) -> Option<Incarnation> {
        match self.home.as_deref() {
            Some(Home::Pages(incarnation, _)) => Some(*incarnation),
            Some(Home::Nodes(_)) | None => None,
        }
    }

    /// Applies an edit.
    ///
    /// # Errors
    /// The edit does not decode or does not fit this value: corruption, only in replay.
    pub fn apply(&mut self, edit: &[u8]) -> Result<(), DecodeError> {
        if self.published_pages().is_some() {
            self.home = None;
        }
        self.value.apply(edit)
    }

    /// Decides how to write the collection, and that it is written so from now on.
    pub fn plan_image(&mut self, fresh: impl FnOnce() -> Incarnation) -> Image {
        match self.home.as_deref() {
            Some(Home::Nodes(incarnation)) => Image::Nodes { incarnation: *incarnation, is_new: false },
            Some(Home::Pages(incarnation, len)) => Image::Pages { incarnation: *incarnation, len: *len },
            None if self.value.encoded_len() <= ROW_MAX => Image::Row,
            None => {
                let incarnation = fresh();
                self.home = Some(Box::new(Home::Nodes(incarnation)));
                Image::Nodes { incarnation, is_new: true }
            }
        }
    }

    /// Heap bytes held.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.value.heap_bytes() + self.home.as_ref().map_or(0, |_| size_of::<Home>())
    }
}

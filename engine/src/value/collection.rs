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

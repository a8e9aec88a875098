//! STUB for compiling only.
use crate::codec::DecodeError;
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StreamValue(Vec<u8>);
impl StreamValue {
    pub fn apply(&mut self, edit: &[u8]) -> Result<(), DecodeError> { self.0.extend_from_slice(edit); Ok(()) }
    pub fn encoding(&self) -> &'static str { "stub" }
    pub fn is_vacant(&self) -> bool { self.0.is_empty() }
    pub fn heap_bytes(&self) -> usize { self.0.capacity() }
    pub fn encode(&self, out: &mut Vec<u8>) { out.extend_from_slice(&self.0); }
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> { Ok(Self(bytes.to_vec())) }
}

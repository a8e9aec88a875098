//! XGROUP and XSETID: groups and consumers come and go, counters are set.

use super::edit::StreamEdit;
use super::{StreamId, StreamValue};

/// Why XSETID cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetIdError {
    /// The id is below the largest one that was deleted.
    BelowMaxDeleted,
    /// The id is below the last entry's.
    BelowTopEntry,
    /// There are more entries than were added.
    AddedBelowLen,
}

impl StreamValue {
    /// Plans to create a group that has read up to `last_id`; whether there is none of that name.
    pub fn plan_create_group(
        &self,
        name: &[u8],
        last_id: StreamId,
        entries_read: Option<u64>,
        edit: &mut Vec<u8>,
    ) -> bool {
        if self.group(name).is_some() {
            return false;
        }
        let group = self.stream.groups.as_ref().map_or(0, |groups| groups.groups.free_number());
        StreamEdit::CreateGroup { group, name, last_id, entries_read }.put(edit);
        true
    }

    /// Plans to set what a group has read; whether there is the group.
    pub fn plan_set_group(
        &self,
        name: &[u8],
        last_id: StreamId,
        entries_read: Option<u64>,
        edit: &mut Vec<u8>,
    ) -> bool {
        let Some(view) = self.group(name) else { return false };
        StreamEdit::MoveGroup { group: view.number, last_id, entries_read }.put(edit);
        true
    }

    /// Plans to destroy a group; whether there is the group.
    pub fn plan_destroy_group(&self, name: &[u8], edit: &mut Vec<u8>) -> bool {
        let Some(view) = self.group(name) else { return false };
        StreamEdit::DestroyGroup(view.number).put(edit);
        true
    }

    /// Plans to create a consumer; whether it is new. `None` without the group.
    pub fn plan_create_consumer(
        &self,
        group: &[u8],
        name: &[u8],
        now_ms: u64,
        edit: &mut Vec<u8>,
    ) -> Option<bool> {
        let view = self.group(group)?;
        if view.group.consumers.find(name).is_some() {
            return Some(false);
        }
        let consumer = view.group.consumers.free_number();
        StreamEdit::CreateConsumer { group: view.number, consumer, name, seen_ms: now_ms }.put(edit);
        Some(true)
    }

    /// Plans to delete a consumer; how many entries it held, `Some(None)` without it. `None` without the
    /// group.
    pub fn plan_delete_consumer(&self, group: &[u8], name: &[u8], edit: &mut Vec<u8>) -> Option<Option<u64>> {
        let view = self.group(group)?;
        let Some((consumer, state)) = view.group.consumers.find(name) else { return Some(None) };
        StreamEdit::DeleteConsumer { group: view.number, consumer }.put(edit);
        Some(Some(state.pending))
    }

    /// Plans to set the last id and, if given, the count of added entries and the largest deleted id.
    ///
    /// # Errors
    /// Why it cannot be; no edit is written.
    pub fn plan_set_id(
        &self,
        last_id: StreamId,
        entries_added: Option<u64>,
        max_deleted: Option<StreamId>,
        edit: &mut Vec<u8>,
    ) -> Result<(), SetIdError> {
        if last_id < self.stream.max_deleted {
            return Err(SetIdError::BelowMaxDeleted);
        }
        if self.top_id().is_some_and(|top| last_id < top) {
            return Err(SetIdError::BelowTopEntry);
        }
        if entries_added.is_some_and(|added| added < self.len()) {
            return Err(SetIdError::AddedBelowLen);
        }
        let max_deleted = max_deleted.filter(|id| *id != StreamId::MIN).unwrap_or(self.stream.max_deleted);
        let entries_added = entries_added.unwrap_or(self.stream.entries_added);
        StreamEdit::SetState { last_id, entries_added, max_deleted }.put(edit);
        Ok(())
    }
}

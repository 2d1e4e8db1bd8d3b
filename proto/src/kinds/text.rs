//! Bounds and forms of the texts and lists in slots.
//!
//! What partners write ends up on terminals and in pages, so names and single lines carry no control characters,
//! and no text carries those that turn the direction of reading around and make one name look like another.
//! Each function answers with a sentence that names the slot.

use crate::limits::{LIST_ITEMS_MAX, NAME_CHARS_MAX, TEXT_CHARS_MAX};

/// A name: one line, not blank, at most [`NAME_CHARS_MAX`] characters.
pub(super) fn name(slot: &str, text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err(format!("{slot} is empty: leave it unknown (null) instead"));
    }
    line(slot, text, NAME_CHARS_MAX)
}

/// A text that may have several lines, at most [`TEXT_CHARS_MAX`] characters.
pub(super) fn block(slot: &str, text: &str) -> Result<(), String> {
    bounded(slot, text, TEXT_CHARS_MAX)?;
    if text
        .chars()
        .any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
    {
        return Err(format!("{slot} contains a control character"));
    }
    Ok(())
}

/// Some names that may be missing.
pub(super) fn names<'a>(
    items: impl IntoIterator<Item = (&'a str, &'a Option<String>)>,
) -> Result<(), String> {
    items
        .into_iter()
        .try_for_each(|(slot, text)| text.as_deref().map_or(Ok(()), |text| name(slot, text)))
}

/// A list of at most [`LIST_ITEMS_MAX`] elements.
pub(super) fn list<T>(slot: &str, items: &[T]) -> Result<(), String> {
    if items.len() > LIST_ITEMS_MAX {
        return Err(format!(
            "{slot} has {} elements, the limit is {LIST_ITEMS_MAX}",
            items.len()
        ));
    }
    Ok(())
}

fn line(slot: &str, text: &str, chars_max: usize) -> Result<(), String> {
    bounded(slot, text, chars_max)?;
    if text.chars().any(is_hidden) {
        return Err(format!(
            "{slot} contains a line break or another control character"
        ));
    }
    Ok(())
}

/// Control characters, and the embeddings, overrides and isolates of the Unicode bidirectional algorithm.
fn is_hidden(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn bounded(slot: &str, text: &str, chars_max: usize) -> Result<(), String> {
    // A character has at least one byte, so a text that fits in bytes needs no counting.
    if text.len() > chars_max && text.chars().count() > chars_max {
        return Err(format!("{slot} is longer than {chars_max} characters"));
    }
    Ok(())
}

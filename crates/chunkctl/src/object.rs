//! Objects for programs that are made of rows and something more.

use serde_json::Value;

/// Adds a key to an object.
pub(crate) fn add(object: &mut Value, name: &str, value: impl Into<Value>) {
    if let Some(object) = object.as_object_mut() {
        object.insert(name.to_owned(), value.into());
    }
}

//! The JSON beside an image, against its item in the manifest.

use super::manifest::Item;
use serde::Deserialize;

/// The longest that is read. Bytes.
pub(super) const MOST_BYTES: usize = 4 << 20;
/// What a sidecar says where the item has no class.
const NO_CLASS: i64 = -1;

/// What it says of its image. Early releases knew neither caption nor class.
#[derive(Debug, Deserialize)]
struct Sidecar {
    url: String,
    label: Option<String>,
    caption: Option<String>,
    class: Option<i64>,
    width: u32,
    height: u32,
    format: String,
    file_size: u64,
    sha256: String,
}

/// What a sidecar says otherwise than its item; none: nothing.
pub(super) fn fault(bytes: &[u8], item: &Item) -> Option<String> {
    let said: Sidecar = match serde_json::from_slice(bytes) {
        Ok(said) => said,
        Err(error) => return Some(format!("cannot be read: {error}")),
    };
    let text = |of: &Option<String>, said: &str| is_text(of.as_deref().unwrap_or(""), said);
    let same = [
        ("url", is_text(&item.url, &said.url)),
        ("label", said.label.is_none_or(|label| text(&item.label, &label))),
        ("caption", said.caption.is_none_or(|caption| text(&item.caption, &caption))),
        ("class", said.class.is_none_or(|class| class == item.class.unwrap_or(NO_CLASS))),
        ("width", Some(said.width) == item.width),
        ("height", Some(said.height) == item.height),
        ("format", Some(&said.format) == item.format.as_ref()),
        ("file_size", Some(said.file_size) == item.file_size),
        ("sha256", Some(&said.sha256) == item.sha256.as_ref()),
    ];
    let others: Vec<&str> =
        same.into_iter().filter(|(_, is_same)| !is_same).map(|(name, _)| name).collect();
    (!others.is_empty()).then(|| format!("has another {} than its manifest", others.join(", ")))
}

/// Whether a manifest's text is this one; a manifest that would be too long shows the start of each.
fn is_text(shown: &str, said: &str) -> bool {
    shown == said || shown.strip_suffix("...").is_some_and(|start| said.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// Each value that stands in both is compared.
    #[test]
    fn a_sidecar_that_says_something_else_is_found() {
        let item: Item = serde_json::from_value(json!({
            "idx": 0, "url": "http://a/1", "caption": "a cat", "status": "valid", "key": "00000_00000",
            "width": 3, "height": 4, "format": "jpeg", "file_size": 9, "sha256": "ab"
        }))
        .unwrap();
        let own = json!({
            "url": "http://a/1", "label": "", "caption": "a cat", "class": -1, "width": 3, "height": 4,
            "format": "jpeg", "file_size": 9, "sha256": "ab", "meta": "{}"
        });
        let of = |value: &Value| fault(value.to_string().as_bytes(), &item);
        assert_eq!(of(&own), None);
        for name in own.as_object().unwrap().keys().filter(|name| *name != "meta") {
            let mut other = own.clone();
            other[name] = match &own[name] {
                Value::String(_) => "other".into(),
                _ => 7.into(),
            };
            assert_eq!(of(&other).unwrap(), format!("has another {name} than its manifest"));
        }
        assert!(is_text("http://a/...", "http://a/1") && !is_text("http://b/...", "http://a/1"));
        assert!(of(&json!({})).unwrap().contains("cannot be read"));
    }
}

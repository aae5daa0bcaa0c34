//! Settings that name lists of what is never wanted.

use super::{reader::Reader, setting::Provenance};

/// Blobs of the source container; none: nothing is blocked so.
#[derive(Debug, Clone, Default)]
pub struct BlockedSettings {
    /// Hosts, one a line.
    pub hosts: Option<String>,
    /// SHA-256 hashes of images, one a line.
    pub hashes: Option<String>,
}

impl BlockedSettings {
    /// Whether any list is named.
    pub(crate) fn are_any(&self) -> bool {
        self.hosts.is_some() || self.hashes.is_some()
    }
}

impl Reader {
    pub(super) fn blocked(&mut self) -> BlockedSettings {
        BlockedSettings { hosts: self.blob("BLOCKED_HOSTS"), hashes: self.blob("BLOCKED_HASHES") }
    }

    /// The name of a blob; none when unset.
    fn blob(&mut self, name: &str) -> Option<String> {
        self.parsed(name, (None, String::new(), Provenance::Default), |text| {
            let is_name = text.len() <= 1024
                && !text.chars().any(|c| c.is_control() || c == '\\')
                && text.split('/').all(|segment| !matches!(segment, "" | "." | ".."));
            let rule =
                "must be the name of a blob: at most 1024 bytes, without empty, . or .. segments";
            is_name.then(|| Some(text.to_owned())).ok_or_else(|| rule.to_owned())
        })
    }
}

//! A shard against its manifest, as it streams by.

use super::{
    archive::{Archive, Event},
    faults::{Faults, Kind},
    manifest::{Item, Manifest, as_u64},
    sidecar,
};
use chunk_handler::chunk::hex;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeSet, HashMap};

/// Members of a sample that are no image.
const BESIDE: [&str; 3] = ["json", "txt", "cls"];

/// A shard that is read from its start.
pub(super) struct Shard<'a> {
    archive: Archive,
    sha256: Sha256,
    bytes: u64,
    samples: Samples<'a>,
}

/// The samples that were seen.
struct Samples<'a> {
    file: &'a str,
    faults: &'a mut Faults,
    /// Those of the manifest that are still to come.
    wanted: HashMap<&'a str, &'a Item>,
    seen: BTreeSet<String>,
    sample: Option<Sample<'a>>,
    /// What the first sample has beside its image; each has the same, or loaders disagree about columns.
    beside: Option<BTreeSet<String>>,
    image: Option<Sha256>,
    sidecar: Option<Vec<u8>>,
}

/// The sample whose members come now.
struct Sample<'a> {
    key: String,
    item: Option<&'a Item>,
    extensions: BTreeSet<String>,
}

impl<'a> Shard<'a> {
    pub(super) fn new(file: &'a str, manifest: &'a Manifest, faults: &'a mut Faults) -> Self {
        let wanted = manifest.items.iter().filter_map(|item| Some((item.sample()?, item)));
        let samples = Samples {
            file,
            faults,
            wanted: wanted.collect(),
            seen: BTreeSet::new(),
            sample: None,
            beside: None,
            image: None,
            sidecar: None,
        };
        Self { archive: Archive::new(), sha256: Sha256::new(), bytes: 0, samples }
    }

    /// Takes the next bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.bytes += as_u64(bytes.len());
        self.archive.feed(bytes, |event| match event {
            Event::Begin { name, offset, length } => self.samples.begin(name, offset, length),
            Event::Bytes(bytes) => {
                if let Some(image) = &mut self.samples.image {
                    image.update(bytes);
                }
                let sidecar = self.samples.sidecar.as_mut();
                if let Some(sidecar) = sidecar.filter(|s| s.len() < sidecar::MOST_BYTES) {
                    sidecar.extend_from_slice(bytes);
                }
            }
            Event::End => self.samples.end_member(),
        });
    }

    /// Judges what came as a whole; returns its hash.
    pub(super) fn finish(mut self, manifest: &Manifest) -> String {
        self.samples.end_sample();
        let Samples { file, faults, wanted, .. } = self.samples;
        if self.bytes != manifest.shard.bytes {
            let said = manifest.shard.bytes;
            faults.note(
                Kind::Shard,
                file,
                format!("it has {} bytes, its manifest says {said}", self.bytes),
            );
        }
        let sha256 = hex(&self.sha256.finalize());
        if sha256 != manifest.shard.sha256 {
            let said = &manifest.shard.sha256;
            faults.note(
                Kind::Shard,
                file,
                format!("its sha256 is {sha256}, its manifest says {said}"),
            );
        }
        if let Some(why) = self.archive.finish() {
            faults.note(Kind::Member, file, why);
        }
        let mut missing: Vec<&str> = wanted.into_keys().collect();
        missing.sort_unstable();
        for key in missing {
            faults.note(Kind::Member, file, format!("sample {key} of its manifest is not in it"));
        }
        sha256
    }
}

impl Samples<'_> {
    fn begin(&mut self, name: &str, offset: u64, length: u64) {
        let Some((key, extension)) = name.split_once('.') else {
            self.note(Kind::Member, format!("member {name:?} belongs to no sample"));
            return;
        };
        if self.sample.as_ref().is_none_or(|sample| sample.key != key) {
            self.end_sample();
            self.begin_sample(key);
        }
        let Some(sample) = &mut self.sample else { return };
        let is_new = sample.extensions.insert(extension.to_owned());
        let item = sample.item;
        if !is_new {
            self.note(Kind::Member, format!("member {name:?} is there twice"));
        }
        if BESIDE.contains(&extension) {
            self.sidecar = (extension == "json").then(Vec::new);
            return;
        }
        let Some(item) = item else { return };
        if extension != "jpg" && item.format.as_deref().map(extension_of) != Some(extension) {
            self.note(Kind::Member, format!("member {name:?} is no image of its manifest"));
        }
        if (item.offset, item.length) != (Some(offset), Some(length)) {
            let (at, long) = (item.offset.unwrap_or(0), item.length.unwrap_or(0));
            let what = format!(
                "the image of {key} lies at {offset} with {length} bytes, its manifest says {at} and {long}"
            );
            self.note(Kind::Image, what);
        }
        self.image = Some(Sha256::new());
    }

    fn begin_sample(&mut self, key: &str) {
        let item = self.wanted.remove(key);
        if !self.seen.insert(key.to_owned()) {
            self.note(Kind::Member, format!("sample {key:?} is there twice"));
        } else if item.is_none() {
            self.note(Kind::Member, format!("sample {key:?} is none of its manifest"));
        }
        self.sample = Some(Sample { key: key.to_owned(), item, extensions: BTreeSet::new() });
    }

    fn end_member(&mut self) {
        if let (Some(bytes), Some(sample)) = (self.sidecar.take(), &self.sample) {
            let fault = sample.item.and_then(|item| sidecar::fault(&bytes, item));
            if let Some(what) = fault.map(|what| format!("the json of {} {what}", sample.key)) {
                self.note(Kind::Member, what);
            }
            return;
        }
        let (Some(image), Some(sample)) = (self.image.take(), &self.sample) else { return };
        let sha256 = hex(&image.finalize());
        let said = sample.item.and_then(|item| item.sha256.as_deref());
        if said != Some(&sha256) {
            let what = format!(
                "the image of {} has sha256 {sha256}, its manifest says {}",
                sample.key,
                said.unwrap_or("none")
            );
            self.note(Kind::Image, what);
        }
    }

    fn end_sample(&mut self) {
        let Some(Sample { key, extensions, .. }) = self.sample.take() else { return };
        let is_beside = |extension: &String| BESIDE.contains(&extension.as_str());
        let (beside, images): (BTreeSet<String>, BTreeSet<String>) =
            extensions.into_iter().partition(is_beside);
        if images.len() != 1 || !beside.contains("json") {
            let all: Vec<&String> = images.iter().chain(&beside).collect();
            self.note(Kind::Member, format!("sample {key} has {all:?}, not an image and a json"));
        }
        let first = self.beside.get_or_insert_with(|| beside.clone());
        if *first != beside {
            let what = format!("sample {key} has {beside:?}, the first sample has {first:?}");
            self.note(Kind::Member, what);
        }
    }

    fn note(&mut self, kind: Kind, what: String) {
        self.faults.note(kind, self.file, what);
    }
}

/// The extension of an image by its format's word.
fn extension_of(format: &str) -> &str {
    match format {
        "jpeg" => "jpg",
        "tiff" => "tif",
        other => other,
    }
}

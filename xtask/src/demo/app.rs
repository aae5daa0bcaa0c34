//! The app directory of a demo: what the host needs, apart from the checkout, so that a `cargo xtask dev`
//! at the same time is not disturbed.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use support::checkout::root;

use crate::build;
use crate::host::Plan;

/// Copies host.json, the function folders and the handler, and writes the settings of this demo.
pub(super) fn stage(plan: &Plan, programs: &Path) -> Result<()> {
    let app = &plan.root;
    fs::create_dir_all(app)?;
    fs::copy(root().join("host.json"), app.join("host.json")).context("copying host.json")?;
    for entry in fs::read_dir(root())?.flatten() {
        let function = entry.path().join("function.json");
        if function.exists() {
            let folder = app.join(entry.file_name());
            fs::create_dir_all(&folder)?;
            fs::copy(&function, folder.join("function.json"))?;
        }
    }
    let values: Map<String, Value> =
        plan.variables.iter().cloned().map(|(name, value)| (name, value.into())).collect();
    let settings = json!({ "IsEncrypted": false, "Values": values });
    fs::write(app.join("local.settings.json"), serde_json::to_vec_pretty(&settings)?)?;
    build::install(&programs.join("handler"), &app.join("handler"))
}

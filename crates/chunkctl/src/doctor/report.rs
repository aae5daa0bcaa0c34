//! What `doctor` found, for people and for programs.

use super::{Found, fleet};
use crate::{Session, kept};
use chunk_handler::settings::{MIB, Setting};
use serde_json::json;

impl Session {
    /// All of it for people.
    pub(super) fn as_text(&self, found: &Found) -> String {
        let limits = &self.settings.limits;
        let mut lines = vec![format!("profile {}", self.settings.profile), String::new()];
        lines.push("settings".into());
        for Setting { name, value, provenance } in &self.settings.table {
            lines.push(format!("  {name} = {value}   [{provenance}]"));
        }
        lines.extend([
            String::new(),
            "limits".into(),
            format!(
                "  streaming: {} chunks at once on one instance",
                limits.streaming_max_chunks()
            ),
            format!(
                "  materialized: {} chunks, were whole chunks kept on disk (the guide's formula)",
                limits.materialized_max_chunks()
            ),
            format!(
                "  a chunk: {} MB at its estimated size, {} MB of temp space at once",
                limits.materialized_chunk_bytes() / MIB,
                limits.chunk_temp_share_bytes() / MIB
            ),
            format!(
                "  temp space: {} MB configured, of {} MB that the platform gives",
                limits.temp_storage_mb,
                self.settings.profile.quota_mb()
            ),
            String::new(),
            "fleet, by what its handlers say".into(),
        ]);
        lines.extend(fleet::as_text(found.fleet.as_ref(), &self.own_limits()));
        lines.extend([String::new(), "kept in the database".into()]);
        lines.extend(kept::as_text(&found.sizes, self.settings.keep));
        lines.extend([String::new(), "checks".into()]);
        lines.extend(found.checks.iter().map(|check| match &check.result {
            Ok(found) => format!("  ok      {}: {found}", check.what),
            Err(problem) => {
                format!("  FAILED  {}: {problem}\n          {}", check.what, check.remedy)
            }
        }));
        lines.extend(self.settings.warnings.iter().map(|odd| format!("  warning settings: {odd}")));
        lines.join("\n")
    }

    /// The same for programs.
    pub(super) fn as_json(&self, found: &Found) -> serde_json::Value {
        let limits = &self.settings.limits;
        let settings = self.settings.table.iter();
        json!({
            "profile": self.settings.profile.to_string(),
            "settings": settings.map(|s| json!({
                "name": s.name, "value": s.value, "from": s.provenance.to_string(),
            })).collect::<Vec<_>>(),
            "streaming_max_chunks": limits.streaming_max_chunks(),
            "materialized_max_chunks": limits.materialized_max_chunks(),
            "max_chunks_by_storage": limits.max_chunks_by_storage(),
            "materialized_chunk_mb": limits.materialized_chunk_bytes() / MIB,
            "chunk_temp_share_mb": limits.chunk_temp_share_bytes() / MIB,
            "platform_quota_mb": self.settings.profile.quota_mb(),
            "fleet": found.fleet,
            "own": self.own_limits(),
            "kept": kept::as_json(&found.sizes, self.settings.keep),
            "warnings": self.settings.warnings,
            "checks": found.checks.iter().map(|check| json!({
                "what": check.what,
                "ok": check.result.is_ok(),
                "found": check.result.as_ref().ok(),
                "problem": check.result.as_ref().err(),
                "remedy": check.result.as_ref().err().map(|_| &check.remedy),
            })).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{Check, fleet::Fleet, unset};
    use chunk_handler::{
        settings::{Program, Settings},
        state::{Database, LeaseTerms, TableSize},
        storage::Storage,
    };

    fn session() -> Session {
        let variables = [
            ("DATABASE_URL", "postgres://someone:hush@db:5432/d"),
            ("ChunkStorage", "UseDevelopmentStorage=true"),
            ("PIXCRAWLER_ENVIRONMENT", "azure_functions"),
            ("PIXCRAWLER_TEMP_DIR", "/scratch"),
            ("APPLICATIONINSIGHTS_CONNECTION_STRING", "InstrumentationKey=hush"),
        ];
        let environment = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let settings = Settings::parse(Program::Chunkctl, environment.into(), [].into()).unwrap();
        let terms = LeaseTerms::new(settings.lease);
        let database = Database::open(settings.database_url.expose(), terms).unwrap();
        let storage = Storage::open(&settings).unwrap();
        Session { settings, database, storage, json: false }
    }

    fn checks() -> [Check; 2] {
        [
            Check { what: "Postgres", result: Ok("version 15.4, 12 MB".into()), remedy: "".into() },
            Check {
                what: "schema",
                result: Err("version 2, this release needs 3".into()),
                remedy: "run `chunkctl migrate`".into(),
            },
        ]
    }

    /// What people and programs read, to the letter; no secret is in it.
    #[tokio::test]
    async fn doctor_shows_settings_limits_and_checks() {
        let session = session();
        let sizes = vec![TableSize { name: "image_hash".into(), rows: 7, bytes: 3 << 20 }];
        let fleet = Some(Fleet { profile: "azure".into(), ..session.own_limits() });
        let mut found = Found { checks: checks().into(), sizes, fleet };
        insta::assert_snapshot!(session.as_text(&found));
        insta::assert_json_snapshot!(session.as_json(&found));
        found.fleet = None;
        assert!(session.as_text(&found).contains("  not known: "));
        // Where nothing is set the document has the same keys.
        let keys = |document: serde_json::Value| {
            let keys: Vec<String> = document.as_object().unwrap().keys().cloned().collect();
            keys
        };
        assert_eq!(keys(unset::as_json(&[])), keys(session.as_json(&found)));
    }
}

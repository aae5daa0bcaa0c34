//! The written report, as its reader opens it.

use super::{browser, with_jobs};
use serde_json::{Value, json};
use support::rig::Rig;

/// Case 470: opened as a file it asks nobody for anything, the browser complains of nothing, it looks as it
/// should, and its pictures are blurred until the box is ticked.
pub async fn a_report_stands_alone_in_a_browser() {
    let rig = Rig::new().await;
    let _handler = with_jobs(&rig).await;
    let path = rig.temp.path().join("report.html");
    let file = path.to_str().unwrap();
    let said = rig.chunkctl(&["dashboard", "--write", file, "--job-id", "7"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let found = browser().run("report.js", &[file]).await;
    assert_eq!((&found["asked"], &found["console"]), (&json!([]), &json!([])), "{found}");
    assert_eq!(found["border"], "1px", "it has its style: {found}");
    for (when, is_blurred) in [("before", true), ("after", false)] {
        let pictures = found[when].as_array().unwrap();
        assert_eq!(pictures.len(), 24, "{found}");
        let wanted =
            |picture: &Value| *picture == json!({"has_pixels": true, "is_blurred": is_blurred});
        assert!(pictures.iter().all(wanted), "{when}: {found}");
    }
    assert!(found["refusal"].as_str().unwrap().contains("Content Security Policy"), "{found}");
}

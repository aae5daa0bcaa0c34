//! The automatic cure of a full disk: what the deployment's workflow sends when an alert fires.

use super::workflow::{Call, Workflow};
use base64::{Engine, engine::general_purpose::STANDARD};
use functions_host::{rigged, storage::Account};
use serde_json::{Value, json};
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};
use support::{
    checkout::root,
    programs,
    rig::{Rig, all, inline, wait_for},
};

/// The name of a directory that no living process has: process ids end at 2^22.
const OF_THE_DEAD: &str = "4194305-dddddddddddddddddddddddddddddddd";
/// When a process sweeps for the first time without being asked, after its start.
const SWEEP_PERIOD: Duration = Duration::from_secs(60);

/// The texts of the messages that the workflow puts on the queue when an alert calls it.
fn messages(condition: &str) -> Vec<String> {
    let text = fs::read(root().join("infra/snapshots/azure_functions-public-all.json")).unwrap();
    let snapshot: Value = serde_json::from_slice(&text).unwrap();
    let resources = snapshot["predictedResources"].as_array().unwrap();
    let cures = |resource: &&Value| {
        resource["type"] == "Microsoft.Logic/workflows"
            && resource["properties"]["parameters"].get("queueUri").is_some()
    };
    let found = resources.iter().find(cures).expect("the workflow of the remediation");
    let queue = &found["properties"]["parameters"]["queueUri"]["value"];
    assert!(queue.as_str().unwrap().contains("/chunk-control'"), "{queue}");
    // What an alert sends by the common schema, as far as a workflow may look at it.
    let alert = json!({"schemaId": "azureMonitorCommonAlertSchema", "data": {"essentials": {
        "alertRule": "temp", "severity": "Sev1", "signalType": "Log",
        "monitorCondition": condition, "monitoringService": "Log Alerts V2"}}});
    let parameters = json!({"queueUri": "https://account/chunk-control"});
    let definition = &found["properties"]["definition"];
    let workflow = Workflow { definition, parameters: &parameters, body: &alert };
    workflow.calls().iter().map(posted).collect()
}

/// The text of the message that a call posts to the queue.
fn posted(call: &Call) -> String {
    let Call { method, uri, body, authentication } = call;
    let wanted = ("POST", "https://account/chunk-control/messages", "ManagedServiceIdentity");
    assert_eq!((&**method, &**uri, &**authentication), wanted);
    let text = body.strip_prefix("<QueueMessage><MessageText>");
    let text = text.and_then(|rest| rest.strip_suffix("</MessageText></QueueMessage>"));
    text.expect(body).to_owned()
}

/// A6: an alert that fires sends two messages, through the queue to the handlers: intake pauses, every process
/// sweeps, and the pause lifts by itself. One that is resolved sends nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_swept_and_intake_pauses() {
    assert_eq!(messages("Resolved"), Vec::<String>::new());
    let messages = messages("Fired");
    let decode = |text: &String| String::from_utf8(STANDARD.decode(text).unwrap()).unwrap();
    let mut decoded: Vec<String> = messages.iter().map(decode).collect();
    decoded.sort();
    let (pause, sweep) =
        (r#"{"version":1,"action":"pause","minutes":15}"#, r#"{"version":1,"action":"sweep"}"#);
    assert_eq!(decoded, [pause, sweep]);

    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    let begun = Instant::now();
    let roots = ["first", "second"].map(|name| rig.temp.path().join(name));
    let hosts = all(roots.each_ref().map(async |temp| {
        let extra = [("PIXCRAWLER_TEMP_DIR", temp.to_str().unwrap())];
        let name = format!("app-{}", temp.file_name().unwrap().to_str().unwrap());
        rigged::host_of(&rig, &name, Path::new(&programs::handler()), &extra).await
    }))
    .await;
    rig.until("select count(*) = 2 from chunk_handler.process").await;
    let left = roots.map(|temp| temp.join("pixcrawler-chunks").join(OF_THE_DEAD));
    left.iter().for_each(|directory| fs::create_dir_all(directory).unwrap());
    let account = Account::parse(&rig.storage).unwrap();
    for text in &messages {
        account.queue("chunk-control").put(text).await.unwrap();
    }
    let is_paused = "select paused_until > clock_timestamp() + interval '13 minutes'
        from chunk_handler.capacity";
    rig.until(is_paused).await;
    let is_left = || left.iter().any(|directory| directory.exists());
    wait_for("every process sweeps", async || !is_left()).await;
    assert!(begun.elapsed() < SWEEP_PERIOD, "it may be the sweep that nobody asks for");

    let chunk = inline(1, 0, &rig.pictures(1)).to_string();
    account.queue("chunks").put(&chunk).await.unwrap();
    rig.until("select count(*) = 1 from chunk_handler.chunk_status where status = 'pending'").await;
    assert!(rig.value::<bool>("select max(fence) = 0 from chunk_handler.chunk_status").await);
    // The quarter of an hour is over; nobody resumes.
    rig.execute("update chunk_handler.fleet set paused_until = clock_timestamp()").await;
    rig.until("select status = 'completed' from chunk_handler.chunk_status").await;
    drop(hosts);
}

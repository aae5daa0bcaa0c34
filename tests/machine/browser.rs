//! The dashboard in a real browser: scripts in `xtask/browser` look at its pages, and these judge what
//! they saw.

mod acts;
mod live;
mod looks;
mod pages;
mod report;
mod strangers;
mod tunnel;

pub use acts::{
    a_form_works_from_another_machine_in_a_browser, a_post_of_another_site_is_refused_in_a_browser,
    everything_is_done_by_keyboard_in_a_browser,
};
pub use live::a_page_moves_with_its_job_in_a_browser;
pub use looks::every_page_meets_wcag_in_a_browser;
pub use pages::sheets_and_reasons_are_of_the_manifests_in_a_browser;
pub use report::a_report_stands_alone_in_a_browser;
pub use strangers::what_strangers_wrote_never_runs_in_a_browser;
pub use tunnel::a_page_whose_tunnel_hangs_says_that_it_is_old_in_a_browser;

use crate::condition::chromium;
use serde_json::{Value, json};
use support::{
    browser::Browser,
    rig::{Handler, Rig, inline},
};

fn browser() -> &'static Browser {
    chromium().as_ref().expect("the condition was met")
}

/// Jobs of each kind: 7 has a chunk with pictures of every format, near duplicates and URLs that
/// failed, and is over; 8 waits; the chunks of 9 failed. A message was rejected, and a process died.
async fn with_jobs(rig: &Rig) -> Handler {
    let handler = rig.handler().await;
    let mut urls = rig.pictures(30);
    urls.extend(
        ["/404", "/404/2", "/html", "/same/1", "/same/1?again"].map(|path| rig.origin.url(path)),
    );
    let mut message = inline(7, 0, &urls);
    message["validation"] = json!({"level": "slow"});
    message["total_chunks"] = 1.into();
    deliver(&handler, &message).await;
    rig.submit(8, &rig.pictures(2), 1);
    rig.submit(9, &rig.pictures(2), 1);
    rig.execute(
        "update chunk_handler.chunk set state = 'failed', error_code = 'source_missing',
            error_message = 'the list is not there' where job_id = 9",
    )
    .await;
    rig.execute(
        "insert into chunk_handler.attempt (job_id, chunk_index, fence, owner, invocation_id, claimed_at,
            finished_at, outcome, error_code, slot_no)
        values (9, 0, 1, 'host-b', 'i', now() - interval '9 minutes', now() - interval '8 minutes',
            'expired', 'lease_expired', 2)",
    )
    .await;
    deliver(&handler, &json!({"version": 99})).await;
    handler
}

async fn deliver(handler: &Handler, message: &Value) {
    let (status, answer) = handler.deliver("one", message).await;
    assert_eq!(status, 200, "{answer}");
}

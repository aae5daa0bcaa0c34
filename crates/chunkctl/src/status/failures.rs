//! Failed chunks by what is to be done about them, so that the same advice is read once.

use crate::words::count;
use chunk_handler::{chunk::ErrorCode, state::Failures};
use serde_json::{Value, json};

/// The chunks of one error code, and what to do.
pub(super) fn lines(failures: &Failures) -> [String; 2] {
    let Failures { job_id, error_code, chunks, first_chunk, error_message } = failures;
    let message = error_message.as_deref().unwrap_or("");
    let who = match chunks {
        1 => format!("chunk {job_id}/{first_chunk} failed: {error_code}"),
        n => format!(
            "{} of job {job_id} failed: {error_code}, the first is {job_id}/{first_chunk}",
            count(*n, "chunk")
        ),
    };
    [format!("  {who}: {message}"), format!("    {}", advice(failures))]
}

/// The same for programs.
pub(super) fn as_json(failures: &Failures) -> Value {
    json!({
        "job_id": failures.job_id, "error_code": failures.error_code, "chunks": failures.chunks,
        "first_chunk": failures.first_chunk, "error_message": failures.error_message,
        "advice": advice(failures),
    })
}

fn advice(failures: &Failures) -> String {
    let code = ErrorCode::parse(&failures.error_code);
    let advice = code.map_or("see the message, then `retry`", ErrorCode::advice);
    advice.replace("`retry`", &retry_command(failures))
}

/// What runs these chunks again, and no others; a code of another release is none to name.
fn retry_command(failures: &Failures) -> String {
    let Failures { job_id, error_code, chunks, first_chunk, .. } = failures;
    let which = match (chunks, ErrorCode::parse(error_code)) {
        (1, _) => format!(" --chunk-index {first_chunk}"),
        (_, Some(code)) => format!(" --error-code {code}"),
        (_, None) => String::new(),
    };
    format!("`chunkctl control retry --job-id {job_id}{which}`")
}

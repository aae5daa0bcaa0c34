//! What can be done: a form that says what will happen, then the deed. No more than the control queue can.

mod deed;

use super::{
    answer::{self, Trouble},
    clock, layout, show,
    world::World,
};
use crate::applied;
use axum::{
    body::Bytes,
    extract::{Path, State},
    http::{HeaderValue, StatusCode, Uri, header},
    response::Response,
};
use chunk_handler::{jobs::Applied, redact::cause_chain, state::JobProgress};
use deed::Deed;
use maud::{Markup, html};
use std::{collections::BTreeMap, sync::Arc};
use url::form_urlencoded;

/// Fields of a form, or of the address that leads to it.
type Fields = BTreeMap<String, String>;

/// `GET /control/{action}`: what will happen.
pub(super) async fn form(
    State(world): State<Arc<World>>,
    Path(action): Path<String>,
    uri: Uri,
) -> Response {
    let fields = fields(uri.query().unwrap_or_default().as_bytes());
    let deed = match Deed::parse(&action, &fields) {
        Ok(deed) => deed,
        Err(why) => return answer::problem(StatusCode::BAD_REQUEST, "Not possible", &why),
    };
    let known = async { Ok((world.capacity().await?, job_of(&world, &deed).await?)) };
    match known.await {
        Ok((capacity, job)) => {
            let main = html! {
                (layout::paused(&world, &capacity, back(&fields)))
                (sheet(&deed, job.as_ref(), &fields))
            };
            answer::still(StatusCode::OK, &deed.title(), &main)
        }
        Err(Trouble::Unknown(text)) => answer::problem(StatusCode::NOT_FOUND, "Not found", &text),
        Err(Trouble::Database(error)) => {
            let text = if error.is_slow() {
                "The database is slow: it did not answer within 2 s. Try it again.".to_owned()
            } else {
                format!("The database does not answer: {}", cause_chain(&error))
            };
            answer::problem(StatusCode::SERVICE_UNAVAILABLE, "No answer", &text)
        }
    }
}

/// `POST /control/{action}`: does it, and leads back to where the form was asked for.
pub(super) async fn act(
    State(world): State<Arc<World>>,
    Path(action): Path<String>,
    body: Bytes,
) -> Response {
    let fields = fields(&body);
    let deed = match Deed::parse(&action, &fields) {
        Ok(deed) => deed,
        Err(why) => return answer::problem(StatusCode::BAD_REQUEST, "Not possible", &why),
    };
    let session = &world.session;
    let done = async {
        session.refuse_another_place().await?;
        anyhow::Ok(Box::pin(deed.command().apply(&session.database, &session.storage)).await?)
    };
    let (status, text) = match done.await {
        Ok(applied) if changed(&applied) => (StatusCode::SEE_OTHER, applied.to_string()),
        Ok(applied) => (StatusCode::CONFLICT, format!("{applied}; nothing was changed")),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, cause_chain(&*error)),
    };
    let now = clock::now();
    // What is said may hold what a message said.
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    eprintln!("{} {}: {line}", show::stamp(now), deed.title());
    if status != StatusCode::SEE_OTHER {
        return answer::problem(status, "It was not done", &text);
    }
    *world.notice.lock() = Some((now, text));
    world.kept.lock().forget();
    let mut answer = answer::plain(status, "Done.");
    let back = HeaderValue::from_str(back(&fields)).unwrap_or(HeaderValue::from_static("/"));
    answer.headers_mut().insert(header::LOCATION, back);
    answer
}

fn fields(text: &[u8]) -> Fields {
    let pairs = form_urlencoded::parse(text).into_owned();
    pairs.filter(|(_, value)| !value.is_empty()).collect()
}

/// Where the form was asked for: an address of ours, never another site.
fn back(fields: &Fields) -> &str {
    let address = fields.get("back").map_or("/", String::as_str);
    let is_ours = address.starts_with('/')
        && !address.starts_with("//")
        && address.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_ours { address } else { "/" }
}

/// The job of a deed, if it is about one. Nothing is promised of what is not there.
async fn job_of(world: &World, deed: &Deed) -> Result<Option<JobProgress>, Trouble> {
    let Some(job_id) = deed.job_id() else { return Ok(None) };
    let job = world.read.job_of_page(job_id).await?.ok_or_else(|| {
        let text = "It may be older than what is kept; `chunkctl status` lists the jobs, too.";
        Trouble::Unknown(format!("There is no job {job_id}. {text}"))
    })?;
    if let Some(id) = deed.chunk()
        && world.read.chunk(id).await?.is_none()
    {
        let text = format!(
            "There is no chunk {id}. See the page of job {job_id} for the chunks that can run again."
        );
        return Err(Trouble::Unknown(text));
    }
    Ok(Some(job))
}

fn sheet(deed: &Deed, job: Option<&JobProgress>, fields: &Fields) -> Markup {
    html! {
        h1 { (deed.title()) }
        section.sheet {
            p { (show::prose(&deed.outcome(job))) }
            form method="post" action={ "/control/" (deed.word()) } {
                @for (name, value) in fields.iter().filter(|(name, _)| *name != "minutes") {
                    input type="hidden" name=(name) value=(value);
                }
                @if let Some(minutes) = deed.minutes() {
                    p {
                        label for="minutes" { "Minutes, 1 to 10,080" }
                        input #minutes type="number" name="minutes" min="1" max="10080" required
                            value=(minutes);
                    }
                }
                p.row {
                    button.(if deed.is_final() { "danger" } else { "act" }) type="submit" { (deed.title()) }
                    a.button href=(back(fields)) { "Go back, change nothing" }
                }
            }
        }
    }
}

/// Whether it did something. To cancel what was over is no error, and changes nothing.
fn changed(applied: &Applied) -> bool {
    applied::refuse(applied).is_ok() && !matches!(applied, Applied::WasOver { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A form leads back to this dashboard and nowhere else.
    #[test]
    fn a_form_leads_back_to_an_address_of_ours() {
        let back_of = |address: &str| {
            let fields = Fields::from([("back".into(), address.into())]);
            back(&fields).to_owned()
        };
        assert_eq!(back_of("/jobs/7?chunks=failed&code=panic"), "/jobs/7?chunks=failed&code=panic");
        for other in [
            "https://evil.example/",
            "//evil.example",
            "/\\evil.example",
            "javascript:1",
            "/a\r\nb: c",
            "/ä",
            "",
        ] {
            assert_eq!(back_of(other), "/", "{other}");
        }
        assert_eq!(back(&Fields::new()), "/");
    }
}

//! Submitting a job: lists into the source container, rows into the database, the first wake-ups.

mod command;
mod wanted;
mod write;

pub(crate) use command::Submit;
pub(crate) use write::write_sources;

use crate::{
    list::{self, Source as Files},
    progress::Progress,
    remarks::Remarks,
    rows::{Division, Judged},
    words::count,
};
use chunk_handler::{
    chunk::{Dedupe, MessageError, Output, RobotsTxt, Validation, hex, job_folder},
    jobs::{OtherJobError, prepare_other_jobs},
    process::Error,
    redact::cause_chain,
    state::{self, Database, NewJob, RegisteredJob, Submission},
    storage::Storage,
    wake::top_up,
};
use imagecheck::Level;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// A job to be submitted.
#[derive(Debug, Clone)]
pub(crate) struct JobRequest {
    /// Its number.
    pub(crate) job_id: i64,
    /// The files of its list.
    pub(crate) files: Files,
    /// How it is divided.
    pub(crate) division: Division,
    /// 0 to 10, highest first.
    pub(crate) priority: i16,
    /// The checks of its images.
    pub(crate) validation: Validation,
    /// Where duplicates are looked for.
    pub(crate) dedupe: Dedupe,
    /// How its shards are written.
    pub(crate) output: Output,
    /// What robots.txt is to it; none: what the setting of the handlers says.
    pub(crate) robots: Option<RobotsTxt>,
}

/// What a submit did: the numbers are those of the job as it is registered.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SubmittedJob {
    /// The job.
    pub(crate) job_id: i64,
    /// How many chunks it has.
    pub(crate) chunks: usize,
    /// How many URLs.
    pub(crate) images: usize,
    /// How its images are checked.
    pub(crate) level: Level,
    /// False when the same was submitted before: nothing changed.
    pub(crate) is_new: bool,
    /// What is to be said of its rows.
    #[serde(flatten)]
    pub(crate) remarks: Remarks,
    /// Why no message could be sent for it here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unsent: Option<String>,
}

/// Why a job was not submitted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SubmitError {
    /// The file is no list of URLs.
    #[error(transparent)]
    List(#[from] list::Error),
    /// An option is out of its bounds.
    #[error(transparent)]
    Option(#[from] MessageError),
    /// The file has more URLs than a job can have.
    #[error("the job would have more than {0} chunks; raise --chunk-size")]
    TooManyChunks(usize),
    /// A file was another one when it was read again, to be written.
    #[error("{0} changed while it was read, and the job is not submitted; submit it again")]
    Changed(String),
    /// The rows of a chunk are more than a handler reads.
    #[error(
        "the {n} rows of chunk {chunk} are more than 32 MiB, which no handler reads; lower --chunk-size, \
         or leave out what is not needed of its rows"
    )]
    LongChunk {
        /// Which.
        chunk: usize,
        /// Its rows.
        n: usize,
    },
    /// The job is known with another file, or is made of messages.
    #[error(
        "job {0} is known with another source; choose another number, submit the same file, or add this \
         one to the job with --extend"
    )]
    OtherFile(i64),
    /// The database forgot an earlier job of this number, or never knew it.
    #[error(
        "the database does not know job {0}, and its folder {folder}/ in the dataset container has blobs: two \
         datasets would mix; choose another number, or remove these blobs",
        folder = job_folder(*.0)
    )]
    UsedNumber(i64),
    /// The job is known with the same file and other options.
    #[error("job {0} was submitted with {1}; choose another number, or submit it as before")]
    OtherOptions(i64, String),
    /// A job that it is to be deduplicated with.
    #[error(transparent)]
    OtherJob(#[from] OtherJobError),
    /// Database or storage.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl From<state::Error> for SubmitError {
    fn from(error: state::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// A job whose list was read and judged: nothing of it is written yet, and no row is kept.
#[derive(Debug)]
pub(crate) struct ReadJob {
    /// Its number.
    pub(crate) job_id: i64,
    files: Files,
    division: Division,
    /// How it is submitted.
    pub(crate) submission: Submission,
    /// What was found of its rows.
    pub(crate) judged: Judged,
}

impl ReadJob {
    /// Reads the list of a request.
    ///
    /// # Errors
    ///
    /// [`SubmitError::Option`], [`SubmitError::List`], [`SubmitError::TooManyChunks`] or
    /// [`SubmitError::LongChunk`].
    pub(crate) fn new(request: JobRequest) -> Result<Self, SubmitError> {
        let JobRequest { job_id, files, division, priority, validation, dedupe, output, robots } =
            request;
        validation.check_new()?;
        dedupe.check(job_id)?;
        let progress = Progress::of_bytes("reading the list", files.len());
        let judged = Judged::read(&files, &division, &progress);
        progress.end();
        let mut judged = judged?;
        judged.remarks.look_for(&output);
        let submission = Submission {
            chunks: judged.chunks.len(),
            images: judged.n,
            format: judged.format.clone(),
            chunk_size: division.chunk_size,
            priority,
            label: division.label.clone(),
            validation,
            dedupe,
            output,
            robots,
        };
        Ok(Self { job_id, files, division, submission, judged })
    }
}

/// Submits a job. The same again, also at the same time, changes nothing.
///
/// # Errors
///
/// When the job is known with another file or other options, or a dependency is away.
pub(crate) async fn submit(
    database: &Database,
    storage: &Storage,
    job: ReadJob,
) -> Result<SubmittedJob, SubmitError> {
    let (job_id, submission) = (job.job_id, job.submission.clone());
    let (source_sha256, remarks) = (job.judged.sha256.clone(), job.judged.remarks.clone());
    let known = database.registered_job(job_id).await?;
    let mut is_new = false;
    if known.is_none() {
        refuse_used_number(database, storage, job_id).await?;
        prepare_other_jobs(database, storage, &submission.dedupe.with_jobs).await?;
        let folder = lists_folder(job_id, &job.judged, &submission);
        let messages = write_sources(storage, &Arc::new(job), &folder).await?;
        let source_sha256 = source_sha256.clone();
        let job = NewJob { job_id, source_sha256, submission: submission.clone(), messages };
        is_new = database.submit(&job).await?;
    }
    // Somebody else may have been quicker.
    let known = match known {
        None if !is_new => database.registered_job(job_id).await?,
        known => known,
    };
    let registered = match known {
        Some(known) => same_submission(job_id, known, &source_sha256, submission)?,
        None => submission,
    };
    // The job is registered: handlers send what could not be sent here.
    let unsent = top_up(database, storage).await.err().map(|error| cause_chain(&error));
    let Submission { chunks, images, validation, .. } = registered;
    let level = validation.level;
    Ok(SubmittedJob { job_id, chunks, images, level, is_new, remarks, unsent })
}

/// Refuses the number of a job that the database does not know and storage does.
pub(crate) async fn refuse_used_number(
    database: &Database,
    storage: &Storage,
    job_id: i64,
) -> Result<(), SubmitError> {
    let folder = format!("{}/", job_folder(job_id));
    let mut has_blobs = false;
    // One call where the number is free.
    storage.list_dataset(folder, |_| has_blobs = true).await.map_err(Error::from)?;
    // Once more: somebody else may have submitted it, and it may have begun.
    if has_blobs && database.registered_job(job_id).await?.is_none() {
        return Err(SubmitError::UsedNumber(job_id));
    }
    Ok(())
}

/// How the known job was submitted, when that is how it is submitted now.
fn same_submission(
    job_id: i64,
    known: RegisteredJob,
    source_sha256: &str,
    now: Submission,
) -> Result<Submission, SubmitError> {
    if known.source_sha256.as_deref() != Some(source_sha256) {
        return Err(SubmitError::OtherFile(job_id));
    }
    let differences = match &known.submitted {
        Some(before) => differences(before, &now),
        // An earlier release kept no options: only their number of chunks is known.
        None => match known.total_chunks.and_then(|n| usize::try_from(n).ok()) {
            Some(chunks) if chunks != now.chunks => {
                vec![format!("{}, not {}", count(chunks, "chunk"), now.chunks)]
            }
            _ => Vec::new(),
        },
    };
    if differences.is_empty() {
        return Ok(known.submitted.map_or(now, |before| before.0));
    }
    Err(SubmitError::OtherOptions(job_id, differences.join(", and ")))
}

/// The options that differ, with what they were and what they are now.
fn differences(before: &Submission, now: &Submission) -> Vec<String> {
    let label = |job: &Submission| job.label.clone().unwrap_or_else(|| "none".to_owned());
    let wanted = |job: &Submission| wanted::options(job);
    let wanted = wanted(before).into_iter().zip(wanted(now));
    let wanted = wanted.map(|((option, before), (_, now))| (option, before, now));
    let all = [
        ("a file read as", before.format.clone(), now.format.clone()),
        ("--chunk-size", before.chunk_size.to_string(), now.chunk_size.to_string()),
        ("--priority", before.priority.to_string(), now.priority.to_string()),
        ("--label", label(before), label(now)),
    ];
    let differ = all.into_iter().chain(wanted).filter(|(_, before, now)| before != now);
    differ.map(|(option, before, now)| format!("{option} {before}, not {now}")).collect()
}

/// Rises when a file is read otherwise than before: what an earlier release left half done is not
/// gone on with.
const READING: u32 = 4;
/// Of lists without captions and classes, which are read as they always were.
const READING_WITHOUT: u32 = 3;

/// Where the lists go. The name says what is in them: the file, and every option that shapes them.
///
/// A file with captions or classes was read otherwise before there were any; others have the names that
/// they had.
fn lists_folder(job_id: i64, judged: &Judged, submission: &Submission) -> String {
    let Submission { format, chunk_size, label, .. } = submission;
    let reading = if judged.has_caption_or_class { READING } else { READING_WITHOUT };
    let shape = serde_json::json!([reading, judged.sha256, format, chunk_size, label]).to_string();
    let digest = hex(&Sha256::digest(shape));
    format!("{}/{}", job_folder(job_id), digest.get(..16).unwrap_or(&digest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::tests::judged;
    use chunk_handler::chunk::OutputText;

    /// What an earlier release registered had neither text nor class.
    #[test]
    fn a_registered_submission_without_the_options_reads_as_off() {
        let before = r#"{"chunks":1,"images":1,"format":"csv","chunk_size":500,"priority":5,"label":null,"level":"medium"}"#;
        let before: Submission = serde_json::from_str(before).unwrap();
        let mut now = before.clone();
        assert_eq!(now.output, Output::default());
        now.output.text = Some(OutputText::Caption);
        now.output.class = true;
        now.dedupe.with_jobs = [6, 5].into();
        let said =
            ["--text none, not caption", "--class off, not on", "--dedupe-with none, not 5,6"];
        assert_eq!(differences(&before, &now), said);
    }

    fn folder(files: &[(&str, &str)], label: Option<&str>) -> String {
        let judged = judged(files, 500).unwrap();
        let submission = Submission {
            chunks: 1,
            images: judged.n,
            format: judged.format.clone(),
            chunk_size: 500,
            priority: 5,
            label: label.map(str::to_owned),
            validation: Validation::default(),
            dedupe: Dedupe::default(),
            output: Output::default(),
            robots: None,
        };
        lists_folder(7, &judged, &submission)
    }

    /// What earlier releases wrote stays theirs: the same file has the same folder, unless it is read
    /// otherwise now.
    #[test]
    fn the_folder_of_a_list_is_what_it_was() {
        let text = "http://a/1\nhttp://a/2\n";
        assert_eq!(folder(&[("a.txt", text)], None), "job_7/8f0fb989e791e04a");
        assert_eq!(folder(&[("b.txt", text)], None), "job_7/8f0fb989e791e04a");
        assert_eq!(folder(&[("a.csv", "url\nhttp://a\n")], Some("cat")), "job_7/954db2440cb41e1e");
        let [with, without] = ["caption", "title"]
            .map(|name| folder(&[("a.csv", &format!("url,{name}\nhttp://a,x\n"))], None));
        assert_eq!(without, "job_7/60be6e24180b37d4");
        assert_eq!(with, "job_7/4dc6b8952e0eb254");
        let two = [("a.txt", text), ("b.txt", "http://a/3\n")];
        assert_ne!(folder(&two, None), folder(&[two[1], two[0]], None));
    }
}

//! One job: what became of each of its URLs, at what speed, and what to type next.

use crate::{
    Session, next,
    words::{count, span},
};
use chunk_handler::state::{Error, JobProgress, JobReason};
use serde_json::{Value, json};

/// What is known of a job beside its row.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) reasons: Vec<JobReason>,
    /// In which at least one of its chunks ran; 0: none did, or that history is gone.
    pub(super) seconds: f64,
}

impl Session {
    pub(super) async fn account(&self, job: &JobProgress) -> Result<Account, Error> {
        Ok(Account {
            reasons: self.database.job_reasons(job.job_id).await?,
            seconds: self.database.running_seconds(job.job_id).await?,
        })
    }
}

impl Account {
    pub(super) fn lines(&self, job: &JobProgress) -> Vec<String> {
        let mut lines = vec![urls(job)];
        if let Some(left) = left(job) {
            lines.push(format!(
                "  {} more without a verdict: in chunks that are not complete",
                count(left, "URL")
            ));
        }
        lines
            .extend(self.reasons.iter().map(|row| format!("    {:>6} {}", row.images, row.reason)));
        lines.extend(self.speed(job));
        for (command, what) in next::commands(job, &self.reasons) {
            lines.push(format!("  `{command}` {what}"));
        }
        lines
    }

    fn speed(&self, job: &JobProgress) -> Option<String> {
        let Rates { images, mb } = self.rates(job)?;
        let seconds = std::time::Duration::try_from_secs_f64(self.seconds).ok()?.as_secs();
        Some(format!(
            "  {images:.1} images/s, {mb:.1} MB/s downloaded, in the {} in which its chunks ran",
            span(seconds.max(1))
        ))
    }

    #[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "shown with one digit")]
    fn rates(&self, job: &JobProgress) -> Option<Rates> {
        (self.seconds > 0.0).then(|| Rates {
            images: job.items_done as f64 / self.seconds,
            mb: job.bytes_in as f64 / self.seconds / 1_048_576.0,
        })
    }

    pub(super) fn as_json(&self, job: &JobProgress) -> Value {
        let rates = self.rates(job);
        let commands = next::commands(job, &self.reasons);
        json!({
            "reasons": self.reasons,
            "images_without_verdict": left(job),
            "running_seconds": self.seconds,
            "images_per_second": rates.as_ref().map(|rates| rates.images),
            "mb_per_second": rates.as_ref().map(|rates| rates.mb),
            "next": commands.into_iter().map(|(command, _)| command).collect::<Vec<_>>(),
        })
    }
}

struct Rates {
    images: f64,
    /// 2^20 bytes.
    mb: f64,
}

/// Each URL with a verdict is one of the four.
fn urls(job: &JobProgress) -> String {
    let JobProgress { images_valid, duplicates_removed, images_invalid, images_failed, .. } = job;
    format!(
        "  {}: {images_valid} valid, {duplicates_removed} duplicate, {images_invalid} invalid, \
         {images_failed} failed",
        count(job.images_total, "URL")
    )
}

/// URLs of its lists that have no verdict yet; none: all have, or nobody knows how many there are.
fn left(job: &JobProgress) -> Option<i64> {
    job.images_submitted.map(|all| all - job.images_total).filter(|left| *left > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::job;

    /// 147 URLs, of which 126 are valid: the other 21 are there with their reasons, and it says what
    /// to type.
    #[test]
    fn every_url_is_accounted_for() {
        let job = JobProgress {
            status: "completed".into(),
            images_total: 147,
            images_valid: 126,
            images_failed: 21,
            images_invalid: 0,
            duplicates_removed: 0,
            items_done: 147,
            bytes_in: 126 << 20,
            images_submitted: Some(147),
            failed_chunks: 0,
            ..job()
        };
        let reason = |reason: &str, images| JobReason { job_id: 7, reason: reason.into(), images };
        let reasons = vec![reason("timeout", 15), reason("http_404", 6)];
        let account = Account { reasons, seconds: 21.0 };
        assert_eq!(
            account.lines(&job),
            [
                "  147 URLs: 126 valid, 0 duplicate, 0 invalid, 21 failed",
                "        15 timeout",
                "         6 http_404",
                "  7.0 images/s, 6.0 MB/s downloaded, in the 21 s in which its chunks ran",
                "  `chunkctl urls --job-id 7 --transient | chunkctl submit --job-id 7 --extend --urls - \
                 --format jsonl` asks again for the URLs that may work now",
                "  `chunkctl fetch --job-id 7 --to job_7` brings its files",
            ]
        );
        let half = JobProgress { images_submitted: Some(148), ..job };
        let said = "  1 URL more without a verdict: in chunks that are not complete";
        assert_eq!(account.lines(&half)[1], said);
    }
}

//! Azure Monitor's history of days, for people who plan: one call a resource, a point an hour.

use super::{MetricsResponse, Monitor, Question, Resource, Unavailable};
use crate::settings::Settings;
use futures_util::future::join_all;
use std::time::Duration;

/// What is known of each resource that the settings name; none: they do not name it.
#[derive(Debug, Clone, Default)]
pub struct MonitorHistory {
    /// The app.
    pub app: Option<Hours>,
    /// The database.
    pub postgres: Option<Hours>,
}

/// The highest value of each hour, in percent; in place of one that is not known, why.
#[derive(Debug, Clone)]
pub struct Hours {
    /// Of all cores.
    pub cpu: Result<Vec<f64>, String>,
    /// Of an instance, or of the server.
    pub memory: Result<Vec<f64>, String>,
}

const HOUR: Duration = Duration::from_secs(3600);

impl MonitorHistory {
    /// Asks about the last days. What Azure refuses, or does not know, is in the answer.
    ///
    /// # Errors
    ///
    /// When TLS cannot be set up.
    pub async fn read(settings: &Settings, days: u32) -> reqwest::Result<Self> {
        let mut history = Self::default();
        let Some(monitor) = Monitor::open(settings)? else { return Ok(history) };
        let question =
            Question { span: HOUR * 24 * days, interval: "PT1H", aggregation: "Average,Maximum" };
        let ask = |resource| monitor.ask(resource, question);
        let answers = join_all(monitor.resources.iter().map(ask)).await;
        for (resource, answer) in monitor.resources.iter().zip(answers) {
            let hours = Some(Hours::of(resource, answer));
            if resource.name == "app" {
                history.app = hours;
            } else {
                history.postgres = hours;
            }
        }
        Ok(history)
    }
}

impl Hours {
    fn of(resource: &Resource, answer: Result<MetricsResponse, Unavailable>) -> Self {
        let (cpu, memory) = match answer {
            Ok(answer) => (answer.values(resource.cpu), answer.values(resource.memory)),
            Err(unavailable) => (Err(unavailable.clone()), Err(unavailable)),
        };
        let percent = |values: Vec<f64>| {
            values.into_iter().map(|value| 100.0 * value / resource.memory_full).collect()
        };
        Self {
            cpu: cpu.map_err(|unavailable| unavailable.cause),
            memory: memory.map(percent).map_err(|unavailable| unavailable.cause),
        }
    }
}

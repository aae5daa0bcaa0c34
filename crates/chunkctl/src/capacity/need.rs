//! What so many images a day need.

use super::{
    cost::{Cost, Prices},
    history::{History, Speed, float},
    size,
};
use serde::Serialize;

/// Slots, instances and a database for an aim.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Need {
    pub(crate) images_per_day: u64,
    /// `PIXCRAWLER_FLEET_MAX_CHUNKS`.
    pub(crate) slots: u64,
    /// At work at once, when all slots are.
    pub(crate) instances: u64,
    /// Connections to the database that these may open.
    pub(crate) connections: u64,
    /// The smallest size with so many; none: no size has as many.
    pub(crate) postgres_sku: Option<&'static str>,
    /// CPU of the database as it is now, with so many slots; none: nobody knows
    /// today's, or it was seldom busy.
    pub(crate) database_cpu_percent: Option<f64>,
    pub(crate) cost: Cost,
}

/// How busy slots should be: at 100 % every chunk waits for a day.
const BUSY: f64 = 0.7;
const HOURS_A_DAY: f64 = 24.0;

/// Where the work goes on as it did: with the same lists, hosts and settings.
pub(crate) fn need(history: &History, speed: &Speed, images_per_day: u64, prices: &Prices) -> Need {
    let images = float(i64::try_from(images_per_day).unwrap_or(i64::MAX));
    let slot_hours = images / speed.images_per_slot_hour;
    let slots = (slot_hours / HOURS_A_DAY / BUSY).ceil().max(1.0);
    let instances = (slots / float(history.limits.chunks_per_instance.max(1))).ceil().max(1.0);
    let connections = size::connections(instances);
    // Both figures are of the busiest twentieth of the time.
    let busy = Some(float(history.slots.p95)).filter(|busy| *busy > 0.0);
    Need {
        images_per_day,
        slots: whole(slots),
        instances: whole(instances),
        connections: whole(connections),
        postgres_sku: size::smallest(connections),
        database_cpu_percent: history
            .database_cpu
            .p95()
            .zip(busy)
            .map(|(cpu, busy)| cpu * slots / busy),
        cost: Cost::of(history, speed, images, instances, prices),
    }
}

/// A figure without a fraction.
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a whole number that is not negative; what is too large is the largest"
)]
fn whole(n: f64) -> u64 {
    n as u64
}
